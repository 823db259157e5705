"""Rings may use other credentials: `register` has `PERSONALITY`.

A process that had other credentials, or is given a ring of somebody who has, registers them, and
each operation may then name them. No filter of an operation sees which it uses. A process without
privileges can so open files as root.

```diff
 default_action: errno
 arches: [x86_64]
 syscalls:
 - {action: allow, names: [exit_group, restart_syscall, rt_sigreturn]}
 io_uring:
   default_action: deny
-  register: ['@basic', PERSONALITY]
+  register: ['@basic']
   operations:
   - {action: allow, names: ['@read']}
```
"""

from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.lint.answers import permits
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity


def _check(view: FilterView) -> Findings:
    if view.ring is None or view.abi != view.program:
        return
    found = view.within("io_uring_register", op=ring_numbers().register["PERSONALITY"].nr)
    for box, ret in found:
        if permits(ret):
            yield RULE.finding(
                "io_uring_register may register a personality: operations then run with other "
                "credentials, which no filter sees",
                "leave PERSONALITY out of register",
                view=view,
                witness=view.shown("io_uring_register", box),
            )
            return


RULE = LintRule("ring-personality", Severity.WARNING, check=_check)
