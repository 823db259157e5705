"""No AF_UNIX socket can be made by `socket`, but `socketpair` makes datagram sockets.

Each of the pair sends to any socket that has a name, by `sendto`, `sendmsg` or `connect`: the
system's log, or a daemon's bus. SOCK_RAW makes the same sockets. An allowlist that omits `socket`
gets the finding, too. Pairs of streams reach only each other: permit `socketpair` for SOCK_STREAM,
and for SOCK_SEQPACKET if needed.

```diff
-- {action: errno, names: [socket], when: family == AF_UNIX}
+- action: errno
+  names_with_args:
+  - {name: socket, when: family == AF_UNIX}
+  - {name: socketpair, when: 'type & 0xf in {SOCK_DGRAM, SOCK_RAW}'}
 - {action: errno(ENOSYS), names: [io_uring_setup]}
```
"""

from seccompgen.lint.rule import NOT_ZERO, Bypass, CallPattern, LintRule, Severity, equal, same

_SOCKET = CallPattern("socket", where={0: equal("AF_UNIX")})

RULE = LintRule(
    "unix-datagrams",
    Severity.WARNING,
    bypasses=(
        Bypass(
            "its datagrams reach the same servers",
            (_SOCKET,),
            tuple(
                CallPattern("socketpair", where={0: equal("AF_UNIX"), 1: equal(kind, 0xF)})
                for kind in ("SOCK_DGRAM", "SOCK_RAW")
            ),
            needs=(
                *same("connect sendmsg sendmmsg"),
                CallPattern("sendto", where={4: NOT_ZERO}),
            ),
            refused=(_SOCKET,),
            by_default=True,
        ),
    ),
)
