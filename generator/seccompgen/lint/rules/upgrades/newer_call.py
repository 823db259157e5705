"""Newer releases of a library make a call that the filter refuses.

Between glibc 2.33 and 2.38 `fstat` made `newfstatat`. A call made instead of a permitted one, or
before it, is a warning. A call made besides is a warning if the filter kills, and a note if it
answers an errno, with which functions may cope. Permit the call, or answer ENOSYS if libraries then
make the older one.

```diff
 default_action: kill_process
 arches: [x86_64]
 syscalls:
 - action: allow
   names: [read, write, futex, restart_syscall, exit_group, rt_sigreturn,
-    close, fstat, statx]
+    close, fstat, statx, newfstatat]
```
"""

from seccompgen.core.tables import Tables
from seccompgen.lint.library_calls import loader_needs, newer_needs
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity
from seccompgen.lint.upgrade import Upgrade


def _check(view: FilterView, upgrade: Upgrade, _: Tables) -> Findings:
    yield from newer_needs(RULE, view, upgrade, of_constants=False)
    yield from loader_needs(RULE, view, upgrade)


RULE = LintRule("newer-call", Severity.WARNING, check_upgrade=_check)
