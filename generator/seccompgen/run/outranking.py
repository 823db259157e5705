"""Threads that a listener could let past the tracer: judge their calls before any filter does.

SECCOMP_RET_USER_NOTIF outranks our filter's SECCOMP_RET_TRACE, so the listener of another filter
could continue a refused call (SECCOMP_USER_NOTIF_FLAG_CONTINUE), unreported. So a thread under such
a filter stops at each call before the filters run, and the call is skipped (PTRACE_SYSEMU). If the
call may be made, the thread repeats the instruction; then the filters answer it.

A thread may come to its first stop before its parent reports it. Its number of filters shows
whether it has one besides ours. Sources: ptrace(2), seccomp(2), kernel/entry/common.c.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from seccompgen.core.model import U32
from seccompgen.core.settings import FilterFlag
from seccompgen.run import ptrace
from seccompgen.run.process import Process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.tables import Table
    from seccompgen.run.notification import Notification
    from seccompgen.verify.call import Call

_SET_MODE_FILTER = 1
_TSYNC = FilterFlag.TSYNC.value


class Outranking:
    """The threads whose calls are judged before filters run, and the last judged call of each.

    ``tables`` are those of all ABIs that a thread can use, the tracer's own first.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        self._abi = tables[0].abi.name
        self._names = {
            (table.abi.audit_arch, table.numbers[name]): name
            for table in tables
            for name in ("seccomp", "clone", "clone3")
            if name in table.numbers
        }
        self._least = (_filters(os.getpid()) or 0) + 2
        """The number of filters from which on a thread has others besides ours."""
        self._active = False
        self._tids: set[int] = set()
        self._judged: dict[int, Call] = {}
        self._repeating: set[int] = set()

    def brings_listener(self, asked: Notification) -> bool:
        """Return True if a call puts threads under a listener: a new one or, by TSYNC, its own."""
        call = asked.call
        flags = _TSYNC if asked.tid in self._tids else 0
        return (
            self._names.get((call.arch, call.nr)) == "seccomp"
            and call.args[0] & U32 == _SET_MODE_FILTER
            and bool(call.args[1] & (flags | FilterFlag.NEW_LISTENER.value))
        )

    def begin(self, asked: Notification) -> bool:
        """Judge a thread's calls before filters from now on: its call ``asked`` brings a listener.

        With TSYNC this applies to all threads of the process. On return the others have stopped, or
        wait in a call that began before. Returns False if one of them is not traced, so that its
        calls could not be judged.
        """
        self._active = True
        self._tids.add(asked.tid)
        known = {asked.tid}
        if not asked.call.args[1] & _TSYNC:
            return True
        # A thread that still runs may have started another.
        while new := {*Process(asked.tid).tids} - known:
            known |= new
            for tid in new:
                if Process(tid).status.get("TracerPid", "0") == "0":
                    return False
                self._tids.add(tid)
                ptrace.interrupt(tid)
            while any(Process(tid).state == "R" for tid in new):
                os.sched_yield()
        return True

    def begin_all(self) -> None:
        """Judge all calls, before filters, of all threads that arrive from now on."""
        self._active, self._least = True, 0

    def arrives(self, tid: int) -> None:
        """Take in a thread that has just begun, or executed a program."""
        if self._active:
            count = _filters(tid)
            if count is None or count >= self._least:
                self._tids.add(tid)

    def ends(self, tid: int) -> None:
        """Forget a thread."""
        self._tids.discard(tid)
        self._judged.pop(tid, None)
        self._repeating.discard(tid)

    def is_skipped(self, op: int, tid: int) -> bool:
        """Return True if a thread has stopped at a call that the kernel skips (PTRACE_SYSEMU)."""
        return op == ptrace.OP_ENTRY and tid not in self._repeating

    def was_judged(self, asked: Notification) -> bool:
        """Return True if a call is the one that was judged last and that its thread repeats."""
        return self._judged.get(asked.tid) == asked.call

    def evades(self, call: Call) -> bool:
        """Return True if a call could start an untraced thread.

        This is so for every clone3: its flags are in memory, which another thread can change at any
        time.
        """
        name = self._names.get((call.arch, call.nr))
        return name == "clone3" or (name == "clone" and bool(call.args[0] & ptrace.CLONE_UNTRACED))

    def repeat(self, asked: Notification, nr: int) -> None:
        """Have a thread make the call that it skipped."""
        self._judged[asked.tid] = asked.call
        ptrace.repeat_call(asked.tid, self._abi, nr, asked.call.instruction_pointer)
        ptrace.proceed_to_call(asked.tid)  # it also stops at the end of the skipped call
        self._repeating.add(asked.tid)

    def proceed(self, tid: int, number: int = 0) -> None:
        """Let a stopped thread go on, with a signal if ``number`` is not 0."""
        self._repeating.discard(tid)
        if tid in self._tids:
            ptrace.proceed_to_skipped_call(tid, number)
        else:
            ptrace.proceed(tid, number)


def _filters(tid: int) -> int | None:
    """Return the number of a thread's filters; None before Linux 5.9, which does not report it."""
    count = Process(tid).status.get("Seccomp_filters")
    return None if count is None else int(count)
