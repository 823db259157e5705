"""Notice, inside a confined child, what the kernel does: threads that end, and SIGSYS.

As `running_kernel`, it uses neither the compiler nor the runtime.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import signal
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from running_kernel import check, libc

if TYPE_CHECKING:
    from collections.abc import Callable


def survives_in_thread(call: Callable[[], object]) -> bool:
    """Make ``call`` in a thread of its own; return False if the kernel killed that thread alone.

    Where it kills the whole process this never returns.
    """
    returned = threading.Event()

    def body() -> None:
        call()
        returned.set()

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    task = Path(f"/proc/self/task/{thread.native_id}")
    while task.exists() and not returned.is_set():
        time.sleep(0.0005)
    return returned.is_set()


class Notes:
    """Up to 4 KiB of bytes that a child leaves for its parent without making a system call."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4096)

    def leave(self, text: bytes) -> None:
        """Write ``text`` (in the child)."""
        self._memory[: len(text)] = text

    def read(self) -> bytes:
        """Return what was left (in the parent)."""
        return self._memory[:].rstrip(b"\0")


@dataclass(frozen=True, slots=True)
class Sigsys:
    """The siginfo of a SIGSYS: ``data`` is si_errno (the action's data), ``code`` 1 for seccomp."""

    data: int
    code: int
    nr: int
    arch: int


class _SigAction(ctypes.Structure):
    """``struct sigaction`` of glibc and musl on x86_64."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_SA_SIGINFO = 4
_kept: list[object] = []


def catch_sigsys() -> list[Sigsys]:
    """Handle SIGSYS from here on; return the list that each signal is appended to.

    A handler of Python's own (`signal.signal`) is not told siginfo.
    """
    caught: list[Sigsys] = []

    def handler(_signal: int, info: int, _context: int) -> None:
        _, data, code, _, _, nr, arch = struct.unpack("=iiiiQiI", ctypes.string_at(info, 32))
        caught.append(Sigsys(data, code, nr, arch))

    function = _Handler(handler)
    _kept.append(function)
    action = _SigAction(ctypes.cast(function, ctypes.c_void_p), flags=_SA_SIGINFO)
    check(libc.sigaction(int(signal.SIGSYS), ctypes.byref(action), None), errno.EINVAL)
    return caught
