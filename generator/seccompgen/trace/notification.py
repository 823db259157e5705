"""What a supervisor asks, and what it may be told: a call that waits, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.verify.call import Call


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
    """The call is not made, and the thread gets SIGSYS with ``data`` (16 bits) in si_errno."""

    data: int


@dataclass(frozen=True, slots=True)
class Kill:
    """The call is not made, and the process ends with SIGSYS, whatever it does about signals."""


Answer: TypeAlias = Proceed | Fail | Trap | Kill
Judge: TypeAlias = "Callable[[Notification, Callable[[], bool]], Answer]"
"""Decides. It also gets a function that says whether the thread still waits: what was read from
/proc before that is True was about this thread, and not one that got its number later."""
