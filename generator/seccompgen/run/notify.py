"""Supervise by user notification: each call that the filter asks about waits for an answer.

No ptrace, no root: whoever may install a filter may listen to it. If the supervisor continues a
call (SECCOMP_USER_NOTIF_FLAG_CONTINUE), the kernel uses the arguments as they are *then*: another
thread may have changed the memory they point to. So this observes and is no security boundary; a
call that the supervisor refuses stays refused, whatever memory contains.

If the supervisor dies, its listener is closed: calls that would ask fail with ENOSYS from then on.

Sources: seccomp_unotify(2), kernel/seccomp.c.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import signal
import struct
from typing import TYPE_CHECKING

from seccompgen.core.model import U32
from seccompgen.run.launch import KilledError, let_go, take_over
from seccompgen.run.notification import Fail, Kill, Notification, Proceed, Trap, as_int
from seccompgen.run.process import Process, require_proc
from seccompgen.run.signals import (
    Reaper,
    as_killed,
    ends,
    hand_on,
    poll,
    supervised,
)
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.core.tables import Table
    from seccompgen.run.launch import Command, Confinement, Started
    from seccompgen.run.notification import Answer, Judge
    from seccompgen.run.signals import Signals

SINCE = (5, 5)
"""The first Linux release that lets supervisors continue a call."""
_TELLS_WHEN_UNUSED = (5, 9)
"""The first Linux release whose listeners hang up once no process has the filter."""

_NOTIF = struct.Struct("=QIIiIQ6Q")
"""``struct seccomp_notif``: id, pid, flags, and ``struct seccomp_data``."""
_RESPONSE = struct.Struct("=QqiI")
"""``struct seccomp_notif_resp``: id, val, error, flags."""
_RECV = 0xC0502100
_SEND = 0xC0182101
_ID_VALID = 0x40082102
_ID_VALID_ELSEWHERE = 0x80082102
"""_IOW() on alpha, mips, parisc, ppc and sparc, whose direction bits differ."""
_ELSEWHERE = ("alpha", "mips", "parisc", "ppc", "sparc")
_CONTINUE = 1
_SI_QUEUE = -1
"""The si_code of our signals: a process may not use the kernel's (SYS_SECCOMP)."""
_LINGERS = 0.2
"""Seconds after the command's end before the processes that it left are reported."""


def available() -> bool:
    """Return True if this kernel is new enough."""
    return _release() >= SINCE


def supervise(
    command: Command,
    confinement: Confinement,
    judge: Judge,
    left_behind: Callable[[], None] = lambda: None,
) -> int:
    """Start the command under a filter that asks, answer its questions; return its wait status.

    The filter's flags must include NEW_LISTENER. This returns when every process with the filter is
    gone, and calls ``left_behind`` if some outlive the command. SIGINT, SIGTERM, SIGHUP and SIGQUIT
    then end the wait; calls that ask later fail with ENOSYS.

    Raises FilterError if the kernel does not accept the filter: EBUSY if this process itself is
    under a filter with a listener. Raises OutsideError without a /proc of this PID namespace.
    """
    require_proc()
    try:
        with supervised(command, confinement) as (started, signals):
            return _NotifySupervisor(started, confinement.table, judge, signals).run(left_behind)
    except KilledError as error:
        return error.status


class _NotifySupervisor:
    def __init__(self, started: Started, table: Table, judge: Judge, signals: Signals) -> None:
        self._started = started
        self._judge = judge
        self._signals = signals
        self._table = table
        elsewhere = table.abi.name.startswith(_ELSEWHERE)
        self._id_valid = _ID_VALID_ELSEWHERE if elsewhere else _ID_VALID
        self._command = Reaper(started.pid)
        self._used = True
        self._killed: set[int] = set()
        self._asked_to_end = False

    def run(self, left_behind: Callable[[], None]) -> int:
        self._begin()
        reported = False
        while True:
            wanted: dict[int, Callable[[int], None]] = {self._signals.descriptor: self._on_signals}
            if self._used:
                wanted[self._started.listener] = self._on_listener
            over = self._command.status is not None
            received = poll(wanted, _LINGERS if over and not reported else None)
            self._command.look()
            status = self._command.status
            if status is not None:
                if not self._used or self._asked_to_end or _release() < _TELLS_WHEN_UNUSED:
                    return as_killed(status) if self._started.pid in self._killed else status
                if over and not received and not reported:
                    reported = True
                    left_behind()

    def _begin(self) -> None:
        """Let the child go on, and receive its listener; it may be stopped or killed first."""
        let_go(self._started)
        link = self._started.link.fileno()
        wanted = {
            link: lambda _: take_over(self._started),
            self._signals.descriptor: self._on_signals,
        }
        while self._started.listener < 0:
            poll(wanted, None)
            self._command.look_for_stop()

    def _on_signals(self, _events: int) -> None:
        for received in self._signals.read():
            if self._command.status is None:
                hand_on(received, self._started.pid)
            elif ends(received):
                self._asked_to_end = True

    def _on_listener(self, events: int) -> None:
        if not events & select.POLLIN:
            self._used = False
            return
        buffer = bytearray(_NOTIF.size)
        try:
            fcntl.ioctl(self._started.listener, _RECV, buffer)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.EINTR}:
                return  # the thread was killed, or interrupted and will ask again
            raise
        identity, tid, _, nr, arch, pointer, a, b, c, d, e, f = _NOTIF.unpack(buffer)
        asked = Notification(tid, Call(nr & U32, arch, (a, b, c, d, e, f), pointer))
        answer = self._judge(asked, lambda: self._waits(identity))
        self._reply(identity, asked, answer)

    def _waits(self, identity: int) -> bool:
        try:
            fcntl.ioctl(self._started.listener, self._id_valid, struct.pack("=Q", identity))
        except OSError:
            return False
        return True

    def _reply(self, identity: int, asked: Notification, answer: Answer) -> None:
        value, error, flags = 0, 0, 0
        process = Process(asked.tid)
        match answer:
            case Proceed():
                flags = _CONTINUE
            case Fail(number):
                error = -number
            case Trap() if not process.defies(signal.SIGSYS):
                value = as_int(asked.call.nr)
                if process.status and self._waits(identity):
                    self._trap(process, asked.call, answer)
            case Trap() | Kill():
                error = -errno.ENOSYS
                if process.status and self._waits(identity):
                    self._killed.add(process.pid)
                    process.end_by_sigsys()
        with contextlib.suppress(FileNotFoundError):  # the thread is gone
            response = _RESPONSE.pack(identity, value, error, flags)
            fcntl.ioctl(self._started.listener, _SEND, response)

    def _trap(self, process: Process, call: Call, trap: Trap) -> None:
        """Send the signal that the kernel would send, except that si_code differs."""
        bits = self._table.abi.bits
        info = trap.siginfo(call, _SI_QUEUE, bits, receiver=process.bits or bits)
        nr = self._table.numbers["rt_tgsigqueueinfo"]
        ctypes.CDLL(None).syscall(nr, process.pid, process.tid, int(signal.SIGSYS), info)


def _release() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    digits = "".join(c for c in minor if c.isdigit())
    return int(major), int(digits or 0)
