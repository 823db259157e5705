"""Start a command in another root directory, under a filter that begins as the command does.

``python enter.py ROOT FILTER COMMAND...``. FILTER is a file of raw instructions, which are put in
force; ``marker``, for the call after which ``seccompgen record`` and ``run --trace`` begin; or
``none``. So changing the root, and this Python, need nothing of the policy.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

SYS_SECCOMP = 317
SECCOMP_SET_MODE_FILTER = 1
INSTRUCTION = 8


class Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def main() -> None:
    """Become the command."""
    root, kind, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    instructions = b""
    if kind not in {"none", "marker"}:
        with open(kind, "rb") as file:  # noqa: PTH123 - pathlib need not be loaded for this
            instructions = file.read()
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    os.chroot(root)
    os.chdir("/job")
    program = Program(len(instructions) // INSTRUCTION, instructions)
    if instructions:
        if libc.syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(program)):
            raise OSError(ctypes.get_errno(), "the kernel did not take the filter")
    elif kind == "marker":
        libc.syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, 0, None)
    os.execv(command[0], command)  # noqa: S606 - it has no shell on purpose


main()
