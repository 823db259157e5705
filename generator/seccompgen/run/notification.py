"""User notification as values: a call that waits, and the answers that there are."""

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
"""The same for a program of 32 bits, by a process of 64, as what a process sends: the kernel takes
three words for pid, uid and value, and moves them to where a program of 32 bits has these."""


def as_int(value: int) -> int:
    """Return the low 32 bits of ``value`` as an ``int`` of C."""
    low = value & U32
    return low - (1 << 32) if low >> 31 else low


@dataclass(frozen=True, slots=True)
class Notification:
    """A call that a thread is about to make; ``tid`` is the thread's in the supervisor's view."""

    tid: int
    call: Call


@dataclass(frozen=True, slots=True)
class Proceed:
    """The call is made. Its memory may have changed since: no decision may rest on that."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The call is not made, and fails with ``errno``; 0 looks like success."""

    errno: int


@dataclass(frozen=True, slots=True)
class Trap:
    """The call is not made, and the thread gets SIGSYS with ``data`` (16 bits) in si_errno.

    What the call would have returned is its number, as `syscall_rollback` leaves it.
    """

    data: int

    def siginfo(self, call: Call, code: int, bits: int, receiver: int = 64) -> bytes:
        """Return the ``siginfo_t`` of that SIGSYS; ``code`` is its si_code.

        ``bits`` are those of who sends it, ``receiver`` those of the program that gets it, where
        the kernel translates it as what a process has sent (``code`` is negative).
        """
        layout = _SIGINFO if bits == 64 else _SIGINFO_32
        if receiver < bits:
            layout = _SIGINFO_TO_32
        pointer, nr = call.instruction_pointer, as_int(call.nr)
        return layout.pack(signal.SIGSYS, self.data, code, pointer, nr, call.arch)


@dataclass(frozen=True, slots=True)
class Kill:
    """The call is not made, and the process ends with SIGSYS, whatever it does about signals."""


Answer: TypeAlias = Proceed | Fail | Trap | Kill
Judge: TypeAlias = "Callable[[Notification, Callable[[], bool]], Answer]"
"""Decides. It also gets a function that says whether the thread still waits: what was read from
/proc before that is True was about this thread, and not one that got its number later."""
