"""Calls whose refusal by an errno crashes programs, has them spin, or is not noticed.

`kernel/powers.toml` says what becomes of a program. Here is when that matters: a list of what is
refused names such a call, or an allowlist lacks it though what it permits needs it. A kill is
noticed, so it is no finding; what ends every program has codes of its own (`living`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.errnos import errno_name
from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.core.text import some
from seccompgen.kernel.powers import Effect, powers
from seccompgen.lint.fallback import has_forks, has_threads
from seccompgen.lint.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from seccompgen.core.sets import Box
    from seccompgen.lint.view import FilterView

_LIVING = frozenset({"exit_group", "rt_sigreturn", "sigreturn"})
"""Calls that `living` looks at."""


_ACCEPTS = ("accept", "accept4")
_SLEEPS = ("nanosleep", "clock_nanosleep", "clock_nanosleep_time64")
_STDERR = 2
_SIGABRT = 6
_Weigh: TypeAlias = "Callable[[FilterView], Severity | None]"
_NOTHING: Mapping[str, int] = {}


class _Case(NamedTuple):
    """When the refusal of a call matters, and how to mend it.

    Only calls with ``args``, by the kernel's names, count. ``named`` says how much it weighs that
    the filter names the call, ``lacking`` that an allowlist does not permit it; None: nothing.
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
    """Return True if memory may be changed and given back, and none be mapped."""
    return not _maps(view) and view.permits("mprotect") and view.permits("munmap")


def _allocates(view: FilterView) -> bool:
    """Return True for a filter of a whole program, as far as is seen: one that allocates memory."""
    return _maps(view) or view.permits("brk")


def _has_only_threads(view: FilterView) -> bool:
    """Return True if threads may be started and no processes: that is what clone is for, then."""
    return has_threads(view) and not has_forks(view)


def _has_sockets(view: FilterView) -> bool:
    """Return True if sockets may be made, connected and read: who refuses all of that means it."""
    connected = any(map(view.permits, ("connect", *_ACCEPTS)))
    return connected and view.permits("socket") and view.permits("recvfrom")


def _sends(view: FilterView) -> bool:
    """Return True if send() of the C library is sendto."""
    return _has_sockets(view) and not view.has("send")


def _opens(view: FilterView) -> bool:
    """Return True if a program may open one descriptor after the other."""
    return _allocates(view) and any(map(view.permits, ("open", "openat", "openat2", *_ACCEPTS)))


def _serves(view: FilterView) -> bool:
    """Return True for a server with a loop of events, which ends many connections, half by half."""
    loops = any(map(view.permits, ("epoll_wait", "epoll_pwait")))
    return loops and any(map(view.permits, _ACCEPTS))


def _never_sleeps(view: FilterView) -> bool:
    """Return True if others may be connected, and a program that tries again cannot sleep."""
    connects = any(map(view.permits, ("connect", *_ACCEPTS)))
    return connects and not any(map(view.permits, _SLEEPS))


def _ended_thread(view: FilterView) -> Severity | None:
    if _has_only_threads(view):
        return Severity.WARNING
    return Severity.NOTE if has_threads(view) and view.permits("futex") else None


_WAIT_PRIVATE = 128
"""FUTEX_WAIT | FUTEX_PRIVATE_FLAG, by which locks wait."""
_CASES: Mapping[str, _Case] = {
    "brk": _Case(
        "answer brk with errno(0), as a kernel that has no room: the C library maps memory instead",
        lacking=_where(_maps, Severity.WARNING),
    ),
    "futex": _Case(
        "permit futex; refuse single operations by op & FUTEX_CMD_MASK",
        {"op": _WAIT_PRIVATE},
        lacking=_where(_has_only_threads, Severity.WARNING),
    ),
    "exit": _Case(lacking=_ended_thread),
    **{
        call: _Case(
            "permit mmap where not prot & PROT_EXEC; on s390x, where that is in memory, as a whole",
            named=_where(_unmaps, Severity.NOTE),
            lacking=_where(_unmaps, Severity.WARNING),
        )
        for call in ("mmap", "mmap2")
    },
    "munmap": _Case(lacking=_where(_maps, Severity.NOTE)),
    "getpid": _Case(
        named=lambda view: Severity.WARNING if view.permits("kill") else Severity.NOTE,
        lacking=_where(lambda view: view.permits("kill"), Severity.WARNING),
    ),
    # `signal-twin` would have it refused, and no filter knows the process's own number.
    "tgkill": _Case(
        "permit tgkill where sig == SIGABRT, by which it can end other processes of its user, too, "
        "or kill in place of the errno",
        {"sig": _SIGABRT},
        named=lambda _: Severity.NOTE,
        lacking=_where(_allocates, Severity.NOTE),
    ),
    "write": _Case(args={"fd": _STDERR}, lacking=_where(_allocates, Severity.NOTE)),
    "close": _Case(lacking=_where(_opens, Severity.NOTE)),
    **{call: _Case(lacking=_where(_never_sleeps, Severity.NOTE)) for call in _SLEEPS},
    "sched_yield": _Case(named=lambda _: Severity.NOTE),
    "sendto": _Case("refuse sendto where addr != 0", {"addr": 0}, _where(_sends, Severity.WARNING)),
    "setsockopt": _Case(
        "refuse single options, by level and optname", named=_where(_has_sockets, Severity.NOTE)
    ),
    "shutdown": _Case(
        named=_where(_has_sockets, Severity.NOTE), lacking=_where(_serves, Severity.NOTE)
    ),
}
_WEIGHTS = {
    Effect.CRASH: Severity.WARNING,
    Effect.SPIN: Severity.WARNING,
    Effect.SILENCE: Severity.NOTE,
    Effect.EXCESS: Severity.NOTE,
}
"""The weight where a filter names a call of which no case says it."""


def unheeded(view: FilterView) -> Iterator[Finding]:
    """Yield the calls that are refused by an errno that programs do not look at."""
    told: dict[tuple[str, Severity], list[tuple[str, Box, int]]] = {}
    for call, (effect, text) in powers().refused.items():
        case = _CASES.get(call, _Case())
        refused = None if call in _LIVING else _refused_by_errno(view, call, case.args)
        if refused is None:
            continue
        if not view.is_allowlist or view.refused_on_purpose(call):
            severity = case.named(view) if case.named else _WEIGHTS[effect]
        else:
            severity = case.lacking(view)
        if severity is not None:
            told.setdefault((text, severity), []).append((call, *refused))
    for (text, severity), calls in told.items():
        call, box, ret = calls[0]
        number = ret & RET_DATA_MAX
        errno = errno_name(number, view.abi) or f"errno {number}"
        names = [call for call, _, _ in calls]
        yield Finding(
            Problem.REFUSED_TOO_MUCH,
            severity,
            f"{some(names)} {_be(names)} refused with {errno}: {text}",
            _CASES.get(call, _Case()).fix or f"permit {call}, or kill in place of the errno",
            (view.abi.name,),
            witness=view.witness(view.call(call, box)),
            programs=(view.program.name,),
        )


def _refused_by_errno(
    view: FilterView, call: str, args: Mapping[str, int]
) -> tuple[Box, int] | None:
    """Return arguments with which a call is refused by an errno whatever else it is given.

    ENOSYS to a call with an older form that is permitted, such as epoll_pwait2, leads to that.
    """
    found = view.refusal(call, **args)
    if found is None or _errno(found[1]) in {None, 0}:
        return None
    if view.is_enosys(found[1]):
        text = powers().refused[call].text
        same = (one for one, refused in powers().refused.items() if refused.text == text)
        if any(map(view.permits, same)):
            return None
    return found


def _be(names: Collection[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _errno(ret: int) -> int | None:
    """Return the errno of an answer, None if it is another one."""
    action = ActionKind(ret & ~RET_DATA_MAX)
    return ret & RET_DATA_MAX if action is ActionKind.ERRNO else None


# --- success that is faked -----------------------------------------------------------------------

_FAKED = {
    "takes its only process for the child": "clone fork vfork clone3",
    "takes 0 for an address": "mmap mmap2 mremap shmat",
    "takes 0, which often is its standard input, for what it opened": (
        "open openat openat2 creat socket accept accept4 dup epoll_create epoll_create1 eventfd "
        "eventfd2 memfd_create pidfd_open signalfd signalfd4 timerfd_create inotify_init "
        "inotify_init1 userfaultfd"
    ),
}
"""The effect on a program whose call returns 0, by calls."""


def faked(view: FilterView) -> Iterator[Finding]:
    """Yield the calls that are answered with success although what they return is used."""
    for text, names in _FAKED.items():
        boxes = {
            call: box
            for call in names.split()
            for box, ret in view.within(call)
            if _errno(ret) == 0
        }
        if not boxes:
            continue
        call, box = next(iter(boxes.items()))
        yield Finding(
            Problem.FALSE_SUCCESS,
            Severity.WARNING,
            f"{some(list(boxes))} {_be(boxes)} answered with errno(0), success: a program {text}",
            f"answer {call} with an errno",
            (view.abi.name,),
            witness=view.witness(view.call(call, box)),
            programs=(view.program.name,),
        )
