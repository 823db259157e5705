"""ptrace(2) as functions: threads that stop at events, and operations on a stopped thread.

A thread can be killed at any moment. Functions that resume a thread ignore one that is gone: `wait`
reports its end. Functions that change a thread raise OSError: ProcessLookupError if it is gone.

Sources: ptrace(2), include/uapi/linux/{ptrace,elf}.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from typing import TYPE_CHECKING

from seccompgen.core.errors import OutsideError
from seccompgen.core.model import U64
from seccompgen.run.process import Process, processes_traced_by

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi

_EXITKILL = 0x100000
"""PTRACE_O_EXITKILL: no traced thread outlives the tracer."""
SEIZE_OPTIONS = (
    0x01  # PTRACE_O_TRACESYSGOOD: marks stops at calls, unlike SIGTRAP
    | 0x02  # PTRACE_O_TRACEFORK
    | 0x04  # PTRACE_O_TRACEVFORK
    | 0x08  # PTRACE_O_TRACECLONE
    | 0x10  # PTRACE_O_TRACEEXEC
    | 0x80  # PTRACE_O_TRACESECCOMP
    | _EXITKILL
)
CLONE_UNTRACED = 0x00800000
"""The flag of clone(2) by which a new thread or process gets no tracer."""
EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_SECCOMP, EVENT_STOP = 1, 2, 3, 4, 7, 128
SYSCALL_STOP = signal.SIGTRAP | 0x80
"""The signal of a stop at a call, after `proceed_to_call`."""
OP_NONE, OP_ENTRY, OP_EXIT, OP_SECCOMP = 0, 1, 2, 3
"""The stops that `CallReader` distinguishes: no call, a call's entry, its exit, a filter's stop."""
ABIS = frozenset({"x86_64", "aarch64"})
"""The ABIs whose registers `skip_call` knows."""

_POKEUSER, _CONT, _DETACH, _SYSCALL, _SYSEMU = 6, 7, 17, 24, 31
_GETEVENTMSG, _GETSIGINFO, _SETSIGINFO = 0x4201, 0x4202, 0x4203
_GETREGSET, _SETREGSET = 0x4204, 0x4205
_SEIZE, _INTERRUPT, _LISTEN, _GET_SYSCALL_INFO = 0x4206, 0x4207, 0x4208, 0x420E
_WALL = 0x40000000
"""__WALL of waitpid(2): wait for threads as well as processes."""
_CHANGES = _WALL | os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT
_INFO = struct.Struct("=B3xI8x8xQ6Q")
"""``struct ptrace_syscall_info`` at the entry of a call: op, arch, nr, args."""
_SIGINFO_SIZE = 128
_SENDER = struct.Struct("@iii0li")
"""The head of ``siginfo_t``: si_signo, si_errno, si_code, si_pid."""
_INSTRUCTION_POINTER = struct.Struct("=8xQ")
_RAX, _ORIG_RAX, _RIP = 8 * 10, 8 * 15, 8 * 16
"""Offsets into ``struct user`` of x86_64."""
_FIRST_ARGUMENT = {"x86_64": 8 * 14, "x32": 8 * 14, "i386": 8 * 5}
"""Offsets into ``struct user`` of x86_64, by ABI: rdi, and rbx for i386."""
_NT_PRSTATUS, _NT_ARM_SYSTEM_CALL = 1, 0x404
_ARM64_REGISTERS, _ARM64_PC = 34 * 8, 32 * 8
"""sizeof(struct user_pt_regs); x0 comes first."""
_CALL_INSTRUCTION = {"x86_64": 2, "aarch64": 4}
"""Bytes of the instruction that calls the kernel; the same for the compat ABIs of each."""

# PyDLL keeps the GIL: releasing it would cost more than the call, and there is one thread.
_ptrace = ctypes.PyDLL(None, use_errno=True).ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def seize(tid: int, *, outlives: bool = False) -> None:
    """Trace a thread, and every thread and process that it will start. Raises OSError.

    When this process ends, the kernel kills the traced threads; with ``outlives`` they go on
    untraced.
    """
    _checked(_SEIZE, tid, 0, SEIZE_OPTIONS & ~_EXITKILL if outlives else SEIZE_OPTIONS)


def detach(tid: int, number: int = 0) -> None:
    """Stop tracing a stopped thread, and let it go on, with a signal if ``number`` is not 0."""
    _ptrace(_DETACH, tid, 0, number)


def wait(flags: int = 0) -> tuple[int, int]:
    """Wait for any traced thread or child; return its TID and wait status.

    ``flags`` are those of waitpid(2): with WNOHANG the TID is 0 if nothing has happened.
    Raises ChildProcessError if no thread or child is left.
    """
    return os.waitpid(-1, flags | _WALL)


def is_tracing() -> bool:
    """Return True if this process still traces another; it may have children of other kinds."""
    try:
        os.waitid(os.P_ALL, 0, _CHANGES)
    except ChildProcessError:
        return False
    return any(processes_traced_by(os.getpid()))


def proceed(tid: int, number: int = 0) -> None:
    """Let a stopped thread go on to its next event, with a signal if ``number`` is not 0."""
    _ptrace(_CONT, tid, 0, number)


def proceed_to_call(tid: int, number: int = 0) -> None:
    """Let a stopped thread go on as `proceed` does, but also stop it at a call's entry and exit."""
    _ptrace(_SYSCALL, tid, 0, number)


def proceed_to_skipped_call(tid: int, number: int = 0) -> None:
    """Let a stopped thread go on to its next call, which the kernel skips, and stop it there.

    No filter sees the call, unless `repeat_call` has the thread make it.
    """
    _ptrace(_SYSEMU, tid, 0, number)


def listen(tid: int) -> None:
    """Leave a thread in its group-stop until the process is continued."""
    _ptrace(_LISTEN, tid, 0, 0)


def listens(tid: int) -> bool:
    """Return True if a thread is still in the group-stop in which `listen` left it.

    False as soon as its process is continued, even before `wait` reports that.
    """
    # Once continued, the thread runs until a new stop, which is then pending for `wait`.
    if Process(tid).state != "t":
        return False
    try:
        return os.waitid(os.P_PID, tid, _CHANGES) is None
    except ChildProcessError:
        return False


def reports_stops(tid: int, pid: int) -> bool:
    """Return True if the stops of a thread show those of its process ``pid``.

    Those of the first thread do; once it has ended, those of the process's other threads do.
    """
    return tid == pid or (Process(pid).state == "Z" and Process(tid).pid == pid)


def interrupt(tid: int) -> None:
    """Stop a running thread."""
    _ptrace(_INTERRUPT, tid, 0, 0)


def event_message(tid: int) -> int:
    """Return an event's number, such as the TID of a new thread; 0 if ``tid`` is gone."""
    message = ctypes.c_ulong()
    _ptrace(_GETEVENTMSG, tid, 0, ctypes.addressof(message))
    return message.value


class CallReader:
    """Asks the kernel which call a stopped thread is about to make; reuses one buffer."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(_INFO.size)
        self._address = ctypes.addressof(self._buffer)

    def read(self, tid: int) -> tuple[int, ...]:
        """Return op, audit value, number and six arguments, or nothing if the thread is gone.

        Op is OP_ENTRY, OP_SECCOMP, or another value if no call begins; then the rest is
        meaningless. The last seven are 64 bits. Raises OutsideError if the kernel does not answer:
        treating that as a thread that is gone would let its call be made, unseen.

        OP_NONE after `events.happened` yielded a call means: the thread is gone, and another thread
        of the process executed a program and so took over its TID. `wait` has yet to report that,
        so do not resume this TID.
        """
        if _ptrace(_GET_SYSCALL_INFO, tid, _INFO.size, self._address) != -1:
            return _INFO.unpack_from(self._buffer)
        number = ctypes.get_errno()
        if number == errno.ESRCH:
            return ()
        raise OutsideError(
            f"ptrace does not say what a thread calls ({os.strerror(number)}): use Linux 5.3 or "
            "newer, and have the sandbox around this process permit PTRACE_GET_SYSCALL_INFO"
        )

    def instruction_pointer(self) -> int:
        """Return the instruction pointer of the thread that `read` was last called for."""
        (pointer,) = _INSTRUCTION_POINTER.unpack_from(self._buffer)
        return int(pointer)


def skip_call(tid: int, abi: str, result: int) -> None:
    """Have the thread skip its call, which seems to return ``result``.

    ``abi`` is the tracer's own, one of ABIS.
    """
    if abi == "x86_64":
        _checked(_POKEUSER, tid, _ORIG_RAX, -1)
        _checked(_POKEUSER, tid, _RAX, result)
    else:
        _change_arm64(tid, 0, result)
        _make_none(tid)


def repeat_call(tid: int, abi: str, nr: int, end: int) -> None:
    """Have the thread make the call ``nr`` that it skipped, by repeating the instruction.

    The instruction ends at ``end``. The kernel restarts interrupted calls in the same way.
    """
    before = end - _CALL_INSTRUCTION[abi]
    if abi == "x86_64":
        _checked(_POKEUSER, tid, _ORIG_RAX, -1)
        _checked(_POKEUSER, tid, _RAX, nr)
        _checked(_POKEUSER, tid, _RIP, before)
    else:
        _change_arm64(tid, _ARM64_PC, before)
        _make_none(tid)


def _change_arm64(tid: int, offset: int, value: int) -> None:
    registers = ctypes.create_string_buffer(_ARM64_REGISTERS)
    _registers(_GETREGSET, tid, _NT_PRSTATUS, registers)
    struct.pack_into("=Q", registers, offset, value & U64)
    _registers(_SETREGSET, tid, _NT_PRSTATUS, registers)


def _make_none(tid: int) -> None:
    none = ctypes.create_string_buffer(struct.pack("=i", -1), 4)
    _registers(_SETREGSET, tid, _NT_ARM_SYSTEM_CALL, none)


def set_first_argument(tid: int, abi: Abi, value: int) -> None:
    """Replace the first argument of the call that the thread is about to make, or just made.

    ``abi`` is the call's. Raises OSError: ENOTSUP if the register is unknown for ``abi``.
    """
    if abi.name in _FIRST_ARGUMENT:
        _checked(_POKEUSER, tid, _FIRST_ARGUMENT[abi.name], value)
    elif abi.name == "aarch64":
        _change_arm64(tid, 0, value)
    else:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


def sender(tid: int) -> int:
    """Return the PID of the sender of the signal that stopped the thread; 0 if none sent it."""
    buffer = ctypes.create_string_buffer(_SIGINFO_SIZE)
    _ptrace(_GETSIGINFO, tid, 0, ctypes.addressof(buffer))
    _, _, code, pid = _SENDER.unpack_from(buffer)
    return int(pid) if code <= 0 else 0


def set_siginfo(tid: int, info: bytes) -> None:
    """Replace the ``siginfo_t``, 128 bytes, of the signal that stopped the thread."""
    buffer = ctypes.create_string_buffer(info, len(info))
    _checked(_SETSIGINFO, tid, 0, ctypes.addressof(buffer))


def _registers(request: int, tid: int, kind: int, buffer: ctypes.Array[ctypes.c_char]) -> None:
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), len(buffer))
    _checked(request, tid, kind, ctypes.addressof(vector))


def _checked(request: int, tid: int, address: int, data: int) -> None:
    if _ptrace(request, tid, address & U64, data & U64) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
