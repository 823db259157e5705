"""A supervisor's own signals and end: as if it were the command, to whoever looks from outside.

The command is in the supervisor's process group, so that a terminal's signals reach both; the
supervisor leaves them to the command. What somebody sends to the supervisor alone it hands on.
When the command stops, the supervisor stops, so that a shell sees its job stop.

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

from seccompgen.observe.run.launch import close, end, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seccompgen.observe.run.launch import Command, Confinement, Started

_HANDED_ON = frozenset(
    {
        *(signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1),
        *(signal.SIGUSR2, signal.SIGTSTP, signal.SIGWINCH, signal.SIGALRM, signal.SIGPIPE),
    }
)
_BLOCKED = _HANDED_ON | {signal.SIGCHLD, signal.SIGCONT, signal.SIGTTIN, signal.SIGTTOU}
_ENDS = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP})
_INFO = struct.Struct("=Iii116x")
"""The head of ``struct signalfd_siginfo``, 128 bytes: ssi_signo, ssi_errno, ssi_code."""
_SFD_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class ReceivedSignal:
    """A signal for the supervisor; ``sent`` if by a process, and not by the kernel."""

    number: signal.Signals
    sent: bool


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
        """Yield what came."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.descriptor, _INFO.size):
                number, _, code = _INFO.unpack(data)
                yield ReceivedSignal(signal.Signals(number), sent=code <= 0)

    def close(self) -> None:
        """Close the descriptor; what has come meanwhile is the command's affair, which is over."""
        for _ in self.read():
            pass
        os.close(self.descriptor)


def _halves(bits: int) -> list[int]:
    return [bits & 0xFFFFFFFF, bits >> 32, *[0] * 30]


@contextlib.contextmanager
def blocked() -> Iterator[set[int | signal.Signals]]:
    """Block what a supervisor takes from its descriptor; give the mask that was before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def supervised(
    command: Command, confinement: Confinement, *, held: bool = False
) -> Iterator[tuple[Started, Signals]]:
    """Start a command as `launch.start` does, for as long as it is looked after.

    Meanwhile this process's own signals come by the second value alone. What was started is
    killed if an exception ends it. Raises what `launch.start` raises.
    """
    with blocked() as mask:
        started = start(command, confinement, mask=mask, held=held)
        signals = Signals()
        try:
            yield started, signals
        except BaseException:
            end(started)
            raise
        finally:
            signals.close()
            close(started)


def hand_on(came: ReceivedSignal, pid: int) -> None:
    """Send the command what was sent to the supervisor alone."""
    if came.sent and came.number in _HANDED_ON:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, came.number)


def ends(came: ReceivedSignal) -> bool:
    """Return True if the signal asks a supervisor to end that has no command any more."""
    return came.number in _ENDS


def stop_with(pid: int) -> None:
    """Stop until somebody continues the supervisor; then continue the command, if nobody did.

    A shell continues both. To do it again could undo a stop that was asked for meanwhile; so it is
    done only where nothing happened to the command since.
    """
    os.kill(os.getpid(), signal.SIGSTOP)
    changes = os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOHANG | os.WNOWAIT
    with contextlib.suppress(ChildProcessError, ProcessLookupError):
        if os.waitid(os.P_PID, pid, changes) is None:
            os.kill(pid, signal.SIGCONT)


def as_killed(status: int) -> int:
    """Return the wait status of a process that a filter killed: SIGSYS, also where SIGKILL did it.

    A process that catches SIGSYS, which the kernel can overrule, a supervisor ends by SIGKILL.
    """
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return int(signal.SIGSYS) if killed else status


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
    """The command's own process: its stops are the supervisor's, and its end is told once."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.status: int | None = None

    def look(self) -> None:
        """Collect what happened to the command; ``status`` is its wait status once it ended."""
        while self.status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                stop_with(self._pid)
            else:
                self.status = status


def poll(wanted: dict[int, Callable[[int], None]], timeout: float | None) -> bool:
    """Wait for any of the descriptors, call what is wanted for it; return False if none came."""
    poller = select.poll()
    for descriptor in wanted:
        poller.register(descriptor, select.POLLIN)
    ready = poller.poll(None if timeout is None else timeout * 1000)
    for descriptor, events in ready:
        wanted[descriptor](events)
    return bool(ready)
