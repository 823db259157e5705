"""ptrace(2) as functions, by ctypes alone.

Sources: ptrace(2), the kernel's include/uapi/linux/ptrace.h.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct

SEIZE_OPTIONS = (
    0x01  # PTRACE_O_TRACESYSGOOD: tells stops at calls from SIGTRAP
    | 0x02  # PTRACE_O_TRACEFORK
    | 0x04  # PTRACE_O_TRACEVFORK
    | 0x08  # PTRACE_O_TRACECLONE
    | 0x10  # PTRACE_O_TRACEEXEC
    | 0x80  # PTRACE_O_TRACESECCOMP
    | 0x100000  # PTRACE_O_EXITKILL: nothing that is traced outlives the tracer
)
EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_SECCOMP, EVENT_STOP = 1, 2, 3, 4, 7, 128
SYSCALL_STOP = signal.SIGTRAP | 0x80
"""The signal of a stop at a call, under PTRACE_O_TRACESYSGOOD."""

_CONT = 7
_SYSCALL = 24
_GETEVENTMSG = 0x4201
_SEIZE = 0x4206
_INTERRUPT = 0x4207
_LISTEN = 0x4208
_GET_SYSCALL_INFO = 0x420E
_WALL = 0x40000000

OP_ENTRY, OP_SECCOMP = 1, 3

# PyDLL keeps the GIL: there is one thread, and giving it up would cost more than the call.
_libc = ctypes.PyDLL(None, use_errno=True)
_ptrace = _libc.ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


class CallReader:
    """Asks which call a stopped thread is about to make; one buffer, used again."""

    # struct ptrace_syscall_info, as it is at the entry of a call and at its filter: op, audit
    # value, two words that are skipped, number, six arguments.
    _INFO = struct.Struct("=BxxxI16xQ6Q")
    _SIZE = 96

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(self._SIZE)
        self._address = ctypes.addressof(self._buffer)

    def read(self, tid: int) -> tuple[int, ...]:
        """Return op, audit value, number and six arguments, or nothing if the thread is gone.

        Op is OP_ENTRY, OP_SECCOMP, or something else where no call begins; then the rest is
        meaningless. The last seven are 64 bits.
        """
        if int(_ptrace(_GET_SYSCALL_INFO, tid, self._SIZE, self._address)) <= 0:
            return ()
        return self._INFO.unpack_from(self._buffer)


def wait() -> tuple[int, int]:
    """Wait for any traced thread or child; return its TID and wait status.

    Raises ChildProcessError where there is none left.
    """
    return os.waitpid(-1, _WALL)


def proceed(tid: int, signal_number: int = 0) -> None:
    """Let a stopped thread go on, with the signal if it is not 0, to its next event."""
    _ptrace(_CONT, tid, 0, signal_number)


def proceed_to_call(tid: int, signal_number: int = 0) -> None:
    """Let a stopped thread go on as `proceed` does, but stop at entry and exit of a call, too."""
    _ptrace(_SYSCALL, tid, 0, signal_number)


def listen(tid: int) -> None:
    """Leave a thread in the group-stop that it has come to, to be told when it ends."""
    _ptrace(_LISTEN, tid, 0, 0)


def interrupt(tid: int) -> None:
    """Stop a running thread."""
    _ptrace(_INTERRUPT, tid, 0, 0)


def event_message(tid: int) -> int:
    """Return the number that comes with an event, such as the TID of a new thread."""
    message = ctypes.c_ulong()
    _ptrace(_GETEVENTMSG, tid, 0, ctypes.addressof(message))
    return message.value


def seize(pid: int) -> int:
    """Trace a process and all that it will start; return 0 or an errno."""
    result = int(_ptrace(_SEIZE, pid, 0, SEIZE_OPTIONS))
    return ctypes.get_errno() if result == -1 else 0
