"""A call that makes or uses sockets is refused, but not another one.

`accept4` accepts the same connections as `accept`, and `sendmmsg` sends the same messages as
`sendmsg`. With MSG_FASTOPEN, `sendto` and `sendmsg` connect. AF_INET6 reaches mapped addresses of
AF_INET, AF_SMC connects by TCP, and AF_INET with SOCK_PACKET is AF_PACKET.

```diff
-- {action: errno, names: [accept]}
+- {action: errno, names: [accept, accept4]}
 - {action: errno(ENOSYS), names: [io_uring_setup]}
```
"""

from seccompgen.lint.rule import NOT_ZERO, Bypass, CallPattern, LintRule, Severity, equal, has, same


def _family(name: str) -> CallPattern:
    """Return the sockets of a family, of every type."""
    return CallPattern("socket", {"type": 1}, where={0: equal(name)}, in_part=True)


_IPV4, _IPV6 = _family("AF_INET"), _family("AF_INET6")
_SMC = CallPattern("socket", {"type": 1}, where={0: equal("AF_SMC"), 1: equal("SOCK_STREAM", 0xF)})

RULE = LintRule(
    "socket-twin",
    Severity.WARNING,
    bypasses=(
        Bypass(
            "it sends the same messages", (*same("sendmsg", flags=2), *same("sendmmsg", flags=3))
        ),
        Bypass(
            "it connects to the same addresses",
            same("connect"),
            (
                CallPattern("sendto", where={3: has("MSG_FASTOPEN"), 4: NOT_ZERO}),
                CallPattern("sendmsg", where={2: has("MSG_FASTOPEN")}),
                CallPattern("sendmmsg", where={3: has("MSG_FASTOPEN")}),
            ),
            needs=(_IPV4, _IPV6),
            refused=same("connect"),
        ),
        # IPv6 maps the addresses of IPv4, and SMC connects by TCP if the other end has no SMC. A
        # filter that refuses most families, AF_VSOCK too, has not chosen this one.
        *(
            Bypass(
                "it reaches the same addresses", (family,), (other,), needs=(_family("AF_VSOCK"),)
            )
            for family, other in ((_IPV4, _IPV6), (_IPV4, _SMC), (_IPV6, _SMC))
        ),
        Bypass(
            "it reads and writes the same packets",
            (_family("AF_PACKET"),),
            (CallPattern("socket", where={0: equal("AF_INET"), 1: equal("SOCK_PACKET", 0xF)}),),
            needs=(_family("AF_VSOCK"),),
        ),
    ),
    powers=(
        "connect",
        "listen",
    ),
)
