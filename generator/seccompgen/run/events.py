"""Events of traced threads: the wait statuses of ptrace(2), by their meaning.

A filter that asks for a tracer, and a thread that goes on by `ptrace.proceed_to_call`, stop at a
call alike: `ptrace.CallReader` says which it is.
"""

from __future__ import annotations

import enum
import os
import signal
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.run import ptrace

if TYPE_CHECKING:
    from collections.abc import Iterator


class EventKind(enum.Enum):
    """The kinds of events, all but ENDED stops."""

    ENDED = enum.auto()
    CALL = enum.auto()
    SIGNAL = enum.auto()
    """A signal is about to be delivered."""
    STARTED = enum.auto()
    """It started a thread or process, whose TID `ptrace.event_message` returns."""
    EXECUTED = enum.auto()
    """It executed a program; `ptrace.event_message` returns the TID that it had before."""
    STOPPED = enum.auto()
    """A signal such as SIGSTOP stopped its process."""
    PAUSED = enum.auto()
    """It has just begun, or `ptrace.interrupt` stopped it, or its process may go on again."""


class Event(NamedTuple):
    """One event; ``number`` is the wait status for ENDED, else the signal of the stop."""

    kind: EventKind
    number: int


_NEW_TASK = frozenset({ptrace.EVENT_FORK, ptrace.EVENT_VFORK, ptrace.EVENT_CLONE})
_STOPPING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""The signals that an EVENT_STOP comes with where a process was stopped."""


@lru_cache(maxsize=1024)
def event_of(status: int) -> Event:
    """Return the event of a wait status."""
    if not os.WIFSTOPPED(status):
        return Event(EventKind.ENDED, status)
    event, number = status >> 16, os.WSTOPSIG(status)
    if event == ptrace.EVENT_SECCOMP or number == ptrace.SYSCALL_STOP:
        kind = EventKind.CALL
    elif event in _NEW_TASK:
        kind = EventKind.STARTED
    elif event == ptrace.EVENT_EXEC:
        kind = EventKind.EXECUTED
    elif event == ptrace.EVENT_STOP:
        kind = EventKind.STOPPED if number in _STOPPING else EventKind.PAUSED
    else:
        kind = EventKind.SIGNAL
    return Event(kind, number)


def happened(flags: int = 0) -> Iterator[tuple[int, Event]]:
    """Wait as `ptrace.wait` does; yield all that has happened, calls last, so that each has a turn.

    The kernel reports those first that come first in its list: if each were let go before the
    next is asked for, the first few of many busy threads would keep the others waiting for ever.
    Of a call that is yielded the thread may be gone; `ptrace.CallReader` finds out. Raises
    ChildProcessError at last, where there is none left.
    """
    calls = []
    tid, status = ptrace.wait(flags)
    while tid:
        event = event_of(status)
        if event.kind is EventKind.CALL:
            calls.append((tid, event))
        else:
            yield tid, event
        tid, status = ptrace.wait(os.WNOHANG)
    yield from calls
