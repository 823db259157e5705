"""New calls that are refused in a way in which libraries do not fall back on the old ones.

A library that finds ENOSYS takes the kernel for an old one, and makes the older call. Any other
answer it hands to the program, which fails. And so does the program if the older call is refused
with the arguments that it then has. Sources: glibc's sysdeps/unix/sysv/linux (clone-internal.c,
spawni.c, faccessat.c, fchmodat.c, fstatat64.c, closefrom.c, clock_gettime.c) and
nptl/pthread_create.c, musl's src/thread/pthread_create.c, GLib's glib/gspawn.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.lint.answers import permits
from seccompgen.lint.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from seccompgen.core.sets import Box
    from seccompgen.lint.view import FilterView


class Fallback(NamedTuple):
    """A ``call``, the ``older`` ones that a library makes instead, and who does so.

    Without ``on_errno`` the library falls back on any errno; only a kill keeps it from that. With
    ``if_named`` a call that falls to the default of an allowlist is none that programs need. With
    ``narrow`` it matters on 32-bit ABIs only. ``how`` stands between the user and the older call in
    what is told.
    """

    call: str
    older: tuple[str, ...]
    user: str
    severity: Severity = Severity.WARNING
    on_errno: bool = True
    if_named: bool = False
    narrow: bool = False
    how: str = "would fall back on"


_NOTE = Severity.NOTE
_STATS = ("newfstatat", "fstatat64", "stat", "stat64")
FALLBACKS = (
    Fallback("clone3", ("clone",), "glibc's pthread_create and posix_spawn"),
    Fallback("faccessat2", ("faccessat",), "glibc's faccessat"),
    Fallback("fchmodat2", ("fchmodat",), "glibc's fchmodat with flags"),
    Fallback("openat2", ("openat", "open"), "what opens below a directory", if_named=True),
    Fallback("statx", _STATS, "what asks for files by statx", _NOTE),
    Fallback("close_range", ("execve",), "GLib", _NOTE, how="closes descriptors one by one before"),
    Fallback("rseq", ("clone",), "glibc's start of a thread by", on_errno=False),
    *(
        Fallback(new, (old,), "glibc and musl", narrow=True)
        for old, new in (
            ("clock_gettime", "clock_gettime64"),
            ("clock_settime", "clock_settime64"),
            ("clock_nanosleep", "clock_nanosleep_time64"),
            ("futex", "futex_time64"),
            ("ppoll", "ppoll_time64"),
            ("pselect6", "pselect6_time64"),
            ("recvmmsg", "recvmmsg_time64"),
            ("utimensat", "utimensat_time64"),
            ("rt_sigtimedwait", "rt_sigtimedwait_time64"),
            ("clock_getres", "clock_getres_time64"),
        )
    ),
)


_THREADS = (0x3D0F00, 0x7D0F00)
"""The flags with which glibc and musl have clone start a thread."""
_FORK = 0x1200000
"""CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID, to which glibc's fork adds SIGCHLD."""
_SPAWN = 0x4100
"""CLONE_VM | CLONE_VFORK, to which posix_spawn adds SIGCHLD."""


def fallbacks(view: FilterView) -> Iterator[Finding]:
    """Yield the new calls after whose refusal libraries do not make the older ones, or cannot."""
    yield from _wrong_answers(view)
    yield from _refused_next(view)


def enosys_fix(call: str, view: FilterView, why: str = "") -> str:
    """Return the advice to answer ``call`` with ENOSYS, and to permit what libraries make then."""
    fix = f"answer {call} with errno(ENOSYS)" + (f": {why}" if why else "")
    if call == "clone3" and (refused := _refused_clones(view)):
        return f"{fix}; {_permit_clones(refused)}"
    if call == "statx" and (stat := _refused_stat(view)):
        return f"{fix}; permit {stat[0]} of names as well"
    return fix


def _refused_next(view: FilterView) -> Iterator[Finding]:
    """Yield the calls that a rule answers with ENOSYS in vain: the older one is refused as well."""
    if _is_denied(view, "clone3") and (refused := _refused_clones(view)):
        users = " and ".join(refused)
        box = next(iter(refused.values()))[1]
        yield _broken("clone3", "clone", users, _permit_clones(refused), view, box)
    if _is_denied(view, "statx") and (stat := _refused_stat(view)):
        call, box = stat
        yield _broken("statx", call, "libraries", f"permit {call}", view, box)


def _refused_stat(view: FilterView) -> tuple[str, Box] | None:
    """Return the call that looks at a file by its name, and is refused, where files are opened.

    None if an older one of them is permitted, or if all of them get ENOSYS, on purpose.
    """
    if not any(map(view.permits, ("openat", "open"))):
        return None
    first = None
    for call in [name for name in _STATS if view.has(name)] or ["statx"]:
        prototype = view.prototype(call)
        by_name = {"flag": 0} if prototype and prototype.index("flag") is not None else {}
        refusal = view.refusal(call, **by_name)
        if refusal is None or (call != "statx" and view.is_enosys(refusal[1])):
            return None
        first = first or (call, refusal[0])
    return first


def _is_denied(view: FilterView, call: str) -> bool:
    """Return True for a call that the filter names to answer it with ENOSYS.

    A policy may say its kernel's release, after which other calls came. Of a program it is guessed.
    """
    answer = view.answer(call)
    if answer is None or answer.only is None or not view.is_enosys(answer.only):
        return False
    return view.is_refused_by_rule(call) if view.policy else answer.only != view.default


def _refused_clones(view: FilterView) -> dict[str, tuple[int, Box]]:
    """Return who calls clone after clone3 in vain: the functions, with their flags.

    A filter may permit threads and no processes, or the other way round. But if it permits
    neither, clone is of no use to who calls clone3. And if it permits fork and programs, the C
    library starts these by posix_spawn.
    """
    if not view.permits("clone"):
        return {}
    spawning = _SPAWN | view.constant("SIGCHLD", 17)
    thread = view.refusal("clone", flags=_THREADS[0])
    spawn = view.refusal("clone", flags=spawning)
    refused = {}
    if spawn and thread and not has_threads(view):
        refused["pthread_create"] = _THREADS[0], thread[0]
    if spawn and (refused or (view.permits("execve") and has_forks(view))):
        refused["posix_spawn"] = spawning, spawn[0]
    return refused


def has_threads(view: FilterView) -> bool:
    """Return True if clone may start a thread."""
    return any(permits(ret) for one in _THREADS for _, ret in view.within("clone", flags=one))


def has_forks(view: FilterView) -> bool:
    """Return True if clone may start a process."""
    forking = _FORK | view.constant("SIGCHLD", 17)
    return any(permits(ret) for _, ret in view.within("clone", flags=forking))


def _permit_clones(refused: Mapping[str, tuple[int, Box]]) -> str:
    parts = (f"{flags:#x} for {user}" for user, (flags, _) in refused.items())
    return f"permit clone with flags {' and '.join(parts)}"


def _broken(call: str, older: str, users: str, fix: str, view: FilterView, box: Box) -> Finding:
    if call == older:
        then = f"and {view.abi.name} has no older call for that"
    else:
        then = f"after which {users} must call {older}: that is refused"
    return Finding(
        Problem.BROKEN_FALLBACK,
        Severity.WARNING,
        f"{call} is answered with ENOSYS, {then}",
        fix,
        (view.abi.name,),
        witness=view.witness(view.call(older, box)),
        programs=(view.program.name,),
    )


def _wrong_answers(view: FilterView) -> Iterator[Finding]:
    """Yield the new calls that are refused other than by ENOSYS while the older is permitted."""
    for one in FALLBACKS:
        answer = view.answer(one.call)
        if answer is None or answer.permitted or (one.narrow and view.abi.bits == 64):
            continue
        part = next((part for part in answer.parts if not view.is_enosys(part[1])), None)
        older = next(filter(view.permits, one.older), None)
        if part is None or older is None:
            continue
        box, ret = part
        action = ActionKind(ret & ~RET_DATA_MAX)
        if action in {ActionKind.TRACE, ActionKind.USER_NOTIF, ActionKind.TRAP}:
            continue
        kills = action is not ActionKind.ERRNO
        if not kills and not one.on_errno:
            continue
        by_default = view.is_allowlist and not view.refused_on_purpose(one.call)
        if by_default and one.if_named:
            continue
        # Where the default kills, who needs the call has found that out.
        severity = Severity.NOTE if by_default and kills else one.severity
        yield _finding(one, older, view, box, kills=kills, severity=severity)


def _finding(
    one: Fallback, older: str, view: FilterView, box: Box, *, kills: bool, severity: Severity
) -> Finding:
    if one.on_errno:
        how = "a kill" if kills else "another errno than ENOSYS"
        text = f"{one.user} {one.how} {older}, which is permitted, on ENOSYS only"
    else:
        how = "a kill"
        text = f"{one.user} {older}, which is permitted, ends there"
    return Finding(
        Problem.WRONG_FALLBACK,
        severity,
        f"{one.call} is refused with {how}: {text}",
        enosys_fix(one.call, view),
        (view.abi.name,),
        witness=view.witness(view.call(one.call, box)),
        programs=(view.program.name,),
    )
