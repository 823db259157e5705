"""Requests to end, by signals to this process, while something is traced."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_LONGEST_WAIT = 0.25
"""Seconds."""
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT})


@contextlib.contextmanager
def answered_by(answer: Callable[[int], None]) -> Iterator[None]:
    """Have ``answer`` hear of each signal that asks this process to end, unless it is ignored."""
    before = {}
    for number in (*_ENDING, signal.SIGTSTP):
        old = signal.getsignal(number)
        if old is not signal.SIG_IGN:
            handler = signal.SIG_IGN if number == signal.SIGTSTP else lambda one, _: answer(one)
            before[number] = signal.signal(number, handler)
    # A signal that comes just before a wait does not end it, and its handler runs afterwards:
    # so no wait is longer than this.
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, _LONGEST_WAIT, _LONGEST_WAIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, old in before.items():
            signal.signal(number, old)


class Requests:
    """Requests to end while a command is traced, whose first thread is ``main``.

    One is the command's to obey; what is left when the command has ended gets SIGTERM. One more,
    while that has not been obeyed, kills everything. ``tids`` tells which threads there are.
    """

    def __init__(self, main: int, tids: Callable[[], Iterable[int]]) -> None:
        self._main = main
        self._tids = tids
        self._asked: set[bool] = set()
        self.ended = False
        """True once the end of the command was told of."""
        self.fate = 0
        """The signal that all that is left gets, and what it still starts; 0 if there is none."""

    def hear(self, number: int) -> None:
        """Do as a signal to this process asks."""
        ended = self.ended or _has_ended(self._main)
        targets: Iterable[int] = ()
        if ended in self._asked or ended:
            number = self.fate = signal.SIGKILL if ended in self._asked else signal.SIGTERM
            targets = self._tids()
        elif number not in _FROM_TERMINAL or not _in_foreground():
            targets = (self._main,)  # otherwise the terminal sent it to the command as well
        self._asked.add(ended)
        for tid in targets:
            send(tid, number)

    def has_reached(self, tid: int) -> None:
        """Have a new thread share the fate of those that were there before."""
        if self.fate:
            send(tid, self.fate)


def send(tid: int, number: int) -> None:
    """Send a signal to a thread's process; its end may be known already, and be told of next."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(tid, number)


def _has_ended(pid: int) -> bool:
    """Return True if a child has ended, whether that was collected or not."""
    try:
        state = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    # A tracer is told of stops, too, whatever it asks for.
    return state is not None and state.si_code != os.CLD_TRAPPED


def _in_foreground() -> bool:
    """Return True if the terminal sends its signals to our process group."""
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):
            return os.tcgetpgrp(descriptor) == os.getpgrp()
    return False
