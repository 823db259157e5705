"""A call is refused, but a ring of io_uring does the same, unseen by the filter.

A ring opens files, makes sockets, connects and sends, all in the kernel. An allowlist that permits
`io_uring_setup` but neither `openat` nor `open`, or no `socket` or `connect`, is open all the same.
A ring also gets past a supervisor that decides such calls. Programs take their other path if
`io_uring_setup` gets ENOSYS.

```diff
 - {action: errno, names: [bind]}
+- {action: errno(ENOSYS), names: [io_uring_setup]}
```
"""

from seccompgen.lint.rule import Bypass, LintRule, Severity, same

_REASON = "a ring does the same unseen by the filter"
_RING = same(
    "socket connect bind listen accept accept4 sendto sendmsg recvfrom recvmsg shutdown openat "
    "open openat2 creat unlinkat unlink renameat2 renameat rename mkdirat mkdir linkat link "
    "symlinkat symlink statx setxattr fsetxattr ftruncate setsockopt"
)
"""Calls that a ring makes for its owner (``IORING_OP_*``)."""

RULE = LintRule(
    "io-uring-way",
    Severity.WARNING,
    bypasses=(
        Bypass(_REASON, _RING, same("io_uring_setup")),
        # A ring adds nothing to what is permitted anyway.
        *(
            Bypass(
                _REASON, same(calls), same("io_uring_setup"), refused=same(seen), by_default=True
            )
            for calls, seen in (("openat", "open openat2"), ("socket connect", "socketcall"))
        ),
    ),
)
