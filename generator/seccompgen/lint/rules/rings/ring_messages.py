"""Rings may send to other rings: the operation `MSG_RING`, or `SEND_MSG_RING` in `register`.

Such a message puts a result into another ring, or a file into its table: a process that waits there
takes it for an answer of the kernel, and a file gets past filters that refuse to open it. No filter
sees which of the two it does, nor which ring is meant. `SEND_MSG_RING` does the same without a ring
of its own, whatever the operations are.

```diff
 default_action: errno
 arches: [x86_64]
 syscalls:
 - {action: allow, names: [exit_group, restart_syscall, rt_sigreturn]}
 io_uring:
   default_action: deny
   operations:
-  - {action: allow, names: ['@read', MSG_RING]}
+  - {action: allow, names: ['@read']}
```
"""

from seccompgen.core.sets import EVERYTHING
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.lint.answers import permits
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity

_WHY = "results and files reach other rings, and no filter sees which"


def _check(view: FilterView) -> Findings:
    if view.ring is None or view.abi != view.program:
        return
    if "MSG_RING" in view.ring.permitted:
        yield RULE.finding(
            f"rings may do MSG_RING: {_WHY}",
            "leave out MSG_RING",
            view=view,
            position=view.ring.position("MSG_RING"),
            witness=view.shown("io_uring_setup", EVERYTHING),
        )
    found = view.within("io_uring_register", op=ring_numbers().register["SEND_MSG_RING"].nr)
    for box, ret in found:
        if permits(ret):
            yield RULE.finding(
                f"io_uring_register may send messages: {_WHY}",
                "leave SEND_MSG_RING out of register",
                view=view,
                witness=view.shown("io_uring_register", box),
            )
            return


RULE = LintRule("ring-messages", Severity.NOTE, check=_check)
