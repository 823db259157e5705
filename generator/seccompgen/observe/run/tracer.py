"""Supervise by ptrace: for where there can be no listener, since one is above or the kernel is old.

The filter asks by SECCOMP_RET_TRACE, so that only the calls in question stop, not all. Threads
and children are followed; all of them die with the supervisor (PTRACE_O_EXITKILL). A program that
is traced in this way cannot be debugged by another, nor gain by setuid.

Sources: ptrace(2), seccomp(2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from typing import TYPE_CHECKING

from seccompgen.core.errors import OutsideError
from seccompgen.core.model import U32
from seccompgen.observe.run import ptrace
from seccompgen.observe.run.events import EventKind, happened
from seccompgen.observe.run.launch import failure, killed_by, let_go
from seccompgen.observe.run.notification import Fail, Kill, Notification, Proceed, Trap
from seccompgen.observe.run.process import Process, require_proc
from seccompgen.observe.run.signals import (
    as_killed,
    ends,
    hand_on,
    poll,
    stop_with,
    supervised,
)
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.observe.run.events import Event
    from seccompgen.observe.run.launch import Command, Confinement, Started
    from seccompgen.observe.run.notification import Answer, Judge
    from seccompgen.observe.run.signals import Signals
    from seccompgen.observe.run.startup import Startup

_SYS_SECCOMP = 1
"""si_code of a SIGSYS by a filter."""
_LINGERS = 0.2


def supervise(
    command: Command,
    confinement: Confinement,
    judge: Judge,
    left_behind: Callable[[], None] = lambda: None,
    startup: Startup | None = None,
) -> int:
    """Start the command under a filter that asks, answer for it; return its wait status.

    Returns when the command and all that it started have ended; otherwise as
    `notify.supervise`, but that whatever is left is killed when this process ends. With
    ``startup`` only what that leaves to the policy is judged.

    Raises FilterError if the kernel does not take the filter, and OutsideError where this ABI's
    registers are unknown here, ptrace is forbidden, or there is no /proc of this PID namespace.
    """
    require_proc()
    abi = confinement.table.abi.name
    if abi not in ptrace.ABIS:
        raise OutsideError(
            f"tracing by ptrace knows the registers of {', '.join(sorted(ptrace.ABIS))}, not of "
            f"{abi}: trace by notification, with Linux 5.5 or newer and outside of other listeners"
        )
    with supervised(command, confinement) as (started, signals):
        return _Supervisor(started, abi, judge, signals, startup).run(left_behind)


class _Supervisor:
    def __init__(
        self, started: Started, abi: str, judge: Judge, signals: Signals, startup: Startup | None
    ) -> None:
        self._started = started
        self._startup = startup
        self._abi = abi
        self._judge = judge
        self._signals = signals
        self._reader = ptrace.CallReader()
        self._status: int | None = None
        self._killed: set[int] = set()
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
        told = False
        while self._collect():
            over = self._status is not None
            if over and self._asked_to_end:
                break
            if not poll(
                {self._signals.descriptor: self._on_signals},
                _LINGERS if over and not told else None,
            ):
                told = True
                left_behind()
        if refused := failure(self._started):
            raise refused
        assert self._status is not None
        killed = self._started.pid in self._killed
        return as_killed(self._status) if killed else self._status

    def _on_signals(self, _events: int) -> None:
        for came in self._signals.read():
            if self._status is None:
                hand_on(came, self._started.pid)
            elif ends(came):
                self._asked_to_end = True

    def _collect(self) -> bool:
        """See to everything that has stopped or ended; return False if nobody is left."""
        try:
            for tid, event in happened(os.WNOHANG):
                # If it is killed meanwhile, its end is still to come.
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
        for orphan in self._startup.ends(tid) if self._startup else ():
            ptrace.proceed(orphan)

    def _on_call(self, tid: int) -> None:
        call = self._reader.read(tid)
        if not call or call[0] == ptrace.OP_NONE:
            return
        _, arch, nr, a, b, c, d, e, f = call
        pointer = self._reader.instruction_pointer()
        asked = Notification(tid, Call(nr & U32, arch, (a, b, c, d, e, f), pointer))
        answer = self._startup.answer(asked) if self._startup else None
        self._reply(asked, answer or self._judge(asked, lambda: True))
        ptrace.proceed(tid)

    def _on_stop(self, tid: int, event: Event) -> None:
        if self._startup and not self._startup.arrives(tid):
            return  # its parent is still to tell of it
        if event.kind is EventKind.STOPPED:
            ptrace.listen(tid)
            if ptrace.tells_of_stops(tid, self._started.pid):
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
        ptrace.proceed(tid, number)

    def _note(self, startup: Startup, tid: int, kind: EventKind) -> None:
        """Note who started whom, and what the number of a thread is that executed a program."""
        if kind is EventKind.STARTED:
            child = ptrace.event_message(tid)
            if startup.bears(tid, child):
                ptrace.proceed(child)
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
                self._killed.add(process.pid)
                process.end_by_sigsys()
