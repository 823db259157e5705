"""Make calls, each in a child under a filter of its own, and tell what became of them.

Runs in the guests: standard library only.
"""

import base64
import ctypes
import os
import struct
from typing import Any

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
_FAILED = 250  # how a child ends that could not install a filter

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.syscall.argtypes = [ctypes.c_long] + [ctypes.c_ulong] * 6


class Fprog(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def outcomes(plan: "dict[str, Any]") -> "list[int]":
    """Return of each trial an errno, 0 for none, or a negative number: the signal."""
    return [tried(plan["seccomp"], trial) for trial in plan["trials"]]


def tried(seccomp: int, trial: "list[object]") -> int:
    """Make one call in a child: ``[program, number, arguments, whether it returns twice]``."""
    code, number, args, twice = trial
    program = base64.b64decode(code)  # type: ignore[arg-type] # as the plan has it
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        if program:
            libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            fprog = Fprog(len(program) // 8, program)
            filters = [_SET_MODE_FILTER, 0, ctypes.addressof(fprog), 0, 0, 0]
            if libc.syscall(seccomp, *filters):
                os._exit(_FAILED)
        result = libc.syscall(number, *args)  # type: ignore[misc] # a list of six numbers
        number = ctypes.get_errno() if result == -1 else 0
        if twice and result == 0:
            os._exit(0)
        os.write(theirs, struct.pack("=i", number))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    os.close(theirs)
    told = os.read(ours, 4)
    os.close(ours)
    if os.WIFSIGNALED(status):
        return -os.WTERMSIG(status)
    assert told, f"the child ended with {status:#x}"
    return int(struct.unpack("=i", told)[0])
