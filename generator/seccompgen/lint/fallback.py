"""New calls that are refused in a way in which libraries do not fall back on the old ones.

A library that finds ENOSYS takes the kernel for an old one, and makes the older call. Any other
answer it hands to the program, which fails. Sources: glibc's sysdeps/unix/sysv/linux
(clone-internal.c, faccessat.c, fchmodat.c, fstatat64.c, closefrom.c, clock_gettime.c), GLib's
glib/gspawn.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.lint.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def fallbacks(view: FilterView) -> Iterator[Finding]:
    """Yield the new calls that are refused other than by ENOSYS while the older is permitted."""
    for one in FALLBACKS:
        answer = view.answer(one.call)
        if answer is None or answer.permitted or (one.narrow and view.abi.bits == 64):
            continue
        part = next((part for part in answer.parts if not view.is_enosys(part[1])), None)
        older = next((name for name in one.older if _is_permitted(view, name)), None)
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
        f"answer {one.call} with errno(ENOSYS)",
        (view.abi.name,),
        witness=view.witness(view.call(one.call, box)),
        programs=(view.program.name,),
    )


def _is_permitted(view: FilterView, name: str) -> bool:
    answer = view.answer(name)
    return answer is not None and bool(answer.permitted)
