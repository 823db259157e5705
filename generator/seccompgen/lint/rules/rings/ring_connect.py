"""Rings may connect to some addresses alone, but the filter leaves other ways to any address.

A condition on `CONNECT` does not cover what sends: `SEND`, `SENDMSG`, `SEND_ZC` and `SENDMSG_ZC`
send datagrams anywhere, and connect with `MSG_FASTOPEN`; no filter sees their addresses and flags.
So do the calls `sendto`, `sendmsg` and `sendmmsg`, and `connect` itself. A connected socket takes
`'@write'` as well. It is found if a process can make a socket of the internet: by `socket`, or by
the operation `SOCKET`. A socket that another process passes to it is not seen here.

```diff
 default_action: errno
 arches: [x86_64]
 syscalls:
-- {action: allow, names: [exit_group, restart_syscall, rt_sigreturn, socket, sendto]}
+- {action: allow, names: [exit_group, restart_syscall, rt_sigreturn]}
 io_uring:
   default_action: deny
   operations:
   - {action: allow, names: [SOCKET], when: family == AF_INET}
   - {action: allow, names: [CONNECT], when: addr in 10.0.0.0/8 and port == 5432}
```
"""

from collections.abc import Iterator

from seccompgen.core.ring import FAMILY, IPV4, IPV6, PORT
from seccompgen.core.sets import EVERYTHING, NOTHING, Box
from seccompgen.core.text import listed
from seccompgen.lint.answers import permits
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity

_SENDS = ("SEND", "SENDMSG", "SEND_ZC", "SENDMSG_ZC")
_CALLS = ("connect", "sendto", "sendmsg", "sendmmsg")
_INET = ("AF_INET", "AF_INET6")
_ADDRESS = {IPV4, IPV6, PORT}


def _check(view: FilterView) -> Findings:
    ring = view.ring
    if ring is None or view.abi != view.program or not _limited(view) or not _makes_socket(view):
        return
    if sends := [name for name in _SENDS if name in ring.permitted]:
        yield RULE.finding(
            f"rings may connect to some addresses alone, but do {listed(sends)}, which send to any "
            "address, and connect with MSG_FASTOPEN",
            "leave out '@send': a connected socket takes '@write'",
            view=view,
            position=ring.position(sends[0]),
            witness=view.shown("io_uring_setup", EVERYTHING),
        )
    calls = {name: box for name in _CALLS for box in _to_any_address(name, view)}
    if calls:
        first = next(iter(calls))
        yield RULE.finding(
            f"rings may connect to some addresses alone, but {listed([*calls])} "
            f"{'is' if len(calls) == 1 else 'are'} permitted, to any address",
            f"refuse {listed([*calls])}",
            view=view,
            witness=view.shown(first, calls[first]),
        )


def _limited(view: FilterView) -> bool:
    """Return True if CONNECT is permitted for some addresses or ports alone."""
    ring = view.ring
    if ring is None or ring.permitted.get("CONNECT", True):
        return False
    rules = ring.rules_of("CONNECT")
    return not rules or any(test.field in _ADDRESS for one in rules for test in one.tests)


def _makes_socket(view: FilterView) -> bool:
    """Return True if a process can make a socket of the internet."""
    assert view.ring
    families = [value for name in _INET if (value := view.constant(name)) is not None]
    for value in families:
        if any(permits(ret) for _, ret in view.within("socket", family=value)):
            return True
    if "SOCKET" not in view.ring.permitted:
        return False
    rules = view.ring.rules_of("SOCKET")
    return not rules or any(
        one.permits and all(test.holds(value) for test in one.tests if test.field == FAMILY)
        for one in rules
        for value in families
    )


def _to_any_address(name: str, view: FilterView) -> Iterator[Box]:
    """Yield permitted arguments of a call that connects or sends to an address."""
    answer = view.answer(name)
    prototype = view.prototype(name)
    place = prototype.index("addr") if prototype and name == "sendto" else None
    for box in answer.permitted if answer else ():
        if place is None:
            yield box
            return
        addresses = view.sets.minus(box[place], view.sets.masked((1 << 64) - 1, 0))
        if addresses != NOTHING:
            yield (*box[:place], addresses, *box[place + 1 :])  # type: ignore[misc] # six
            return


RULE = LintRule("ring-connect", Severity.WARNING, check=_check)
