"""Supervise by ptrace, if there can be no listener: below another one, or on an old kernel.

The filter asks by SECCOMP_RET_TRACE, so that only the calls that it refuses stop; if another filter
has a listener, all calls do (`outranking`). Threads and children are followed; all of them die with
the supervisor (PTRACE_O_EXITKILL). Another debugger cannot trace the program meanwhile, and setuid
gives it no privileges.

Sources: ptrace(2), seccomp(2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.core.errors import OutsideError
from seccompgen.core.model import U32, ActionKind
from seccompgen.core.text import printable
from seccompgen.run import ptrace
from seccompgen.run.events import EventKind, happened
from seccompgen.run.launch import failure, is_below_listener, killed_by, let_go
from seccompgen.run.notification import Fail, Kill, Notification, Proceed, Trap
from seccompgen.run.notify_rewrite import asking, asking_about
from seccompgen.run.outranking import Outranking
from seccompgen.run.process import Process, processes_traced_by, require_proc
from seccompgen.run.signals import (
    ENDING,
    as_killed,
    ends,
    hand_on,
    poll,
    stop_with,
    supervised,
)
from seccompgen.run.steps import INSTALLERS
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.core.tables import Table, Tables
    from seccompgen.run.events import Event
    from seccompgen.run.launch import Command, Confinement, Started
    from seccompgen.run.notification import Answer, Judge
    from seccompgen.run.signals import Signals
    from seccompgen.run.startup import Startup

_SYS_SECCOMP = 1
"""si_code of a SIGSYS by a filter."""
_LINGERS = 0.2
_PATIENCE = 1.0
"""Seconds within which a process should have reacted to a signal."""
_ARRIVES = frozenset({EventKind.PAUSED, EventKind.EXECUTED})
_SLOW = (
    "could let refused calls be made: from here on each call is judged before any filter is asked, "
    "which is slow, and clone3 fails with ENOSYS"
)


def supervise(
    command: Command,
    confinement: Confinement,
    judge: Judge,
    tables: Tables,
    report: Callable[[str], None],
    left_behind: Callable[[], None] = lambda: None,
    startup: Startup | None = None,
) -> int:
    """Start the command under the filter, rewritten to ask; return its wait status.

    Returns when the command and all that it started have ended. In other respects it behaves as
    `notify.supervise`, except that processes that are left are killed when this process ends. With
    ``startup``, only calls that it leaves to the policy are judged. ``report`` receives messages
    for the user about a process.

    Raises FilterError if the kernel does not accept the filter, and OutsideError if this ABI's
    registers are unknown, ptrace is forbidden, or there is no /proc of this PID namespace.
    """
    require_proc()
    abi = confinement.table.abi.name
    if abi not in ptrace.ABIS:
        raise OutsideError(
            f"tracing by ptrace knows the registers of {', '.join(sorted(ptrace.ABIS))}, not of "
            f"{abi}: trace by notification, with Linux 5.5 or newer and outside of other listeners"
        )
    siblings = confinement.table.abi.siblings
    several = [
        confinement.table,
        *(tables.tables[name] for name in siblings if name in tables.tables),
    ]
    questions = _asking(confinement, several, INSTALLERS if startup else INSTALLERS[:1])
    above = is_below_listener(confinement.table)
    if above:
        report(f"a listener above this process {_SLOW}")
    with supervised(command, questions) as (started, signals):
        supervisor = _PtraceSupervisor(
            started, several, judge, signals, startup, report, above=above
        )
        return supervisor.run(left_behind)


def _asking(confinement: Confinement, tables: list[Table], names: tuple[str, ...]) -> Confinement:
    """Return the filter, rewritten to ask instead of refusing, and to ask about all ``names``."""
    asks = asking(confinement.instructions, ActionKind.TRACE)
    return replace(confinement, instructions=asking_about(names, tables, asks, ActionKind.TRACE))


class _PtraceSupervisor:
    def __init__(
        self,
        started: Started,
        tables: list[Table],
        judge: Judge,
        signals: Signals,
        startup: Startup | None,
        report: Callable[[str], None],
        *,
        above: bool,
    ) -> None:
        self._started = started
        self._startup = startup
        self._abi = tables[0].abi.name
        self._judge = judge
        self._signals = signals
        self._report = report
        self._reported: set[int] = set()
        self._outranking = Outranking(tables)
        self._above = above
        self._reader = ptrace.CallReader()
        self._status: int | None = None
        self._ended_by: dict[int, int] = {}
        """By PID, the signal to report for a process that SIGKILL may have ended."""
        self._due: float | None = None
        self._traps: dict[int, bytes] = {}
        self._asked_to_end = False

    def run(self, left_behind: Callable[[], None]) -> int:
        try:
            ptrace.seize(self._started.pid)
        except OSError as error:
            if number := killed_by(self._started):
                return number
            raise OutsideError(
                f"ptrace is forbidden here ({error.strerror}): trace by notification, or have the "
                "sandbox around this process permit it"
            ) from None
        if self._startup:
            self._startup.begins(self._started.pid)
        let_go(self._started)
        reported = False
        while self._collect():
            over = self._status is not None
            if over and self._asked_to_end:
                break
            waits = _LINGERS if over and not reported else None
            if self._due is not None:
                waits = max(0, self._due - time.monotonic())
            if poll({self._signals.descriptor: self._on_signals}, waits):
                continue
            if self._due is not None:
                self._due = None
                self._end_the_deaf()
            elif over:
                reported = True
                left_behind()
        if refused := failure(self._started):
            raise refused
        assert self._status is not None
        return as_killed(self._status, self._ended_by.get(self._started.pid, signal.SIGKILL))

    def _on_signals(self, _events: int) -> None:
        for received in self._signals.read():
            if self._status is None:
                hand_on(received, self._started.pid)
                if ends(received):
                    self._due = time.monotonic() + _PATIENCE
            elif ends(received):
                self._asked_to_end = True

    def _end_the_deaf(self) -> None:
        """Kill processes that were sent a fatal signal but wait where only SIGKILL is noticed.

        The kernel turns an unhandled fatal signal into SIGKILL, but not for traced processes.
        """
        for process in processes_traced_by(os.getpid()):
            if process.state in {"t", "T"}:
                continue
            for number in ENDING:
                if process.is_pending(number) and not process.handles(number):
                    self._ended_by[process.pid] = number
                    process.send(signal.SIGKILL)

    def _collect(self) -> bool:
        """Handle all threads that have stopped or ended; return False if none is left."""
        try:
            for tid, event in happened(os.WNOHANG):
                # If the thread is killed meanwhile, `wait` will report its end.
                with contextlib.suppress(ProcessLookupError):
                    if event.kind is EventKind.ENDED:
                        self._on_end(tid, event.number)
                    elif event.kind is EventKind.CALL:
                        self._on_call(tid)
                    else:
                        self._on_stop(tid, event)
        except ChildProcessError:
            return False
        return True

    def _on_end(self, tid: int, status: int) -> None:
        if tid == self._started.pid:
            self._status = status
        self._outranking.ends(tid)
        for orphan in self._startup.ends(tid) if self._startup else ():
            self._outranking.proceed(orphan)

    def _on_call(self, tid: int) -> None:
        call = self._reader.read(tid)
        if not call or call[0] == ptrace.OP_NONE:
            return
        op, arch, nr, a, b, c, d, e, f = call
        if op == ptrace.OP_EXIT:
            ptrace.proceed_to_call(tid)  # the exit of the skipped call, which it repeats now
            return
        pointer = self._reader.instruction_pointer()
        asked = Notification(tid, Call(nr & U32, arch, (a, b, c, d, e, f), pointer))
        skipped = self._outranking.is_skipped(op, tid)
        if skipped or not self._outranking.was_judged(asked):
            answer = self._answer(asked, skipped=skipped)
            self._reply(asked, answer)
            if skipped and isinstance(answer, Proceed):
                self._outranking.repeat(asked, nr)
                return
        self._outranking.proceed(tid)

    def _answer(self, asked: Notification, *, skipped: bool) -> Answer:
        answer = self._startup.answer(asked) if self._startup else None
        answer = answer or self._judge(asked, lambda: True)
        if answer == Proceed():
            if skipped and self._outranking.evades(asked.call):
                return Fail(errno.ENOSYS)
            if self._outranking.brings_listener(asked):
                if not self._outranking.begin(asked):
                    return Fail(errno.EBUSY)
                self._report_slow(Process(asked.tid))
        return answer

    def _report_slow(self, process: Process) -> None:
        if process.pid not in self._reported:
            self._reported.add(process.pid)
            who = f"{printable(process.name)}[{process.pid}]"
            self._report(f"{who} installs a filter with a listener, which {_SLOW}")

    def _on_stop(self, tid: int, event: Event) -> None:
        if event.kind is EventKind.EXECUTED and self._above:
            self._outranking.begin_all()  # not before: until now the calls were our launcher's
        if event.kind in _ARRIVES:
            self._outranking.arrives(tid)
        if self._startup and not self._startup.arrives(tid):
            return  # its parent has not reported it yet
        if event.kind is EventKind.STOPPED:
            ptrace.listen(tid)
            if ptrace.reports_stops(tid, self._started.pid):
                stop_with(self._started.pid, event.number, lambda: not ptrace.listens(tid))
            return
        number = 0
        if event.kind is EventKind.SIGNAL:
            number = event.number
            trap = self._traps.pop(tid, None) if number == signal.SIGSYS else None
            if trap:
                ptrace.set_siginfo(tid, trap)
        elif self._startup:
            self._note(self._startup, tid, event.kind)
        self._outranking.proceed(tid, number)

    def _note(self, startup: Startup, tid: int, kind: EventKind) -> None:
        """Note who started whom, and the new TID of a thread that executed a program."""
        if kind is EventKind.STARTED:
            child = ptrace.event_message(tid)
            if startup.bears(tid, child):
                self._outranking.proceed(child)
        elif kind is EventKind.EXECUTED:
            startup.executes(tid, ptrace.event_message(tid))

    def _reply(self, asked: Notification, answer: Answer) -> None:
        process = Process(asked.tid)
        call = asked.call
        match answer:
            case Proceed():
                pass
            case Fail(number):
                ptrace.skip_call(asked.tid, self._abi, -number)
            case Trap() if not process.defies(signal.SIGSYS):
                ptrace.skip_call(asked.tid, self._abi, call.nr)
                self._traps[asked.tid] = answer.siginfo(call, _SYS_SECCOMP, bits=64)
                process.send(signal.SIGSYS)
            case Trap() | Kill():
                ptrace.skip_call(asked.tid, self._abi, -errno.ENOSYS)
                self._ended_by[process.pid] = signal.SIGSYS
                process.end_by_sigsys()
