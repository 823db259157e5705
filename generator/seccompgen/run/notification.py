"""User notification as values: a call that waits, and its possible answers."""

from __future__ import annotations

import signal
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.verify.call import Call

_SIGINFO = struct.Struct("=iii4xQiI96x")
_SIGINFO_32 = struct.Struct("=iiiIiI104x")
"""signo, errno, code, then call_addr, syscall, arch; 128 bytes (include/uapi/asm-generic)."""
_SIGINFO_TO_32 = struct.Struct("=iii4xIiI100x")
"""The same, sent by a 64-bit process to a 32-bit program: the kernel takes three words for pid,
uid and value, and moves them to their places in the 32-bit layout."""


def as_int(value: int) -> int:
    """Return the low 32 bits of ``value`` as a C ``int``."""
    low = value & U32
    return low - (1 << 32) if low >> 31 else low


@dataclass(frozen=True, slots=True)
class Notification:
    """A call that a thread is about to make; ``tid`` is its TID as the supervisor sees it."""

    tid: int
    call: Call


@dataclass(frozen=True, slots=True)
class Proceed:
    """Let the call proceed.

    The caller may change memory after the supervisor read it, so do not base a decision on what
    pointers point to.
    """


@dataclass(frozen=True, slots=True)
class Fail:
    """Do not make the call; it fails with ``errno``, or seems to succeed if that is 0."""

    errno: int


@dataclass(frozen=True, slots=True)
class Trap:
    """Do not make the call; the thread gets SIGSYS with ``data`` (16 bits) in si_errno.

    The call's result register holds its number, as `syscall_rollback` leaves it.
    """

    data: int

    def siginfo(self, call: Call, code: int, bits: int, receiver: int = 64) -> bytes:
        """Return the ``siginfo_t`` of the SIGSYS; ``code`` is its si_code.

        ``bits`` is the width of the sender. ``receiver`` is the width of the program that receives
        it: for a negative ``code``, the kernel translates the structure to that width.
        """
        layout = _SIGINFO if bits == 64 else _SIGINFO_32
        if receiver < bits:
            layout = _SIGINFO_TO_32
        pointer, nr = call.instruction_pointer, as_int(call.nr)
        return layout.pack(signal.SIGSYS, self.data, code, pointer, nr, call.arch)


@dataclass(frozen=True, slots=True)
class Kill:
    """Do not make the call; end the process with SIGSYS, even if it catches or ignores that."""


Answer: TypeAlias = Proceed | Fail | Trap | Kill
Judge: TypeAlias = "Callable[[Notification, Callable[[], bool]], Answer]"
"""A function that answers a notification. Its second argument returns True while the thread still
waits: what was read from /proc until then was this thread's, not a later one's with its TID."""
