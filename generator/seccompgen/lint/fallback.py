"""New calls that are refused in a way in which libraries do not fall back on the old ones.

A library that finds ENOSYS takes the kernel for an old one, and makes the older call. Any other
answer it hands to the program, which fails. Sources: glibc's sysdeps/unix/sysv/linux
(clone-internal.c, faccessat.c, fchmodat.c, fstatat64.c, closefrom.c, clock_gettime.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.lint.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.lint.view import FilterView


class Fallback(NamedTuple):
    """A ``call``, the ``older`` ones that a library makes instead, and who does so.

    ``on_errno`` is the weight where it is refused with another errno, None where that works too;
    ``on_kill`` where it kills. With ``narrow`` it matters on 32-bit ABIs only.
    """

    call: str
    older: tuple[str, ...]
    user: str
    on_errno: Severity | None = Severity.WARNING
    on_kill: Severity = Severity.WARNING
    narrow: bool = False


_NOTE = Severity.NOTE
_OPENS, _STATS = ("openat", "open"), ("newfstatat", "fstatat64", "stat", "stat64")
FALLBACKS = (
    Fallback("clone3", ("clone",), "glibc's pthread_create and posix_spawn"),
    Fallback("faccessat2", ("faccessat", "access"), "glibc's faccessat"),
    Fallback("fchmodat2", ("fchmodat", "chmod"), "glibc's fchmodat"),
    Fallback("openat2", _OPENS, "programs that open below a directory", _NOTE, _NOTE),
    Fallback("close_range", ("close",), "what closes descriptors before execve", _NOTE),
    Fallback("statx", _STATS, "Rust's and Qt's libraries, and coreutils", _NOTE),
    Fallback("rseq", ("futex",), "glibc's start of each thread", None),
    *(
        Fallback(new, (old,), "glibc and musl", narrow=True)
        for old, new in (
            ("clock_gettime", "clock_gettime64"),
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
        severity = one.on_errno if action is ActionKind.ERRNO else one.on_kill
        if severity is None:
            continue
        how = "another errno than ENOSYS" if action is ActionKind.ERRNO else "a kill"
        yield Finding(
            Problem.WRONG_FALLBACK,
            severity,
            f"{one.call} is refused with {how}: {one.user} would fall back on {older}, which is "
            "permitted, on ENOSYS only",
            f"answer {one.call} with errno(ENOSYS)",
            (view.abi.name,),
            witness=view.witness(view.call(one.call, box)),
            programs=(view.program.name,),
        )


def _is_permitted(view: FilterView, name: str) -> bool:
    answer = view.answer(name)
    return answer is not None and bool(answer.permitted)
