"""Filters that refuse what every program needs to run, to wait or to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.problems import Problem
from seccompgen.core.sets import EVERYTHING
from seccompgen.lint.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.lint.view import FilterView

_SLEEPERS = (
    "nanosleep clock_nanosleep clock_nanosleep_time64 poll ppoll ppoll_time64 futex futex_time64"
)
"""Calls that the kernel goes on with by ``restart_syscall`` once a stopped process continues."""
_WAITERS = (
    "read readv recvfrom recvmsg recv accept accept4 poll ppoll ppoll_time64 select _newselect "
    "pselect6 pselect6_time64 epoll_wait epoll_pwait epoll_pwait2 futex futex_time64 futex_wait "
    "futex_waitv nanosleep clock_nanosleep clock_nanosleep_time64 wait4 waitpid waitid pause "
    "rt_sigtimedwait rt_sigtimedwait_time64 rt_sigsuspend sigsuspend io_getevents io_pgetevents "
    "io_uring_enter socketcall ipc"
)


def cannot_live(view: FilterView) -> Iterator[Finding]:
    """Yield what a filter refuses and every program needs."""
    if not _permitted(view, "exit_group"):
        severity = Severity.NOTE if _permitted(view, "exit") else Severity.WARNING
        text = "exit_group is refused: a program can end only by being killed, or by one thread"
        yield _lacking(view, Problem.NO_EXIT, severity, "exit_group", text)
    returns = [name for name in ("rt_sigreturn", "sigreturn") if view.has(name)]
    if returns and not any(_permitted(view, name) for name in returns):
        text = f"{returns[0]} is refused: the first handler of a signal ends in a crash"
        handles = _permitted(view, "rt_sigaction") or _permitted(view, "sigaction")
        severity = Severity.WARNING if handles else Severity.NOTE
        yield _lacking(view, Problem.NO_SIGRETURN, severity, returns[0], text)
    waiters = [name for name in _WAITERS.split() if view.has(name)]
    if not any(_permitted(view, name) for name in waiters):
        text = "no call is permitted that waits: a program can only spin"
        name = "ppoll" if view.has("ppoll") else waiters[0]
        yield _lacking(view, Problem.NO_WAIT, Severity.NOTE, name, text)
    sleeper = next((name for name in _SLEEPERS.split() if _permitted(view, name)), None)
    if sleeper and not _permitted(view, "restart_syscall"):
        text = (
            f"{sleeper} is permitted, and restart_syscall is not: a process that is stopped and "
            "continued meanwhile fails"
        )
        yield _lacking(view, Problem.NO_RESTART, Severity.NOTE, "restart_syscall", text)


def _permitted(view: FilterView, name: str) -> bool:
    """Return True if some call of that name is not refused; where nobody knows, too."""
    if not view.has(name):
        return False
    answer = view.answer(name)
    return answer is None or len(answer.refused) < len(answer.parts)


def _lacking(view: FilterView, kind: Problem, severity: Severity, name: str, text: str) -> Finding:
    return Finding(
        kind,
        severity,
        text,
        f"permit {name}",
        (view.abi.name,),
        witness=view.witness(view.call(name, EVERYTHING)),
        programs=(view.program.name,),
    )
