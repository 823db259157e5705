"""A call is refused, but a ring of io_uring does the same, unseen by the filter.

A ring opens files, makes sockets, connects and sends, all in the kernel. An allowlist that permits
`io_uring_setup` but neither `openat` nor `open`, or no `socket` or `connect`, is open all the same.
A ring also gets past a supervisor that decides such calls. Programs take their other path if
`io_uring_setup` gets ENOSYS.

With a section [`io_uring`](io-uring.md) the operations decide: a call that a rule refuses is found
if the operation that does the same is permitted. It is a note if that has conditions. Operations
that follow the calls by `mirror: true` are never found.

```diff
 - {action: errno, names: [bind]}
+- {action: errno(ENOSYS), names: [io_uring_setup]}
```
"""

from seccompgen.core.sets import EVERYTHING
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.lint.rule import Bypass, FilterView, Findings, LintRule, Severity, same

_REASON = "a ring does the same unseen by the filter"
_WITHOUT_SECTION = same(
    "socket connect bind listen accept accept4 sendto sendmsg recvfrom recvmsg shutdown openat "
    "open openat2 creat unlinkat unlink renameat2 renameat rename mkdirat mkdir linkat link "
    "symlinkat symlink statx setxattr fsetxattr ftruncate setsockopt"
)
"""The calls that matter where all operations are permitted; few filters are about the others."""


def _check(view: FilterView) -> Findings:
    """Yield the calls that a rule refuses, and a permitted operation does."""
    if view.ring is None or not view.has("io_uring_setup"):
        return
    done: set[str] = set()
    for call in dict.fromkeys(c for one in ring_numbers().operations.values() for c in one.calls):
        refused = view.refused_on_purpose(call)
        for operation in view.ring.does(call):
            if not refused or operation in done:
                continue
            done.add(operation)
            always = view.ring.permitted[operation]
            where = "" if always else " under a condition"
            answer = view.answer(call)
            part = " with some arguments" if answer and answer.permitted else ""
            yield RULE.finding(
                f"{call} is refused{part}, but rings may do {operation}{where}, which is the same",
                f"refuse {operation} in io_uring, or give it the condition of {call}",
                None if always else Severity.NOTE,
                view=view,
                position=view.ring.position(operation),
                witness=view.shown("io_uring_setup", EVERYTHING),
                beside=view.shown(call, refused[0]),
            )


RULE = LintRule(
    "io-uring-way",
    Severity.WARNING,
    check=_check,
    bypasses=(
        Bypass(_REASON, _WITHOUT_SECTION, same("io_uring_setup"), by_rings=True),
        # A ring adds nothing to what is permitted anyway.
        *(
            Bypass(
                _REASON,
                same(calls),
                same("io_uring_setup"),
                refused=same(seen),
                by_default=True,
                by_rings=True,
            )
            for calls, seen in (("openat", "open openat2"), ("socket connect", "socketcall"))
        ),
    ),
)
