"""Have processes refused, and report what the kernel logged of it, line by line."""

import base64
import ctypes
import os
import time
from collections.abc import Sequence

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _LOG = 1, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def lines(seccomp: int, program: str, calls: "Sequence[Sequence[int]]") -> "list[str]":
    """Return the lines of the kernel's log that tell of records of seccomp.

    Each call, a number and arguments, is made in a child under the program, which is in base64.
    """
    code = base64.b64decode(program)
    with open("/proc/sys/kernel/printk_ratelimit", "w") as setting:
        setting.write("0")  # or the kernel drops records of a guest that is quick
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    os.lseek(log, 0, os.SEEK_END)
    libc = ctypes.CDLL(None)
    for number, *arguments in calls:
        child = os.fork()
        if not child:
            described = _Program(len(code) // 8, code)
            libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            failed = libc.syscall(seccomp, _SET_MODE_FILTER, _LOG, ctypes.byref(described))
            if not failed:
                libc.syscall(number, *(ctypes.c_long(one) for one in arguments))
            os._exit(failed != 0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise OSError("the filter was not installed")
    time.sleep(0.5)  # for the kernel's thread that prints them
    found = []
    while True:
        try:
            line = os.read(log, 8192).decode()
        except BlockingIOError:
            break
        if "type=1326" in line:
            found.append(line.splitlines()[0])
    os.close(log)
    return found
