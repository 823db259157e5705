"""Rings open files with `RESOLVE_BENEATH` alone, but something leaves the directory.

`OPENAT2` with `RESOLVE_BENEATH` opens only what is below a directory: that which a descriptor
names, or the working directory. No filter sees which. `OPENAT` opens anything, as do the calls; and
a process that may change its directory or root, or mount, chooses what it is below. To confine
paths, use Landlock.

```diff
 default_action: errno
 arches: [x86_64]
 syscalls:
-- {action: allow, names: [exit_group, restart_syscall, rt_sigreturn, chdir]}
+- {action: allow, names: [exit_group, restart_syscall, rt_sigreturn]}
 io_uring:
   default_action: deny
   operations:
   - {action: allow, names: [OPENAT2], when: resolve & RESOLVE_BENEATH}
```
"""

from seccompgen.core.ring import OPERATION_FIELDS
from seccompgen.core.sets import EVERYTHING
from seccompgen.core.text import listed
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity

_RESOLVE = next(one for one in OPERATION_FIELDS["OPENAT2"] if one.name == "resolve")
_OPENING = ("open", "openat", "openat2", "creat", "open_by_handle_at")
_MOVING = ("chdir", "fchdir", "chroot", "pivot_root", "mount", "move_mount", "open_tree", "setns")


def _check(view: FilterView) -> Findings:
    ring = view.ring
    if ring is None or view.abi != view.program or not _beneath(view):
        return
    if "OPENAT" in ring.permitted:
        yield RULE.finding(
            "rings open by OPENAT2 with RESOLVE_BENEATH alone, but by OPENAT without: it has no "
            "resolve",
            "permit OPENAT2 alone",
            view=view,
            position=ring.position("OPENAT"),
            witness=view.shown("io_uring_setup", EVERYTHING),
        )
    for calls, text in (
        (_OPENING, "opens files anywhere"),
        (_MOVING, "moves what is beneath"),
    ):
        found = [name for name in calls if view.permits(name)]
        answer = view.answer(found[0]) if found else None
        if answer:
            yield RULE.finding(
                f"rings open by OPENAT2 with RESOLVE_BENEATH alone, but {listed(found)} "
                f"{'is' if len(found) == 1 else 'are'} permitted, which {text}",
                f"refuse {listed(found)}",
                view=view,
                witness=view.shown(found[0], answer.permitted[0]),
            )


def _beneath(view: FilterView) -> bool:
    """Return True if each rule that permits OPENAT2 demands RESOLVE_BENEATH."""
    bit = view.constant("RESOLVE_BENEATH")
    rules = [one for one in view.ring.rules_of("OPENAT2") if one.permits] if view.ring else []
    return (
        bit is not None
        and bool(rules)
        and all(
            any(
                test.field == _RESOLVE
                and test.mask & bit
                and (
                    (test.relation == "==" and test.value & bit)
                    or (test.relation == "!=" and test.mask == bit and not test.value)
                )
                for test in one.tests
            )
            for one in rules
        )
    )


RULE = LintRule("ring-beneath", Severity.WARNING, check=_check)
