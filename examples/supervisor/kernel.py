"""Calls of the kernel that Python has no function for, and the numbers of those that are asked."""

from __future__ import annotations

import ctypes
import os
import struct

OPENAT2, PIDFD_OPEN, PIDFD_GETFD = 437, 434, 438  # on every ABI
PIDFD_THREAD = os.O_EXCL  # 6.9
NO_MAGIC, NO_SYMLINKS, BENEATH = 2, 4, 8  # RESOLVE_*
AT_FDCWD = -100

_NUMBERS = {
    # "_" for a call that the ABI lacks.
    0xC000003E: "2 257 437 85 83 258 133 259 84 87 263 82 264 316 86 265 88 266 90 91 268 452 42",
    0xC00000B7: "_ 56 437 _ _ 34 _ 33 _ _ 35 _ 38 276 _ 37 _ 36 _ 52 53 452 203",
}
_NAMES = (
    "open openat openat2 creat mkdir mkdirat mknod mknodat rmdir unlink unlinkat rename renameat "
    "renameat2 link linkat symlink symlinkat chmod fchmod fchmodat fchmodat2 connect"
)
NAMES = {
    (arch, int(number)): name
    for arch, numbers in _NUMBERS.items()
    for number, name in zip(numbers.split(), _NAMES.split(), strict=True)
    if number != "_"
}
"""The names of the calls that supervised.yml asks about, by architecture and number."""

_libc = ctypes.CDLL(None, use_errno=True)


def _made(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def openat2(directory: int, path: bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """Open a path from a directory; an absolute one from the root."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    word = ctypes.c_long
    return _made(_libc.syscall(word(OPENAT2), word(directory), path, how, word(len(how))))


def fetched(tid: int, descriptor: int) -> int:
    """Return a duplicate of a thread's descriptor."""
    try:
        task = os.pidfd_open(tid, PIDFD_THREAD)
    except OSError:  # before 6.9 there are only those of whole processes, which share theirs
        task = os.pidfd_open(_field(tid, "Tgid"))
    try:
        return _made(_libc.syscall(*map(ctypes.c_long, (PIDFD_GETFD, task, descriptor, 0))))
    finally:
        os.close(task)


def umask(tid: int) -> int:
    """Return what a thread takes away from the modes of the files that it makes."""
    return _field(tid, "Umask", 8)


def connect(descriptor: int, address: bytes) -> None:
    """Connect a socket to an address of any family, as the kernel writes it."""
    _made(_libc.connect(descriptor, address, len(address)))


def _field(tid: int, name: str, base: int = 10) -> int:
    with open(f"/proc/{tid}/status", encoding="utf-8") as lines:  # noqa: PTH123 - a path of /proc
        return next(int(line.split()[1], base) for line in lines if line.startswith(name + ":"))
