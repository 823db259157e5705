"""A supervisor's signals and end: from outside, the supervisor behaves like the command.

The command is in the supervisor's process group, so a terminal's signals reach both, and the
supervisor leaves them to the command. It forwards signals that are sent to itself alone: service
managers and administrators send them to the process that they know, to make it end, reload, or
reopen logs. When the command stops, the supervisor stops, so that a shell sees its job stop.

Sources: signalfd(2), waitid(2), credentials(7), "Job Control" in the manual of the GNU C library.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from seccompgen.run.launch import close, end, start
from seccompgen.run.patience import impatient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from seccompgen.run.launch import Command, Confinement, Started

JOB_CONTROL = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""The signals by which a terminal stops a job."""
ENDING = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP})
"""The signals that ask to end."""
HANDED_ON = frozenset(
    {
        *ENDING,
        *JOB_CONTROL,  # sent by hand, some ask for more or fewer workers
        *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGWINCH),
        *(signal.SIGABRT, signal.SIGIO, signal.SIGPWR),  # a watchdog's, a lease's, a container's
        *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
    }
)
"""The signals to forward to the command if a process sends them.

Left out are those caused by a program's own fault (SIGSEGV, SIGPIPE, ...), and SIGCHLD and SIGCONT,
which concern this process's own children and job.
"""
_BLOCKED = HANDED_ON | {signal.SIGCHLD, signal.SIGCONT}
_INFO = struct.Struct("=IiiI112x")
"""The head of ``struct signalfd_siginfo``, 128 bytes: ssi_signo, ssi_errno, ssi_code, ssi_pid."""
_SFD_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class ReceivedSignal:
    """A signal for the supervisor; ``sent`` if from a process, ``sender``, not from the kernel."""

    number: int
    sent: bool
    sender: int = 0

    @classmethod
    def of(cls, number: int, code: int, sender: int) -> ReceivedSignal:
        """Return the signal with this si_signo, si_code and si_pid."""
        return cls(number, sent=code <= 0, sender=sender)


class Signals:
    """Blocked signals, by default those that a supervisor reads, as a descriptor to poll.

    `signal.sigtimedwait` would do for one thread, but when it is stopped and continued after its
    time, CPython returns a signal that nobody sent.
    """

    def __init__(self, numbers: Iterable[int] = _BLOCKED) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        bits = sum(1 << (number - 1) for number in numbers)
        # In glibc and musl, sigset_t is an array of longs, 128 bytes in all.
        words = [bits, *[0] * (1024 // 64)] if sys.maxsize > 2**32 else _halves(bits)
        self.descriptor = int(libc.signalfd(-1, (ctypes.c_ulong * len(words))(*words), _SFD_FLAGS))
        if self.descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def read(self) -> Iterator[ReceivedSignal]:
        """Yield the signals that have arrived."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.descriptor, _INFO.size):
                number, _, code, sender = _INFO.unpack(data)
                yield ReceivedSignal.of(number, code, sender)

    def close(self) -> None:
        """Close the descriptor; discard signals that are left, since the command is over."""
        for _ in self.read():
            pass
        os.close(self.descriptor)


def _halves(bits: int) -> list[int]:
    return [bits & 0xFFFFFFFF, bits >> 32, *[0] * 30]


@contextlib.contextmanager
def blocked(numbers: Iterable[int] = _BLOCKED) -> Iterator[set[int | signal.Signals]]:
    """Block signals, by default those that a supervisor reads; yield the previous mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def supervised(command: Command, confinement: Confinement) -> Iterator[tuple[Started, Signals]]:
    """Start a command as `launch.start` does, supervised within this context.

    Meanwhile this process's own signals arrive only through the yielded `Signals`. If an exception
    ends the context, the command is killed.
    """
    with blocked() as mask:
        started = start(command, confinement, mask=mask)
        signals = Signals()
        try:
            with impatient():
                yield started, signals
        except BaseException:
            end(started)
            raise
        finally:
            signals.close()
            close(started)


def hand_on(received: ReceivedSignal, pid: int) -> None:
    """Forward to the command a signal that only the supervisor received.

    The command has already received a terminal's signal to the process group, unless it left it.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if received.number in HANDED_ON and (received.sent or os.getpgid(pid) != os.getpgrp()):
            os.kill(pid, received.number)


def ends(received: ReceivedSignal) -> bool:
    """Return True if the signal asks a supervisor whose command is over to end."""
    return received.number in ENDING


def stop_with(pid: int, number: int, goes_on: Callable[[], bool]) -> None:
    """Stop this process as the command stopped, by the signal ``number``, until it is continued.

    ``goes_on`` returns True if the command was continued, or ended, since. Somebody may continue
    the command and this process at any moment, even before this process has stopped, and will not
    do so again. So the stop signal is pending, blocked, while ``goes_on`` is asked. ``goes_on``
    notices an earlier SIGCONT; a later one cancels the stop signal.

    A shell continues both. If only this process was continued, it continues the command. If the
    command already goes on, another SIGCONT could undo a later stop.
    """
    # SIGSTOP cannot be blocked.
    stop = signal.Signals(number) if number in JOB_CONTROL else signal.SIGTSTP
    handler = signal.signal(stop, signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {stop, signal.SIGCONT})
    try:
        signal.raise_signal(stop)
        if goes_on():
            signal.sigtimedwait({stop}, 0)
            return
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {stop})
        signal.pthread_sigmask(signal.SIG_BLOCK, {stop})
        # In an orphaned process group, which no shell watches, the kernel drops the signal.
        if signal.SIGCONT not in signal.sigpending() and not goes_on():
            os.kill(os.getpid(), signal.SIGSTOP)
        if not goes_on():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    finally:
        signal.signal(stop, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _happened_to(pid: int) -> bool:
    """Return True if an untraced child that had stopped was continued, or ended."""
    changes = os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, pid, changes) is not None


def as_killed(status: int, number: int = signal.SIGSYS) -> int:
    """Return a wait status, with death by SIGKILL replaced by death by the signal ``number``.

    A supervisor uses SIGKILL on a process that catches ``number``, such as SIGSYS; the kernel could
    have ended it by that signal all the same.
    """
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return int(number) if killed else status


def end_like(status: int) -> NoReturn:
    """End as a process with the wait status ``status`` ended: by exit code or signal."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        # The command left its own core dump, if any.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        if number not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
        os._exit(128 + number)
    os._exit(os.WEXITSTATUS(status))


class Reaper:
    """Watches the command's process: stops when it stops, and collects its wait status."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.status: int | None = None

    def look_for_stop(self) -> None:
        """Stop if the command has stopped; do not reap it if it has ended."""
        try:
            stopped = os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOHANG)
        except ChildProcessError:  # it ended: Linux then finds no child that could stop
            return
        if stopped:
            stop_with(self._pid, stopped.si_status, lambda: _happened_to(self._pid))

    def look(self) -> None:
        """Stop if the command has stopped; set ``status`` to its wait status if it has ended."""
        while self.status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                stop_with(self._pid, os.WSTOPSIG(status), lambda: _happened_to(self._pid))
            else:
                self.status = status


def poll(wanted: dict[int, Callable[[int], None]], timeout: float | None) -> bool:
    """Wait for descriptors, and call each ready one's function; return False if none was ready."""
    poller = select.poll()
    for descriptor in wanted:
        poller.register(descriptor, select.POLLIN)
    ready = poller.poll(None if timeout is None else timeout * 1000)
    for descriptor, events in ready:
        wanted[descriptor](events)
    return bool(ready)
