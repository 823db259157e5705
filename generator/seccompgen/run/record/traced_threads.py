"""The traced threads and their processes, from the first stop of each to its end.

A thread may come to its first stop before its parent reports it. It is held until then, or until
some thread ends, since a killed parent reports nothing. Nor does a process that is killed report
that it executed a program, so the end of its first thread is the end of them all.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.run.process import Process, may_report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.run.record.ring_reader import RingCall
    from seccompgen.run.record.seen import SeenCalls, TracedProcess
    from seccompgen.run.record.untraced import CloneChange


@dataclass(slots=True)
class Thread:
    """A thread of ``process``.

    If it ``leads``, it is the first one. ``waits_in`` are number and arguments of the call that it
    waited in when it was attached to.
    ``change`` is a change to the arguments of its current call, if there is one; ``ring_call`` is
    that call if it is about a ring.
    """

    tid: int
    process: TracedProcess
    leads: bool
    waits_in: tuple[int, ...] = ()
    change: CloneChange | None = None
    ring_call: RingCall | None = None

    def undo(self) -> None:
        """Restore the arguments of the call; the thread must be stopped."""
        change, self.change = self.change, None
        if change:
            with contextlib.suppress(OSError):  # killed meanwhile
                change.undo(self.tid)


class _Birth(NamedTuple):
    """A thread that was reported before its first stop: its parent, and the change to its call."""

    parent: TracedProcess
    change: CloneChange | None


class Threads:
    """All traced threads, by TID.

    With ``filtered``, threads that nobody reported are treated as if their processes had filters of
    their own.
    """

    def __init__(self, seen: SeenCalls, *, filtered: bool = False) -> None:
        self._seen = seen
        self._filtered = filtered
        self._threads: dict[int, Thread] = {}
        self._born: dict[int, _Birth] = {}
        self._held: set[int] = set()
        self._ended: TracedProcess | None = None
        """The last process that ended; it counts as the parent of one that nobody can report."""

    def __len__(self) -> int:
        """Return the number of threads, including those reported before their first stop."""
        return len(self._threads) + len(self._born)

    @property
    def tids(self) -> list[int]:
        """The TIDs of threads that came to their first stop."""
        return list(self._threads)

    @property
    def processes(self) -> int:
        """The number of processes; each thread that is yet to stop counts as one."""
        return len({id(thread.process) for thread in self._threads.values()}) + len(self._born)

    def get(self, tid: int) -> Thread | None:
        """Return a thread if it came to its first stop, else None."""
        return self._threads.get(tid)

    def of(self, process: TracedProcess) -> Iterator[int]:
        """Yield the TIDs of a process's threads."""
        return (tid for tid, thread in self._threads.items() if thread.process is process)

    def add(self, tid: int, process: TracedProcess, waits_in: tuple[int, ...] = ()) -> None:
        """Add a thread of a known process."""
        process.threads += 1
        self._threads[tid] = Thread(tid, process, Process(tid).pid == tid, waits_in)

    def arrives(self, tid: int) -> Thread | None:
        """Add a thread at its first stop; return None if it is held until its parent reports it."""
        birth = self._born.pop(tid, None)
        if birth is None and may_report(self._threads, tid):
            self._held.add(tid)
            return None
        return self._take_in(tid, birth or _Birth(self._ended or self._unknown(), None))

    def bears(self, parent: Thread, tid: int) -> Thread | None:
        """Note that ``parent`` started ``tid``; return the new thread if it was held until now."""
        birth = _Birth(parent.process, parent.change)
        if tid not in self._held:
            self._born[tid] = birth
            return None
        self._held.discard(tid)
        return self._take_in(tid, birth)

    def ends(self, tid: int) -> Thread | None:
        """Remove a thread that has ended; return it if it had come to its first stop."""
        thread = self._threads.get(tid)
        if thread and thread.leads:
            for other in {*self.of(thread.process)} - {tid}:
                self.remove(other)
        return self.remove(tid)

    def executes(self, thread: Thread, former: int) -> None:
        """Note that a thread executed a program, which ends all others of its process.

        Its TID was ``former``, and is its process's PID now.
        """
        if former != thread.tid and self._threads.pop(former, None) is not None:
            thread.process.threads -= 1

    def remove(self, tid: int) -> Thread | None:
        """Remove a thread that is no longer traced; return it if it had come to its first stop."""
        self._born.pop(tid, None)
        self._held.discard(tid)
        thread = self._threads.pop(tid, None)
        if thread:
            thread.process.threads -= 1
            if not thread.process.threads:
                self._seen.ended(thread.process)
                self._ended = thread.process
        return thread

    def orphans(self, ended: Thread | None) -> list[Thread]:
        """Return the threads that were held when a thread ended, which counts as their parent."""
        if not self._held:
            return []
        held, self._held = self._held, set()
        parent = ended.process if ended else self._unknown()
        return [self._take_in(tid, _Birth(parent, None)) for tid in held]

    def _unknown(self) -> TracedProcess:
        return self._seen.new_process(None, filtered=self._filtered)

    def _take_in(self, tid: int, birth: _Birth) -> Thread:
        leader = self._threads.get(Process(tid).pid)
        if leader and leader.process is birth.parent:
            process = birth.parent
            self._seen.threads = True
        else:
            process = self._seen.new_process(birth.parent)
            self._seen.processes = True
        process.threads += 1
        leads = process is not birth.parent
        thread = self._threads[tid] = Thread(tid, process, leads, change=birth.change)
        return thread
