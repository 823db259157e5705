"""Rings may give commands to drivers: `URING_CMD` or `URING_CMD128` is permitted.

The file decides what a command does: it sets options of sockets, reads and writes blocks of NVMe
disks past the file system, and serves block devices and FUSE. A filter sees neither the command nor
the file. Permit it only to programs that are trusted with all of that.

```diff
 default_action: errno
 arches: [x86_64]
 syscalls:
 - {action: allow, names: [exit_group, restart_syscall, rt_sigreturn]}
 io_uring:
   default_action: deny
   operations:
-  - {action: allow, names: ['@read', '@uring-cmd']}
+  - {action: allow, names: ['@read']}
```
"""

from seccompgen.core.sets import EVERYTHING
from seccompgen.core.text import listed
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity


def _check(view: FilterView) -> Findings:
    ring = view.ring
    if ring is None or view.abi != view.program:
        return
    if found := [name for name in ("URING_CMD", "URING_CMD128") if name in ring.permitted]:
        yield RULE.finding(
            f"rings may do {listed(found)}: commands of drivers and sockets that no filter sees",
            f"leave out {listed(found)}",
            view=view,
            position=ring.position(found[0]),
            witness=view.shown("io_uring_setup", EVERYTHING),
        )


RULE = LintRule("ring-commands", Severity.WARNING, check=_check)
