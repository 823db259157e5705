"""Signals to this process while something is traced: requests to end, and what is the command's."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from seccompgen.run.process import Process
from seccompgen.run.signals import ENDING, ReceivedSignal, ends, hand_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_UNHEARD = 0.05
"""Seconds after which the tracing thread is signalled again about what it has not heard."""
_NOW_AND_THEN = 0.25
_GRACE = 3.0
"""Seconds in which what the command left may end by itself, with the calls that this takes."""
_AT_ONCE = 0.5
"""Seconds within which signals are one request: timeout(1) signals a process, then its group."""
_SAME = 5.0
"""Seconds within which a process is taken to have sent a signal to a group, not to each in it."""
_WAKES = signal.SIGURG
"""The signal by which one thread has the other look; without a handler it does nothing."""


@contextlib.contextmanager
def answered_by(
    answer: Callable[[ReceivedSignal], None],
    numbers: Iterable[int],
    look: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Have ``answer`` hear, in this thread, of signals to this process, of ignored ones as well.

    ``look`` is called now and then.

    They are blocked meanwhile. Another thread waits for them, since it learns who sent one; a
    handler of Python's does not.
    """
    heard: deque[ReceivedSignal] = deque()
    over = threading.Event()
    tracing = threading.get_ident()
    numbers = {*numbers}
    waited = {*numbers, _WAKES}

    def listen() -> None:
        while True:
            # One that comes just before a wait does not end it: then there is another.
            received = signal.sigtimedwait(waited, _UNHEARD if heard else _NOW_AND_THEN)
            if over.is_set():
                return
            if received and received.si_signo in numbers:
                heard.append(
                    ReceivedSignal.of(received.si_signo, received.si_code, received.si_pid)
                )
            signal.pthread_kill(tracing, _WAKES)

    def answer_all(*_: object) -> None:
        while heard:
            answer(heard.popleft())
        look()

    listener = threading.Thread(target=listen, daemon=True)
    handler = signal.signal(_WAKES, answer_all)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        listener.start()  # with all blocked, so that what is not for it goes elsewhere
        signal.pthread_sigmask(signal.SIG_SETMASK, (mask | numbers) - {_WAKES})
        yield
    finally:
        over.set()
        if listener.ident is not None:
            signal.pthread_kill(listener.ident, _WAKES)
            listener.join()
        # What has come meanwhile is the command's affair, which is over.
        while signal.sigtimedwait(numbers, 0):
            pass
        signal.signal(_WAKES, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def all_ignored(numbers: Iterable[int]) -> set[int]:
    """Return the signals that this process ignores, as it does in the background of a script."""
    return {one for one in numbers if signal.getsignal(one) is signal.SIG_IGN}


class _Twice:
    """Signals that somebody sent to the process group: to the command, and to who hands them on.

    So one of both is left out, whichever comes first. Who sent both is the same.
    """

    def __init__(self) -> None:
        self._handed_on: dict[int, set[int]] = {}
        """The senders of what was handed on by number, since that came."""
        self._came: dict[tuple[int, int, bool], float] = {}
        """When a signal of a sender came to the command, handed on or not."""

    def hands_on(self, received: ReceivedSignal) -> None:
        """Note a signal that is sent to the command next."""
        self._handed_on.setdefault(received.number, set()).add(received.sender)

    def has_had(self, number: int, sender: int) -> bool:
        """Note a signal that comes to the command; return True if it came the other way before."""
        ours = sender == os.getpid()
        # Signals of one number that wait are one.
        senders = self._handed_on.pop(number, set()) if ours else {sender}
        new = {one for one in senders if not self._came_lately((number, one, not ours))}
        now = time.monotonic()
        self._came.update({(number, one, ours): now for one in new})
        return bool(senders) and not new

    def _came_lately(self, key: tuple[int, int, bool]) -> bool:
        at = self._came.pop(key, None)
        return at is not None and time.monotonic() - at < _SAME


class Requests:
    """Signals while a command is traced, whose first thread is ``main``.

    They are the command's. What is left when it has ended, as it was asked to, gets SIGTERM, unless
    it soon ends by itself. One more request to end, while the command has not obeyed the same one,
    kills everything. ``tids`` returns the threads that there are.
    """

    def __init__(self, main: int, tids: Callable[[], Iterable[int]]) -> None:
        self._main = main
        self._tids = tids
        self._ignored = all_ignored(ENDING)
        self._heard: set[int] = set()
        self._asked: dict[int, float] = {}
        self.given_up = False
        """True once everything was killed before the command had ended."""
        self._fate = 0
        """The signal for all that is left, and what that still starts; 0 for none."""
        self._ended = False
        self._due = 0.0
        self._twice = _Twice()

    def hear(self, received: ReceivedSignal) -> None:
        """Do as a signal to this process asks."""
        # The command ignores it as well, unless it has a handler all the same, as nginx has.
        ignored = received.number in self._ignored
        if self._ended or _has_ended(self._main):
            if ends(received) and not ignored:
                self._end_the_rest(signal.SIGKILL if self._fate else signal.SIGTERM)
            return
        if ignored and not received.sent:
            return
        if received.number in ENDING:
            self._heard.add(received.number)
        # A process that is sent SIGHUP may be to read its configuration anew, as often as you like.
        if received.number in ENDING and not (received.sent and received.number == signal.SIGHUP):
            now = time.monotonic()
            if now - self._asked.setdefault(received.number, now) > _AT_ONCE and not ignored:
                self.given_up = True
                self._end_the_rest(signal.SIGKILL)
                return
        self._twice.hands_on(received)
        hand_on(received, self._main)

    def comes_twice(self, number: int, sender: int) -> bool:
        """Return True if the command has got a signal already that is about to be delivered."""
        return self._twice.has_had(number, sender)

    def has_ended(self, by: int) -> bool:
        """Note that the command has ended, by a signal if that is not 0.

        Returns True if what it left is to end as well, since that was asked.
        """
        self._ended = True
        if self._asked or by in self._heard:
            self._due = time.monotonic() + _GRACE
        return bool(self._due or self._fate)

    def look(self) -> None:
        """End what is left if it has had its time."""
        if self._due and not self._fate and time.monotonic() > self._due:
            self._end_the_rest(signal.SIGTERM)

    def has_reached(self, tid: int) -> None:
        """Have a new thread share the fate of those that were there before."""
        if self._fate:
            deaf = Process(tid).ignores(signal.SIGTERM)
            _send(tid, signal.SIGKILL if deaf else self._fate)
            _send(tid, signal.SIGCONT)  # what is stopped hears nothing

    def _end_the_rest(self, number: int) -> None:
        self._fate = number
        for tid in self._tids():
            self.has_reached(tid)


def _send(tid: int, number: int) -> None:
    """Send a signal to a thread's process; its end may be known to the kernel already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(tid, number)


def _has_ended(pid: int) -> bool:
    """Return True if a child has ended, whether that was collected or not."""
    try:
        state = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    # A tracer gets stops as well, whatever it asks for.
    return state is not None and state.si_code != os.CLD_TRAPPED
