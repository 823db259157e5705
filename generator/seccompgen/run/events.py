"""Events of traced threads: ptrace(2)'s wait statuses, classified.

A stop at a call looks the same whether a filter asked for the tracer or the thread was resumed by
`ptrace.proceed_to_call`; `ptrace.CallReader` tells them apart.
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
    """The kinds of events; all except ENDED are stops."""

    ENDED = enum.auto()
    CALL = enum.auto()
    SIGNAL = enum.auto()
    """A signal is about to be delivered."""
    STARTED = enum.auto()
    """The thread started another thread or a process; `ptrace.event_message` returns its TID."""
    EXECUTED = enum.auto()
    """The thread executed a program; `ptrace.event_message` returns the TID it had before."""
    STOPPED = enum.auto()
    """A signal such as SIGSTOP stopped its process."""
    PAUSED = enum.auto()
    """The thread just began, or `ptrace.interrupt` stopped it, or its process was continued."""


class Event(NamedTuple):
    """One event; ``number`` is the wait status for ENDED, else the signal of the stop."""

    kind: EventKind
    number: int


_NEW_TASK = frozenset({ptrace.EVENT_FORK, ptrace.EVENT_VFORK, ptrace.EVENT_CLONE})
_STOPPING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""The signals that come with an EVENT_STOP if the process was stopped."""


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
    """Wait as `ptrace.wait` does; yield all events so far, calls last, so that each has a turn.

    The kernel reports threads in the order of its list. If each were resumed before the next is
    asked for, the first few of many busy threads would keep the others waiting for ever. The thread
    of a yielded call may be gone; `ptrace.CallReader` finds out. Raises ChildProcessError when no
    thread is left.
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
