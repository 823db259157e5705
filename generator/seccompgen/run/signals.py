"""A supervisor's own signals and end: as if it were the command, to whoever looks from outside.

The command is in the supervisor's process group, so that a terminal's signals reach both; the
supervisor leaves them to the command. What somebody sends to the supervisor alone it hands on, as
service managers and administrators send it to the process that they know: to end, to reload, to
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
        *JOB_CONTROL,  # sent by a person, some ask for more or fewer workers
        *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGWINCH),
        *(signal.SIGABRT, signal.SIGIO, signal.SIGPWR),  # a watchdog's, a lease's, a container's
        *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
    }
)
"""The signals that are the command's, where a process sends them.

Not those that a program's own fault brings (SIGSEGV, SIGPIPE, ...), and not SIGCHLD and SIGCONT,
which are about this process's children and job.
"""
_BLOCKED = HANDED_ON | {signal.SIGCHLD, signal.SIGCONT}
_INFO = struct.Struct("=IiiI112x")
"""The head of ``struct signalfd_siginfo``, 128 bytes: ssi_signo, ssi_errno, ssi_code, ssi_pid."""
_SFD_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class ReceivedSignal:
    """A signal for the supervisor; ``sent`` if by a process, ``sender``, and not by the kernel."""

    number: int
    sent: bool
    sender: int = 0

    @classmethod
    def of(cls, number: int, code: int, sender: int) -> ReceivedSignal:
        """Return the signal whose ``siginfo_t`` has this si_code and si_pid."""
        return cls(number, sent=code <= 0, sender=sender)


class Signals:
    """The supervisor's signals, as a descriptor to wait for."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        bits = sum(1 << (number - 1) for number in _BLOCKED)
        # sigset_t is 128 bytes in glibc and musl, an array of longs.
        words = [bits, *[0] * (1024 // 64)] if sys.maxsize > 2**32 else _halves(bits)
        self.descriptor = int(libc.signalfd(-1, (ctypes.c_ulong * len(words))(*words), _SFD_FLAGS))
        if self.descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def read(self) -> Iterator[ReceivedSignal]:
        """Yield the signals that came."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.descriptor, _INFO.size):
                number, _, code, sender = _INFO.unpack(data)
                yield ReceivedSignal.of(number, code, sender)

    def close(self) -> None:
        """Close the descriptor; what has come meanwhile is the command's affair, which is over."""
        for _ in self.read():
            pass
        os.close(self.descriptor)


def _halves(bits: int) -> list[int]:
    return [bits & 0xFFFFFFFF, bits >> 32, *[0] * 30]


@contextlib.contextmanager
def blocked(numbers: Iterable[int] = _BLOCKED) -> Iterator[set[int | signal.Signals]]:
    """Block what a supervisor takes by itself; give the mask that was before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def supervised(command: Command, confinement: Confinement) -> Iterator[tuple[Started, Signals]]:
    """Start a command as `launch.start` does, for as long as it is looked after.

    Meanwhile this process's own signals come by the second value alone. What was started is
    killed if an exception ends it.
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
    """Send the command what was sent to the supervisor alone.

    What a terminal sends to a process group the command has as well, unless it has left the group.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if received.number in HANDED_ON and (received.sent or os.getpgid(pid) != os.getpgrp()):
            os.kill(pid, received.number)


def ends(received: ReceivedSignal) -> bool:
    """Return True if the signal asks a supervisor to end that has no command any more."""
    return received.number in ENDING


def stop_with(pid: int, number: int, goes_on: Callable[[], bool]) -> None:
    """Stop this process as its command stopped, by the signal ``number``, until it is continued.

    ``goes_on`` says if the command was continued, or ended, since. Who continues it, and
    this process with it, may do so at any moment: also before this has stopped, and then nobody
    comes to continue it once more. So a stop signal waits, blocked, while ``goes_on`` is asked. A
    SIGCONT that comes before is seen by that; one that comes after takes the stop signal back.

    A shell continues both. Where this process alone was continued, it continues the command. To do
    so again could undo a stop that was asked for meanwhile.
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
        # The kernel drops the signal in an orphaned process group: no shell is there to see it.
        if signal.SIGCONT not in signal.sigpending() and not goes_on():
            os.kill(os.getpid(), signal.SIGSTOP)
        if not goes_on():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    finally:
        signal.signal(stop, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _happened_to(pid: int) -> bool:
    """Return True if a child that had stopped, and is not traced, was continued, or ended."""
    changes = os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, pid, changes) is not None


def as_killed(status: int, number: int = signal.SIGSYS) -> int:
    """Return the wait status of a process that ended by the signal ``number``, maybe with help.

    A supervisor ends by SIGKILL what the kernel would have ended by that: a process that catches
    SIGSYS, which the kernel can overrule.
    """
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return int(number) if killed else status


def end_like(status: int) -> NoReturn:
    """End as a process with the wait status ``status`` ended: by exit code or signal."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        # The command left its core, if any.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        if number not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
        os._exit(128 + number)
    os._exit(os.WEXITSTATUS(status))


class Reaper:
    """The command's own process: its stops are the supervisor's, and its end is reported once."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.status: int | None = None

    def look_for_stop(self) -> None:
        """Stop if the command has stopped; its end is left for others to collect."""
        try:
            stopped = os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOHANG)
        except ChildProcessError:  # it ended: Linux then knows of none that could stop
            return
        if stopped:
            stop_with(self._pid, stopped.si_status, lambda: _happened_to(self._pid))

    def look(self) -> None:
        """Collect what happened to the command; ``status`` is its wait status once it ended."""
        while self.status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                stop_with(self._pid, os.WSTOPSIG(status), lambda: _happened_to(self._pid))
            else:
                self.status = status


def poll(wanted: dict[int, Callable[[int], None]], timeout: float | None) -> bool:
    """Wait for descriptors, and call what is wanted for each; return False if none was ready."""
    poller = select.poll()
    for descriptor in wanted:
        poller.register(descriptor, select.POLLIN)
    ready = poller.poll(None if timeout is None else timeout * 1000)
    for descriptor, events in ready:
        wanted[descriptor](events)
    return bool(ready)
