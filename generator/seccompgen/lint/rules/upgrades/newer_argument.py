"""Newer releases of a library pass a constant that the filter refuses.

The call is permitted, but not with a constant such as MADV_GUARD_INSTALL, by which glibc 2.42 makes
guard pages of stacks. Permit that constant, too.

```diff
 default_action: kill_process
 arches: [x86_64]
 syscalls:
 - action: allow
   names: [read, write, close, futex, mmap, munmap, mprotect, restart_syscall, exit_group, exit,
     clone, clone3, set_robust_list, rseq, rt_sigprocmask, rt_sigaction, rt_sigreturn,
     getpid, openat]
   names_with_args:
-  - {name: madvise, when: 'behavior in {MADV_DONTNEED, MADV_HUGEPAGE, MADV_NOHUGEPAGE}'}
+  - name: madvise
+    when: 'behavior in {MADV_DONTNEED, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_GUARD_INSTALL,
+      MADV_GUARD_REMOVE}'
```
"""

from seccompgen.lint.library_calls import newer_needs
from seccompgen.lint.rule import LintRule, Severity

RULE: LintRule = LintRule(
    "newer-argument",
    Severity.WARNING,
    check_upgrade=lambda view, upgrade, _: newer_needs(RULE, view, upgrade, of_constants=True),
)
