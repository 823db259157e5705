"""Ask the kernel which numbers it has: call each, with arguments that can do no work.

All arguments are -1: no such address, descriptor, process, flag or operation. What the kernel has
fails by something else than ENOSYS, or ends or blocks the child; some calls say ENOSYS to an
operation that they do not know, so these are asked again with zeros, and with ones.
"""

import ctypes
import mmap
import os
import signal
import time
from collections.abc import Sequence

from guests.inside.confined import libc

_UNTRIED, _HERE, _ABSENT, _TRYING = range(4)
_HANGS = 0.1  # seconds of sleep without progress; what blocks is there, so nothing depends on it


def absent(numbers: "Sequence[int]", enosys: int) -> "list[int]":
    """Return those of ``numbers`` to which the kernel says ENOSYS, whatever the arguments."""
    left = list(numbers)
    for argument in (-1, 0, 1):
        left = _ask(left, argument, enosys)
    return left


def _ask(numbers: "Sequence[int]", argument: int, enosys: int) -> "list[int]":
    states = mmap.mmap(-1, max(len(numbers), 1))
    first = 0
    while first < len(numbers):
        child = os.fork()
        if child == 0:
            try:
                _child(numbers, first, argument, enosys, states)
            finally:
                os._exit(1)
        _watch(child, states)
        # Where the child ended, or hangs, there was a call that the kernel has.
        first = states.find(bytes([_TRYING]))
        if first < 0:
            break
        states[first] = _HERE
        first += 1
    untried = states.find(bytes([_UNTRIED]))
    assert untried < 0 or not numbers, f"call {untried} was never made"
    return [nr for index, nr in enumerate(numbers) if states[index] == _ABSENT]


def _child(
    numbers: "Sequence[int]", first: int, argument: int, enosys: int, states: mmap.mmap
) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.setpgid(0, 0)
    me = os.getpid()
    args = [argument & (1 << 8 * ctypes.sizeof(ctypes.c_ulong)) - 1] * 6
    for index in range(first, len(numbers)):
        states[index] = _TRYING
        nr = numbers[index]
        result = libc.syscall(nr - (1 << 32) if nr >> 31 else nr, *args)
        number = ctypes.get_errno() if result == -1 else 0
        if os.getpid() != me:  # it was fork or the like
            os._exit(0)
        states[index] = _ABSENT if number == enosys else _HERE


def _watch(child: int, states: mmap.mmap) -> None:
    """Wait until the child ends; kill it where it hangs.

    It does not hang as long as it can run: a busy machine may keep it, or the emulator, from it.
    """
    last, since = b"", time.monotonic()
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.005)
        now = states[:]
        if now != last or _can_run(child):
            last, since = now, time.monotonic()
        elif time.monotonic() - since > _HANGS:
            os.kill(child, signal.SIGCONT)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return


def _can_run(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] == b"R"
