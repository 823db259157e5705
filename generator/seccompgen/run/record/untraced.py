"""Remove CLONE_UNTRACED from calls that start a process or thread, and restore it afterwards.

With the flag, the kernel starts the task without its parent's tracer. But the task inherits the
filter that asks for a tracer, so all of its calls would fail with ENOSYS. Sources: clone(2),
seccomp(2).
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.run import ptrace
from seccompgen.run.patience import patiently
from seccompgen.run.process import Process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.abis import Abi

_FLAGS = struct.Struct("=Q")
"""The first field of ``struct clone_args``."""


@dataclass(frozen=True, slots=True)
class CloneChange:
    """A change to a call's ``flags``: of `clone3`, at ``address``, or of `clone` if that is 0."""

    abi: Abi
    flags: int
    address: int = 0

    def make(self, tid: int) -> None:
        """Remove the flag from the call that a stopped thread is about to make."""
        self._put(tid, self.flags & ~ptrace.CLONE_UNTRACED)

    def undo(self, tid: int) -> None:
        """Restore a stopped thread's flags, since a call does not change its arguments."""
        self._put(tid, self.flags)

    def _put(self, tid: int, flags: int) -> None:
        if not self.address:
            ptrace.set_first_argument(tid, self.abi, flags)
            return
        patiently(lambda: _write(tid, self.address, _FLAGS.pack(flags)))


def _write(tid: int, address: int, data: bytes) -> None:
    with open(f"/proc/{tid}/mem", "r+b", buffering=0) as memory:  # noqa: PTH123 - no path
        os.pwrite(memory.fileno(), data, address)


def change(tid: int, name: str, abi: Abi, args: Sequence[int]) -> CloneChange | None:
    """Return the change to make to a thread's ``clone`` or ``clone3``; None if it lacks the flag.

    Raises OSError if the thread's memory cannot be read.
    """
    if name == "clone":
        found = CloneChange(abi, args[0])
    else:
        data = Process(tid).memory(args[0], _FLAGS.size)
        if data is None:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        found = CloneChange(abi, _FLAGS.unpack(data)[0], args[0])
    return found if found.flags & ptrace.CLONE_UNTRACED else None
