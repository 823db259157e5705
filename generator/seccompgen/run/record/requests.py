"""Signals to this process while it traces: requests to end, and signals for the command."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from seccompgen.run.process import Process
from seccompgen.run.signals import ENDING, Signals, ends, hand_on, poll

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from seccompgen.run.signals import ReceivedSignal

_UNHEARD = 0.05
"""Seconds after which the tracing thread is woken again for signals that it has not handled."""
_NOW_AND_THEN = 0.25
_GRACE = 3.0
"""Seconds in which processes that the command left may end by themselves, with recorded calls."""
_AT_ONCE = 0.5
"""Signals within these seconds are one request: timeout(1) signals a process, then its group."""
_SAME = 5.0
"""Within these seconds, equal signals from one process count as one that it sent to the group."""
_WAKES = signal.SIGURG
"""The signal by which one thread wakes the other; without a handler it does nothing."""


@contextlib.contextmanager
def answered_by(
    answer: Callable[[ReceivedSignal], None],
    numbers: Iterable[int],
    look: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Call ``answer``, in this thread, for each signal to this process, even for ignored ones.

    ``look`` is called now and then.

    The signals are blocked meanwhile, and another thread waits for them: so it learns the sender,
    unlike a Python handler.
    """
    heard: deque[ReceivedSignal] = deque()
    over = threading.Event()
    tracing = threading.get_ident()
    numbers = {*numbers}
    signals = Signals({*numbers, _WAKES})

    def hear(_events: int) -> None:
        heard.extend(received for received in signals.read() if received.number in numbers)

    def listen() -> None:
        while True:
            # A wakeup just before a wait does not end that wait, but the next one will.
            poll({signals.descriptor: hear}, _UNHEARD if heard else _NOW_AND_THEN)
            if over.is_set():
                return
            signal.pthread_kill(tracing, _WAKES)

    def answer_all(*_: object) -> None:
        while heard:
            answer(heard.popleft())
        look()

    listener = threading.Thread(target=listen, daemon=True)
    handler = signal.signal(_WAKES, answer_all)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        listener.start()  # with all blocked, so that other signals go to other threads
        signal.pthread_sigmask(signal.SIG_SETMASK, (mask | numbers) - {_WAKES})
        yield
    finally:
        over.set()
        if listener.ident is not None:
            signal.pthread_kill(listener.ident, _WAKES)
            listener.join()
        signals.close()
        signal.signal(_WAKES, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def all_ignored(numbers: Iterable[int]) -> set[int]:
    """Return those of ``numbers`` that this process ignores, as in the background of a script."""
    return {one for one in numbers if signal.getsignal(one) is signal.SIG_IGN}


class _Twice:
    """Recognizes signals that reach the command twice: by its process group, and forwarded by us.

    The second of them, with the same original sender, is suppressed, whichever it is. None that is
    pending may be: another of its number may have merged with it.
    """

    def __init__(self) -> None:
        self._handed_on: dict[int, set[int]] = {}
        """By number, the original senders of forwarded signals that have not been delivered yet."""
        self._came: dict[tuple[int, int, bool], float] = {}
        """The time at which a sender's signal reached the command: (number, sender, forwarded)."""

    def hands_on(self, received: ReceivedSignal) -> bool:
        """Note a signal to forward to the command next; return False if it reached it already."""
        if self._came_lately((received.number, received.sender, False)):
            return False
        self._handed_on.setdefault(received.number, set()).add(received.sender)
        return True

    def has_had(self, number: int, sender: int, process: Process) -> bool:
        """Note a signal that reaches the command; return True if it came the other way before.

        Also if it is about to: the forwarded signal is pending then, or has merged with this one.
        """
        if sender in self._handed_on.get(number, ()):
            self._handed_on[number].remove(sender)
            return process.is_pending(number)
        ours = sender == os.getpid()
        # Pending signals of one number merge into one.
        senders = self._handed_on.pop(number, set()) if ours else {sender}
        new = {one for one in senders if not self._came_lately((number, one, not ours))}
        now = time.monotonic()
        self._came.update({(number, one, ours): now for one in new})
        return bool(senders) and not new

    def _came_lately(self, key: tuple[int, int, bool]) -> bool:
        at = self._came.pop(key, None)
        return at is not None and time.monotonic() - at < _SAME


class Requests:
    """Handles signals to this process while a command, with PID ``main``, is traced.

    The signals are forwarded to the command. After it has ended on request, processes that it left
    get SIGTERM, unless they end soon. A repeated request to end kills everything if the command has
    not obeyed the first. ``tids`` returns the TIDs of all traced threads.
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
        """The signal for all threads that are left, and all that they start; 0 for none."""
        self._ended = False
        self._due = 0.0
        self._twice = _Twice()

    def hear(self, received: ReceivedSignal) -> None:
        """Act on a signal to this process."""
        # The command also ignores it, by inheritance, unless it installs a handler, as nginx does.
        ignored = received.number in self._ignored
        if self._ended or _has_ended(self._main):
            if ends(received) and not ignored:
                self._end_the_rest(signal.SIGKILL if self._fate else signal.SIGTERM)
            return
        if ignored and not received.sent:
            return
        if received.number in ENDING:
            self._heard.add(received.number)
        # SIGHUP from a process may be a request to reload the configuration: it may come often.
        if received.number in ENDING and not (received.sent and received.number == signal.SIGHUP):
            now = time.monotonic()
            if now - self._asked.setdefault(received.number, now) > _AT_ONCE and not ignored:
                self.given_up = True
                self._end_the_rest(signal.SIGKILL)
                return
        if self._twice.hands_on(received):
            hand_on(received, self._main)

    def comes_twice(self, number: int, sender: int) -> bool:
        """Return True if a signal about to be delivered has already reached the command."""
        return self._twice.has_had(number, sender, Process(self._main))

    def has_ended(self, by: int) -> bool:
        """Note that the command has ended, by the signal ``by`` if that is not 0.

        Returns True if the processes that it left must end as well, since the user asked for it.
        """
        self._ended = True
        if self._asked or by in self._heard:
            self._due = time.monotonic() + _GRACE
        return bool(self._due or self._fate)

    def look(self) -> None:
        """End the processes that are left once their grace period is over."""
        if self._due and not self._fate and time.monotonic() > self._due:
            self._end_the_rest(signal.SIGTERM)

    def has_reached(self, tid: int) -> None:
        """Send a thread the signal, if any, that all threads that are left get."""
        if self._fate:
            deaf = Process(tid).ignores(signal.SIGTERM)
            _send(tid, signal.SIGKILL if deaf else self._fate)
            _send(tid, signal.SIGCONT)  # a stopped process does not react

    def _end_the_rest(self, number: int) -> None:
        self._fate = number
        for tid in self._tids():
            self.has_reached(tid)


def _send(tid: int, number: int) -> None:
    """Send a signal to a thread's process; do nothing if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(tid, number)


def _has_ended(pid: int) -> bool:
    """Return True if a child has ended, reaped or not."""
    try:
        state = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    # A tracer also gets stops, whatever it asks for.
    return state is not None and state.si_code != os.CLD_TRAPPED
