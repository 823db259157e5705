"""Fallbacks of libraries: the older calls that they make if a new one gets ENOSYS.

Sources: glibc's sysdeps/unix/sysv/linux (clone-internal.c, spawni.c, faccessat.c, fchmodat.c,
fstatat64.c, closefrom.c, clock_gettime.c) and nptl/pthread_create.c, musl's
src/thread/pthread_create.c, GLib's glib/gspawn.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.lint.answers import permits
from seccompgen.lint.finding import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.sets import Box
    from seccompgen.lint.view import FilterView


class LibraryFallback(NamedTuple):
    """A call, the ``older`` ones that a library makes instead, and the ``user`` that does so.

    Without ``on_errno`` the library falls back on any errno; only a kill prevents that. With
    ``if_named`` programs do not need the call if an allowlist omits it. With ``narrow`` the entry
    is for 32-bit ABIs only. ``how`` is the verb of the message.
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
_TIME64 = {
    "64": "clock_gettime clock_settime",
    "_time64": "clock_nanosleep futex ppoll pselect6 recvmmsg utimensat rt_sigtimedwait "
    "clock_getres",
}
"""Calls of 32-bit ABIs, by the suffix of their form with 64-bit times."""
FALLBACKS = (
    LibraryFallback("clone3", ("clone",), "glibc's pthread_create and posix_spawn"),
    LibraryFallback("faccessat2", ("faccessat",), "glibc's faccessat"),
    LibraryFallback("fchmodat2", ("fchmodat",), "glibc's fchmodat with flags"),
    LibraryFallback("openat2", ("openat", "open"), "what opens below a directory", if_named=True),
    LibraryFallback("statx", _STATS, "what asks for files by statx", _NOTE),
    LibraryFallback(
        "close_range", ("execve",), "GLib", _NOTE, how="closes descriptors one by one before"
    ),
    LibraryFallback("rseq", ("clone",), "glibc's start of a thread by", on_errno=False),
    *(
        LibraryFallback(f"{old}{end}", (old,), "glibc and musl", narrow=True)
        for end, names in _TIME64.items()
        for old in names.split()
    ),
)


_THREADS = (0x3D0F00, 0x7D0F00)
"""The flags with which glibc and musl start a thread by clone."""
_FORK = 0x1200000
"""CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID, to which glibc's fork adds SIGCHLD."""
_SPAWN = 0x4100
"""CLONE_VM | CLONE_VFORK, to which posix_spawn adds SIGCHLD."""


def enosys_fix(call: str, view: FilterView, why: str = "") -> str:
    """Return the advice to answer ``call`` with ENOSYS, and to permit what libraries call then."""
    fix = f"answer {call} with errno(ENOSYS)" + (f": {why}" if why else "")
    if call == "clone3" and (refused := refused_clones(view)):
        return f"{fix}; {permit_clones(refused)}"
    if call == "statx" and (stat := refused_stat(view)):
        return f"{fix}; permit {stat[0]} of names, too"
    return fix


def refused_stat(view: FilterView) -> tuple[str, Box] | None:
    """Return the refused call that stats a file by name, if files may be opened.

    None if an older call is permitted, or if all of them get ENOSYS on purpose.
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


def is_denied(view: FilterView, call: str) -> bool:
    """Return True for a call that the filter names in order to answer it with ENOSYS.

    A policy's ``kernel`` may give newer calls that answer, too. Without a policy it is guessed.
    """
    answer = view.answer(call)
    if answer is None or answer.only is None or not view.is_enosys(answer.only):
        return False
    return view.is_refused_by_rule(call) if view.policy else answer.only != view.default


def refused_clones(view: FilterView) -> dict[str, tuple[int, Box]]:
    """Return the functions whose clone after clone3 is refused, with their flags.

    A filter may permit only threads, or only processes. But if it permits neither, callers of
    clone3 have no use for clone. And if it permits fork and execve, posix_spawn can start programs.
    """
    if not view.permits("clone"):
        return {}
    spawning = _SPAWN | (view.constant("SIGCHLD") or 0)
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
    forking = _FORK | (view.constant("SIGCHLD") or 0)
    return any(permits(ret) for _, ret in view.within("clone", flags=forking))


def permit_clones(refused: Mapping[str, tuple[int, Box]]) -> str:
    """Return the advice to permit the clones of functions."""
    parts = (f"{flags:#x} for {user}" for user, (flags, _) in refused.items())
    return f"permit clone with flags {' and '.join(parts)}"
