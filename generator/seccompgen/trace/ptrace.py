"""Supervise by ptrace: for where there can be no listener, since one is above or the kernel is old.

The filter asks by SECCOMP_RET_TRACE, so that only the calls in question stop, not all. Threads
and children are followed; all of them die with the supervisor (PTRACE_O_EXITKILL). A program that
is traced in this way cannot be debugged by another, nor gain by setuid.

Sources: ptrace(2), seccomp(2), include/uapi/linux/{ptrace,elf}.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from typing import TYPE_CHECKING

from seccompgen.errors import OutsideError
from seccompgen.model import U32, U64
from seccompgen.trace.launch import close, end, failure, start
from seccompgen.trace.notification import Fail, Kill, Notification, Proceed, Trap
from seccompgen.trace.process import Process
from seccompgen.trace.signals import Signals, as_killed, blocked, ends, hand_on, poll, stop_with
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.errors import SeccompgenError
    from seccompgen.trace.launch import Command, Confinement, Started
    from seccompgen.trace.notification import Answer, Judge

_POKEUSER, _CONT, _SEIZE, _LISTEN = 6, 7, 0x4206, 0x4208
_SETSIGINFO, _GETREGSET, _SETREGSET, _GET_SYSCALL_INFO = 0x4203, 0x4204, 0x4205, 0x420E
_OPTIONS = 0x100000 | 0x80 | 0x10 | 0x08 | 0x04 | 0x02
"""PTRACE_O_EXITKILL, and events of seccomp, exec, clone, vfork, fork."""
_EVENT_SECCOMP, _EVENT_STOP = 7, 128
_STOPS = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
_WALL = 0x40000000
"""__WALL of waitpid(2): threads as well as processes."""

_INFO = struct.Struct("=B3xIQQQ6Q")
"""``struct ptrace_syscall_info``: op, arch, instruction and stack pointer, nr, args."""
_SYS_SECCOMP = 1
"""si_code of a SIGSYS by a filter."""
_RAX, _ORIG_RAX = 8 * 10, 8 * 15
"""Offsets into ``struct user`` of x86_64."""
_NT_PRSTATUS, _NT_ARM_SYSTEM_CALL = 1, 0x404
_ARM64_REGISTERS = 34 * 8
"""sizeof(struct user_pt_regs); x0 comes first."""
_ABIS = frozenset({"x86_64", "aarch64"})
"""Those on which we know which registers skip a call."""
_LINGERS = 0.2


def supervise(
    command: Command,
    confinement: Confinement,
    judge: Judge,
    left_behind: Callable[[], None] = lambda: None,
) -> int:
    """Start the command under a filter that asks, answer for it; return its wait status.

    Returns when the command and all that it started have ended; otherwise as
    `notify.supervise`, but that whatever is left is killed when this process ends.

    Raises FilterError if the kernel does not take the filter, and OutsideError where this ABI's
    registers are unknown here or ptrace is forbidden.
    """
    abi = confinement.table.abi.name
    if abi not in _ABIS:
        raise OutsideError(
            f"tracing by ptrace knows the registers of {', '.join(sorted(_ABIS))}, not of {abi}: "
            "trace by notification, with Linux 5.5 or newer and outside of other listeners"
        )
    with blocked() as mask:
        started = start(command, confinement, mask=mask, held=True)
        signals = Signals()
        try:
            return _Supervisor(started, abi, judge, signals).run(left_behind)
        except BaseException:
            end(started)
            raise
        finally:
            signals.close()
            close(started)


class _Supervisor:
    def __init__(self, started: Started, abi: str, judge: Judge, signals: Signals) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.ptrace.restype = ctypes.c_long
        self._libc.ptrace.argtypes = [
            ctypes.c_long,
            ctypes.c_long,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self._started = started
        self._abi = abi
        self._judge = judge
        self._signals = signals
        self._status: int | None = None
        self._killed: set[int] = set()
        self._traps: dict[int, bytes] = {}
        self._linked = True
        self._problem: SeccompgenError | None = None
        self._asked_to_end = False

    def run(self, left_behind: Callable[[], None]) -> int:
        try:
            self._ptrace(_SEIZE, self._started.pid, 0, _OPTIONS)
        except OSError as error:
            raise OutsideError(
                f"ptrace is forbidden here ({error.strerror}): trace by notification, or have the "
                "sandbox around this process permit it"
            ) from None
        self._started.link.send(b"g")
        told = False
        while self._collect():
            over = self._status is not None
            if over and self._asked_to_end:
                break
            wanted: dict[int, Callable[[int], None]] = {self._signals.descriptor: self._on_signals}
            if self._linked:
                wanted[self._started.link.fileno()] = self._on_link
            if not poll(wanted, _LINGERS if over and not told else None):
                told = True
                left_behind()
        if self._problem:
            raise self._problem
        assert self._status is not None
        killed = self._started.pid in self._killed
        return as_killed(self._status) if killed else self._status

    def _on_signals(self, _events: int) -> None:
        for came in self._signals.read():
            if self._status is None:
                hand_on(came, self._started.pid)
            elif ends(came):
                self._asked_to_end = True

    def _on_link(self, _events: int) -> None:
        """Hear that there is no filter, or, by the end of the link, that the command runs."""
        message = self._started.link.recv(4096)
        self._linked = False
        self._problem = failure(message)

    def _collect(self) -> bool:
        """See to everything that has stopped or ended; return False if nobody is left."""
        while True:
            try:
                tid, status = os.waitpid(-1, os.WNOHANG | _WALL)
            except ChildProcessError:
                return False
            if tid == 0:
                return True
            try:
                if os.WIFSTOPPED(status):
                    self._on_stop(tid, status >> 16, os.WSTOPSIG(status))
                elif tid == self._started.pid:
                    self._status = status
            except ProcessLookupError:
                continue  # killed meanwhile; its end is still to come

    def _on_stop(self, tid: int, event: int, number: int) -> None:
        if event == _EVENT_SECCOMP:
            self._on_call(tid)
        elif event == _EVENT_STOP and number in _STOPS:
            # It stays stopped, and hears of SIGCONT.
            self._ptrace(_LISTEN, tid, 0, 0)
            if tid == self._started.pid:
                stop_with(tid)
        elif event:
            self._ptrace(_CONT, tid, 0, 0)
        else:
            trap = self._traps.pop(tid, None) if number == signal.SIGSYS else None
            if trap:
                buffer = ctypes.create_string_buffer(trap, len(trap))
                self._ptrace(_SETSIGINFO, tid, 0, _address(buffer))
            self._ptrace(_CONT, tid, 0, number)

    def _on_call(self, tid: int) -> None:
        buffer = ctypes.create_string_buffer(_INFO.size)
        self._ptrace(_GET_SYSCALL_INFO, tid, _INFO.size, _address(buffer))
        _, arch, pointer, _, nr, a, b, c, d, e, f = _INFO.unpack(buffer.raw)
        asked = Notification(tid, Call(nr & U32, arch, (a, b, c, d, e, f), pointer))
        answer = self._judge(asked, lambda: True)
        self._reply(asked, answer)
        self._ptrace(_CONT, tid, 0, 0)

    def _reply(self, asked: Notification, answer: Answer) -> None:
        process = Process(asked.tid)
        call = asked.call
        match answer:
            case Proceed():
                pass
            case Fail(number):
                self._skip(asked.tid, -number)
            case Trap() if not process.defies(signal.SIGSYS):
                self._skip(asked.tid, call.nr)
                self._traps[asked.tid] = answer.siginfo(call, _SYS_SECCOMP, bits=64)
                process.send(signal.SIGSYS)
            case Trap() | Kill():
                self._skip(asked.tid, -errno.ENOSYS)
                self._killed.add(process.pid)
                process.end_by_sigsys()

    def _skip(self, tid: int, result: int) -> None:
        """Have the thread make no call, and take ``result`` for what it returned."""
        if self._abi == "x86_64":
            self._ptrace(_POKEUSER, tid, _ORIG_RAX, -1)
            self._ptrace(_POKEUSER, tid, _RAX, result)
            return
        registers = ctypes.create_string_buffer(_ARM64_REGISTERS)
        self._registers(_GETREGSET, tid, _NT_PRSTATUS, registers)
        struct.pack_into("=q", registers, 0, result)
        self._registers(_SETREGSET, tid, _NT_PRSTATUS, registers)
        nobody = ctypes.create_string_buffer(struct.pack("=i", -1), 4)
        self._registers(_SETREGSET, tid, _NT_ARM_SYSTEM_CALL, nobody)

    def _registers(
        self, request: int, tid: int, kind: int, buffer: ctypes.Array[ctypes.c_char]
    ) -> None:
        vector = (ctypes.c_size_t * 2)(_address(buffer), len(buffer))
        self._ptrace(request, tid, kind, ctypes.addressof(vector))

    def _ptrace(self, request: int, tid: int, address: int, data: int) -> None:
        if self._libc.ptrace(request, tid, address & U64, data & U64) == -1:
            number = ctypes.get_errno()
            if number:
                raise OSError(number, os.strerror(number))


def _address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)
