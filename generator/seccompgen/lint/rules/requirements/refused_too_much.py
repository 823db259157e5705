"""A call is refused by an errno that programs do not handle.

An errno of `brk` is taken for an address, and the next `malloc` ends in SIGSEGV. A wait for a lock
by `futex` spins or aborts; a thread that cannot `exit` spins; `getpid` returns -1, and `kill(-1)`
reaches every process. Nobody checks `write`, `munmap` or `shutdown`. `sendto` with an address of 0
is `send`, and servers need `setsockopt`: refuse `sendto where addr != 0`, and single options. It is
found in a blocklist that names such a call, and in an allowlist that lacks one although it permits
what needs it, such as `mmap` without `brk`, or memory without a `write` to standard error and the
`tgkill` of `abort()`. A kill is noticed, so only an errno counts. It is a note if the loss is small
or the aim plausible. Recordings of short runs have many:
[groups of what gives nothing](groups.md#what-gives-nothing) mend them.

```diff
-- {action: errno, names: [brk]}
+- action: errno(0)  # as a kernel that has no room
+  names: [brk]
```
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from seccompgen.core.errnos import errno_name
from seccompgen.core.model import RET_DATA_MAX
from seccompgen.core.sets import Box
from seccompgen.core.text import some
from seccompgen.kernel.powers import RefusalEffect, powers
from seccompgen.lint.answers import errno_of
from seccompgen.lint.fallback import has_forks, has_threads
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity

_OWN_RULES = frozenset({"exit_group", "rt_sigreturn", "sigreturn"})
"""Calls that `no-exit` and `no-sigreturn` are about."""
_ACCEPTS = ("accept", "accept4")
_SLEEPS = ("nanosleep", "clock_nanosleep", "clock_nanosleep_time64")
_STDERR = 2
_SIGABRT = 6
_Weigh: TypeAlias = Callable[[FilterView], Severity | None]
_NOTHING: Mapping[str, int] = {}


class _RefusalCase(NamedTuple):
    """The weight of refusing a call, and how to mend it.

    Only calls with ``args``, by the kernel's names, count. ``named`` weighs a filter that names the
    call to refuse it, ``lacking`` an allowlist that does not permit it; None is no finding.
    """

    fix: str = ""
    args: Mapping[str, int] = _NOTHING
    named: _Weigh | None = None
    lacking: _Weigh = lambda _: None


def _where(holds: Callable[[FilterView], bool], severity: Severity) -> _Weigh:
    return lambda view: severity if holds(view) else None


def _maps(view: FilterView) -> bool:
    """Return True if memory may be mapped, as by a program that allocates some."""
    return view.permits("mmap") or view.permits("mmap2")


def _unmaps(view: FilterView) -> bool:
    """Return True if memory may be changed and unmapped, but none be mapped."""
    return not _maps(view) and view.permits("mprotect") and view.permits("munmap")


def _allocates(view: FilterView) -> bool:
    """Return True if memory may be allocated: the filter is probably for a whole program."""
    return _maps(view) or view.permits("brk")


def _has_only_threads(view: FilterView) -> bool:
    """Return True if threads may be started, but no processes."""
    return has_threads(view) and not has_forks(view)


def _has_sockets(view: FilterView) -> bool:
    """Return True if sockets may be made, connected and read."""
    connected = any(map(view.permits, ("connect", *_ACCEPTS)))
    return connected and view.permits("socket") and view.permits("recvfrom")


def _sends(view: FilterView) -> bool:
    """Return True if sockets are permitted, and send() of the C library calls sendto."""
    return _has_sockets(view) and not view.has("send")


def _opens(view: FilterView) -> bool:
    """Return True if a program may open one descriptor after the other."""
    return _allocates(view) and any(map(view.permits, ("open", "openat", "openat2", *_ACCEPTS)))


def _serves(view: FilterView) -> bool:
    """Return True for a server with an event loop, which shuts many connections down."""
    loops = any(map(view.permits, ("epoll_wait", "epoll_pwait")))
    return loops and any(map(view.permits, _ACCEPTS))


def _never_sleeps(view: FilterView) -> bool:
    """Return True if a program may connect, but cannot sleep before it tries again."""
    connects = any(map(view.permits, ("connect", *_ACCEPTS)))
    return connects and not any(map(view.permits, _SLEEPS))


def _ended_thread(view: FilterView) -> Severity | None:
    if _has_only_threads(view):
        return Severity.WARNING
    return Severity.NOTE if has_threads(view) and view.permits("futex") else None


_WAIT_PRIVATE = 128
"""FUTEX_WAIT | FUTEX_PRIVATE_FLAG, by which locks wait."""
_CASES: Mapping[str, _RefusalCase] = {
    "brk": _RefusalCase(
        "answer brk with errno(0), as a kernel that has no room: the C library maps memory instead",
        lacking=_where(_maps, Severity.WARNING),
    ),
    "futex": _RefusalCase(
        "permit futex; refuse single operations by op & FUTEX_CMD_MASK",
        {"op": _WAIT_PRIVATE},
        lacking=_where(_has_only_threads, Severity.WARNING),
    ),
    "exit": _RefusalCase(lacking=_ended_thread),
    **{
        call: _RefusalCase(
            "permit mmap where not prot & PROT_EXEC; on s390x, where that is in memory, as a whole",
            named=_where(_unmaps, Severity.NOTE),
            lacking=_where(_unmaps, Severity.WARNING),
        )
        for call in ("mmap", "mmap2")
    },
    "munmap": _RefusalCase(lacking=_where(_maps, Severity.NOTE)),
    "getpid": _RefusalCase(
        named=lambda view: Severity.WARNING if view.permits("kill") else Severity.NOTE,
        lacking=_where(lambda view: view.permits("kill"), Severity.WARNING),
    ),
    # `signal-twin` asks to refuse it, and no filter knows the process's own number.
    "tgkill": _RefusalCase(
        "permit tgkill where sig == SIGABRT, by which it can end other processes of its user, too, "
        "or kill in place of the errno",
        {"sig": _SIGABRT},
        named=lambda _: Severity.NOTE,
        lacking=_where(_allocates, Severity.NOTE),
    ),
    "write": _RefusalCase(args={"fd": _STDERR}, lacking=_where(_allocates, Severity.NOTE)),
    "close": _RefusalCase(lacking=_where(_opens, Severity.NOTE)),
    **{call: _RefusalCase(lacking=_where(_never_sleeps, Severity.NOTE)) for call in _SLEEPS},
    "sched_yield": _RefusalCase(named=lambda _: Severity.NOTE),
    "sendto": _RefusalCase(
        "refuse sendto where addr != 0", {"addr": 0}, _where(_sends, Severity.WARNING)
    ),
    "setsockopt": _RefusalCase(
        "refuse single options, by level and optname", named=_where(_has_sockets, Severity.NOTE)
    ),
    "shutdown": _RefusalCase(
        named=_where(_has_sockets, Severity.NOTE), lacking=_where(_serves, Severity.NOTE)
    ),
}
_WEIGHTS = {
    RefusalEffect.CRASH: Severity.WARNING,
    RefusalEffect.SPIN: Severity.WARNING,
    RefusalEffect.SILENCE: Severity.NOTE,
    RefusalEffect.EXCESS: Severity.NOTE,
}
"""The weight of a filter that names the call, unless its case says another."""


def _check(view: FilterView) -> Findings:
    found: dict[tuple[str, Severity], list[tuple[str, Box, int]]] = {}
    for call, (effect, text) in powers().refused.items():
        case = _CASES.get(call, _RefusalCase())
        refused = None if call in _OWN_RULES else _refused_by_errno(view, call, case.args)
        if refused is None:
            continue
        if not view.is_allowlist or view.refused_on_purpose(call):
            severity = case.named(view) if case.named else _WEIGHTS[effect]
        else:
            severity = case.lacking(view)
        if severity is not None:
            found.setdefault((text, severity), []).append((call, *refused))
    for (text, severity), calls in found.items():
        call, box, ret = calls[0]
        number = ret & RET_DATA_MAX
        errno = errno_name(number, view.abi) or f"errno {number}"
        names = [call for call, _, _ in calls]
        yield RULE.finding(
            f"{some(names)} {'is' if len(names) == 1 else 'are'} refused with {errno}: {text}",
            _CASES.get(call, _RefusalCase()).fix or f"permit {call}, or answer it with a kill",
            severity,
            view=view,
            witness=view.shown(call, box),
        )


def _refused_by_errno(
    view: FilterView, call: str, args: Mapping[str, int]
) -> tuple[Box, int] | None:
    """Return arguments with which a call is refused by an errno whatever its others are.

    ENOSYS leads from a call such as epoll_pwait2 to an older form, if that is permitted.
    """
    found = view.refusal(call, **args)
    if found is None or errno_of(found[1]) in {None, 0}:
        return None
    if view.is_enosys(found[1]):
        text = powers().refused[call].text
        same = (one for one, refused in powers().refused.items() if refused.text == text)
        if any(map(view.permits, same)):
            return None
    return found


RULE = LintRule("refused-too-much", Severity.WARNING, _check)
