"""ptrace(2) as functions: threads that stop at events, and what can be done with one then.

Every function raises OSError as the kernel says it: ESRCH (ProcessLookupError) where the thread is
gone, or was not stopped.

Sources: ptrace(2), include/uapi/linux/{ptrace,elf}.h.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct

from seccompgen.model import U32, U64
from seccompgen.verify.call import Call

SEIZE_OPTIONS = (
    0x02  # PTRACE_O_TRACEFORK
    | 0x04  # PTRACE_O_TRACEVFORK
    | 0x08  # PTRACE_O_TRACECLONE
    | 0x10  # PTRACE_O_TRACEEXEC
    | 0x80  # PTRACE_O_TRACESECCOMP
    | 0x100000  # PTRACE_O_EXITKILL: nothing that is traced outlives the tracer
)
EVENT_SECCOMP, EVENT_STOP = 7, 128
STOPPING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""What an EVENT_STOP that is a group-stop comes with."""
ABIS = frozenset({"x86_64", "aarch64"})
"""Those of which `skip_call` knows the registers."""

_POKEUSER, _CONT, _SEIZE, _LISTEN = 6, 7, 0x4206, 0x4208
_SETSIGINFO, _GETREGSET, _SETREGSET, _GET_SYSCALL_INFO = 0x4203, 0x4204, 0x4205, 0x420E
_WALL = 0x40000000
"""__WALL of waitpid(2): threads as well as processes."""
_INFO = struct.Struct("=B3xIQQQ6Q")
"""``struct ptrace_syscall_info``: op, arch, instruction and stack pointer, nr, args."""
_RAX, _ORIG_RAX = 8 * 10, 8 * 15
"""Offsets into ``struct user`` of x86_64."""
_NT_PRSTATUS, _NT_ARM_SYSTEM_CALL = 1, 0x404
_ARM64_REGISTERS = 34 * 8
"""sizeof(struct user_pt_regs); x0 comes first."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def seize(pid: int) -> None:
    """Trace a process, and all that it will start."""
    _ptrace(_SEIZE, pid, 0, SEIZE_OPTIONS)


def next_event() -> tuple[int, int]:
    """Return TID and wait status of a thread or child to which something happened; TID 0 if none.

    Raises ChildProcessError where there is none left.
    """
    return os.waitpid(-1, os.WNOHANG | _WALL)


def proceed(tid: int, number: int = 0) -> None:
    """Let a stopped thread go on, with a signal if ``number`` is not 0."""
    _ptrace(_CONT, tid, 0, number)


def listen(tid: int) -> None:
    """Leave a thread in the group-stop that it has come to, to be told when it ends."""
    _ptrace(_LISTEN, tid, 0, 0)


def read_call(tid: int) -> Call:
    """Return the call at which the thread stopped (EVENT_SECCOMP)."""
    buffer = ctypes.create_string_buffer(_INFO.size)
    _ptrace(_GET_SYSCALL_INFO, tid, _INFO.size, ctypes.addressof(buffer))
    _, arch, pointer, _, nr, a, b, c, d, e, f = _INFO.unpack(buffer.raw)
    return Call(nr & U32, arch, (a, b, c, d, e, f), pointer)


def skip_call(tid: int, abi: str, result: int) -> None:
    """Have the thread make no call (EVENT_SECCOMP), and take ``result`` for what it returned.

    ``abi`` is the tracer's own, one of ABIS.
    """
    if abi == "x86_64":
        _ptrace(_POKEUSER, tid, _ORIG_RAX, -1)
        _ptrace(_POKEUSER, tid, _RAX, result)
        return
    registers = ctypes.create_string_buffer(_ARM64_REGISTERS)
    _registers(_GETREGSET, tid, _NT_PRSTATUS, registers)
    struct.pack_into("=q", registers, 0, result)
    _registers(_SETREGSET, tid, _NT_PRSTATUS, registers)
    none = ctypes.create_string_buffer(struct.pack("=i", -1), 4)
    _registers(_SETREGSET, tid, _NT_ARM_SYSTEM_CALL, none)


def set_siginfo(tid: int, info: bytes) -> None:
    """Replace the ``siginfo_t``, 128 bytes, of the signal at whose delivery the thread stopped."""
    buffer = ctypes.create_string_buffer(info, len(info))
    _ptrace(_SETSIGINFO, tid, 0, ctypes.addressof(buffer))


def _registers(request: int, tid: int, kind: int, buffer: ctypes.Array[ctypes.c_char]) -> None:
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), len(buffer))
    _ptrace(request, tid, kind, ctypes.addressof(vector))


def _ptrace(request: int, tid: int, address: int, data: int) -> None:
    if _libc.ptrace(request, tid, address & U64, data & U64) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
