"""Run a command and see every system call that it and what it starts make.

The command is started under a filter that answers SECCOMP_RET_TRACE, which all its processes and
threads inherit: each call is one stop. A process that installs a filter of its own is stopped at
the entry of calls as well, for what that filter refuses does not come as far as ours. Nothing that
is traced outlives the tracer (PTRACE_O_EXITKILL).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seccompgen.core.errors import OutsideError, SeccompgenError
from seccompgen.core.model import U32, FilterFlag, Settings
from seccompgen.io.console import say
from seccompgen.observe.record.observations import End, Number, abi_of
from seccompgen.observe.record.seen import Seen
from seccompgen.observe.record.untraced import change
from seccompgen.observe.run import ptrace
from seccompgen.observe.run.launch import Confinement, close, end, failure, let_go, start
from seccompgen.observe.run.process import Process, require_proc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seccompgen.core.program import Instruction
    from seccompgen.core.tables import Table
    from seccompgen.observe.record.observations import Recording
    from seccompgen.observe.record.seen import Traced, Watch
    from seccompgen.observe.record.untraced import Change
    from seccompgen.observe.run.launch import Command

_CAP_SYS_ADMIN = 21
_LONGEST_WAIT = 0.25
"""Seconds."""
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_JOB_CONTROL = ptrace.STOPPING - {signal.SIGSTOP}
_NEW_TASK = (ptrace.EVENT_FORK, ptrace.EVENT_VFORK, ptrace.EVENT_CLONE)


class Interrupted(Exception):  # noqa: N818 - it is no error: the user asked for it
    """The user asked twice to stop: all that was traced is killed, and nothing is recorded."""


def trace(
    command: Command, watch: Watch, table: Table, program: tuple[Instruction, ...]
) -> Recording:
    """Run ``command`` to the end of all that it starts; return what was seen.

    ``program`` answers SECCOMP_RET_TRACE to all calls that shall be seen, SECCOMP_RET_ALLOW to the
    others; ``table`` is that of this process's ABI. The command has the caller's terminal,
    directory and process group. Raises OutsideError where it cannot be traced, NotStartedError
    where it did not begin, Interrupted where the user gave it up.
    """
    require_proc()
    settings = Settings(FilterFlag.SPEC_ALLOW, no_new_privs=not _may_filter())
    started = start(command, Confinement("record", table, program, settings), held=True)
    tracer = Tracer(Seen(watch), started.pid)
    tracer.add(started.pid, tracer.seen.new_process(None))
    try:
        try:
            ptrace.seize(started.pid)
        except OSError as error:
            raise OutsideError(not_traceable(error)) from None
        with tracer.own_signals():
            let_go(started)
            tracer.run()
    except BaseException:
        end(started)
        raise
    refused = failure(started)
    close(started)
    if not tracer.started:
        raise refused or NotStartedError(tracer.end.exit_code)
    if not watch.after_marker:
        tracer.seen.add(Number(table.abi.audit_arch, table.numbers["execve"]))
    return tracer.recording()


class NotStartedError(SeccompgenError):
    """The command could not be executed, as its launcher has said; exits as env(1) would."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


def _may_filter() -> bool:
    """Return True if the kernel takes a filter from here without no_new_privs: CAP_SYS_ADMIN."""
    capabilities = int(Process(os.getpid()).status.get("CapEff", "0"), 16)
    return bool(capabilities >> _CAP_SYS_ADMIN & 1)


def not_traceable(failure: OSError) -> str:
    """Say why a process cannot be traced."""
    if failure.errno == errno.EPERM:
        return (
            "ptrace is not permitted: something traces this process already (strace, a debugger, "
            "record itself), a sandbox forbids it, or kernel.yama.ptrace_scope is above 1"
        )
    return f"ptrace failed: {failure.strerror}"


@dataclass
class Tracer:
    """Tasks that are traced, and what is done at each event.

    ``main`` is the command. With ``attached`` there is none: processes that ran already are traced,
    stop at the entry of each call, and are let go where this is to end.
    """

    seen: Seen
    main: int = 0
    started: bool = False
    attached: bool = False
    end: End = field(default_factory=End)
    _tasks: dict[int, Traced] = field(default_factory=dict)
    _born: dict[int, Traced] = field(default_factory=dict)
    _held: set[int] = field(default_factory=set)
    _waits_in: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _leaving: bool = False
    _changed: dict[int, Change] = field(default_factory=dict)
    _unprivileged: dict[str, None] = field(default_factory=dict)
    _main_ended: bool = False
    _asked: set[bool] = field(default_factory=set)
    _fate: int = 0  # the signal that all that is left gets, and what it still starts

    def recording(self) -> Recording:
        """Return what was seen."""
        return self.seen.recording(self.end, self._unprivileged)

    def add(self, tid: int, process: Traced, waits_in: tuple[int, ...] = ()) -> None:
        """Take in a task that is traced, which may wait in a call: its number and arguments."""
        process.threads += 1
        self._tasks[tid] = process
        if waits_in:
            self._waits_in[tid] = waits_in

    def leave(self) -> None:
        """Let everything go, as soon as it has stopped."""
        self._leaving = True
        for tid in self._tasks:
            ptrace.interrupt(tid)

    def run(self) -> None:
        """Handle events until nothing is left that could cause one."""
        read = ptrace.CallReader().read
        while True:
            try:
                for tid, status in ptrace.happened():
                    self._handle(tid, status, read)
            except ChildProcessError:
                break
        if self._fate == signal.SIGKILL:
            raise Interrupted

    def _handle(self, tid: int, status: int, read: Callable[[int], tuple[int, ...]]) -> None:
        """Handle what `ptrace.happened` told of a task; let it go on if it has stopped."""
        if status & 0xFF != 0x7F:
            self._ended(tid, status)
            return
        process = self._tasks.get(tid)
        event, number = status >> 16, status >> 8 & 0xFF
        at_call = event == ptrace.EVENT_SECCOMP or number == ptrace.SYSCALL_STOP
        if process is None:
            if at_call or not self._arrived(tid):
                return  # it has ended since, or its parent has to tell of it
            process = self._tasks[tid]
        if at_call:
            call = read(tid)
            if not call or call[0] == ptrace.OP_NONE:
                return
            counts = self.started and call[0] in (ptrace.OP_ENTRY, ptrace.OP_SECCOMP)
            if self._changed:
                self._changed.pop(tid, None)  # the call before this one started nothing
            name = self.seen.called(tid, process, call) if counts else None
            if name in {"clone", "clone3"}:
                self._keep_traced(tid, name, call)
            elif name and self.seen.filters(tid, process, name, call[3:]):
                self._stop_others(process)
            number = 0
        elif event:
            if tid in self._waits_in:
                waits_in, told = self._waits_in.pop(tid), read(tid)
                if told:
                    self.seen.called(tid, process, (ptrace.OP_ENTRY, told[1], *waits_in))
            number = self._happened(tid, process, event, number)
        if number >= 0:
            self._resume(tid, process, number)

    def _resume(self, tid: int, process: Traced, number: int = 0) -> None:
        if self._leaving:
            self._let_go(tid, number)
        elif process.filtered:
            ptrace.proceed_to_call(tid, number)
        else:
            ptrace.proceed(tid, number)

    def _stop_others(self, process: Traced) -> None:
        """Stop the threads of ``process`` that run, so that they go on as filtered ones do."""
        for tid, other in self._tasks.items():
            if other is process and process.threads > 1:
                ptrace.interrupt(tid)

    # Tasks

    def _keep_traced(self, tid: int, name: str, call: tuple[int, ...]) -> None:
        """Have a thread start nothing that is not traced; say so where that cannot be."""
        abi = abi_of(Number(call[1], call[2] & U32))
        try:
            found = change(tid, name, abi, call[3:]) if abi else None
            if found:
                self._changed[tid] = found
                found.make(tid)
        except ProcessLookupError:
            pass
        except (OSError, OverflowError, struct.error) as error:
            # A pointer that leads nowhere is the program's own error, and nothing is started.
            if tid in self._changed:
                del self._changed[tid]
                say(
                    "a process is started with CLONE_UNTRACED, which could not be taken out of the "
                    f"call ({error}): what it calls is not seen, and fails with ENOSYS",
                    err=True,
                )

    def _undo(self, tid: int) -> None:
        """Give a stopped thread the arguments back that `_keep_traced` changed."""
        changed = self._changed.pop(tid, None)
        if changed:
            with contextlib.suppress(OSError):  # killed meanwhile
                changed.undo(tid)

    def _arrived(self, tid: int) -> bool:
        """Take in a new task that came to its first stop; False if it has to wait for its parent.

        A task may come before the event that says whose child it is.
        """
        parent = self._born.pop(tid, None)
        if parent is None:
            self._held.add(tid)
            return False
        self._take_in(tid, parent)
        return True

    def _take_in(self, tid: int, parent: Traced) -> None:
        leader = _leader(tid)
        process = parent
        if leader == tid or self._tasks.get(leader) is not parent:
            process = self.seen.new_process(parent)
            self.seen.processes = True
        else:
            self.seen.threads = True
        process.threads += 1
        self._tasks[tid] = process
        self._undo(tid)
        if self._fate:
            with contextlib.suppress(ProcessLookupError):  # its end may be known, and be next
                os.kill(tid, self._fate)

    def _happened(self, tid: int, process: Traced, event: int, number: int) -> int:
        """Handle an event of ptrace; return 0 to go on, -1 to leave the thread as it is."""
        if event in _NEW_TASK:
            self.seen.label(tid, process)
            new = ptrace.event_message(tid)
            changed = self._changed.get(tid)
            self._undo(tid)
            if changed:
                self._changed[new] = changed
            if new in self._held:
                self._held.discard(new)
                self._take_in(new, process)
                self._resume(new, self._tasks[new])
            else:
                self._born[new] = process
        elif event == ptrace.EVENT_EXEC:
            former = ptrace.event_message(tid)
            if former != tid and self._tasks.pop(former, None) is not None:
                process.threads -= 1
            process.label_at = 0
            self._became(tid)
        elif event == ptrace.EVENT_STOP and number in ptrace.STOPPING:
            if self._leaving:
                return 0  # it stays stopped
            ptrace.listen(tid)
            if tid == self.main and number in _JOB_CONTROL:
                # The shell waits for this process, not for the one that has stopped.
                os.kill(os.getpid(), signal.SIGSTOP)
            return -1
        return 0

    def _became(self, tid: int) -> None:
        """Note what a process became by execve."""
        self.started = True
        try:
            link = f"/proc/{tid}/exe"
            file = os.stat(link)  # noqa: PTH116 - a magic link, not a path
            ids = _effective_ids(tid)
            wants = (file.st_mode & stat.S_ISUID and file.st_uid != ids[0]) or (
                file.st_mode & stat.S_ISGID and file.st_gid != ids[1]
            )
            if wants:
                self._unprivileged[os.readlink(link)] = None  # noqa: PTH115
        except (OSError, IndexError):
            pass  # gone already: nothing is known of it

    def _let_go(self, tid: int, number: int) -> None:
        ptrace.detach(tid, number)
        process = self._tasks.pop(tid, None)
        if process:
            process.threads -= 1
            if not process.threads:
                self.seen.ended(process)

    def _ended(self, tid: int, status: int) -> None:
        """Note the end of a task."""
        if tid == self.main:
            code = os.waitstatus_to_exitcode(status)
            self.end = End(status=code) if code >= 0 else End(signal=-code)
            self._main_ended = True
        process = self._tasks.pop(tid, None)
        self._born.pop(tid, None)
        self._changed.pop(tid, None)
        self._held.discard(tid)
        if process:
            process.threads -= 1
            if not process.threads:
                self.seen.ended(process)
        # A parent that was killed does not tell of the child that it had just made.
        for waiting in list(self._held):
            self._held.discard(waiting)
            self._take_in(waiting, process or self.seen.new_process(None, filtered=self.attached))
            self._resume(waiting, self._tasks[waiting])
        if tid == self.main and (self._tasks or self._born):
            self._say_what_is_left()

    def _say_what_is_left(self) -> None:
        # What has not come to its first stop yet is left, too.
        count = len({id(process) for process in self._tasks.values()}) + len(self._born)
        what = "a process" if count == 1 else f"{count} processes"
        say(f"waiting for {what} that the command left; Ctrl-C ends what is left", err=True)

    # Signals

    @contextlib.contextmanager
    def own_signals(self) -> Iterator[None]:
        """Handle signals to this process as long as the command runs.

        One that asks it to end is the command's to obey; what is left when the command has ended
        gets SIGTERM. One more, while that has not been obeyed, kills everything.
        """
        before = {}
        for number in (*_FORWARDED, signal.SIGTSTP):
            old = signal.getsignal(number)
            if old is not signal.SIG_IGN:
                handler = signal.SIG_IGN if number == signal.SIGTSTP else self._signalled
                before[number] = signal.signal(number, handler)
        # A signal that comes just before a wait does not end it, and its handler runs afterwards:
        # so no wait is longer than this.
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, _LONGEST_WAIT, _LONGEST_WAIT)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, old in before.items():
                signal.signal(number, old)

    def _signalled(self, number: int, _frame: object) -> None:
        if self.attached:
            self.leave()
            return
        ended = self._main_ended or _has_ended(self.main)
        if ended in self._asked:
            wanted, targets = signal.SIGKILL, set(self._tasks)
            self._fate = wanted
        elif ended:
            wanted, targets = signal.SIGTERM, set(self._tasks)
            self._fate = wanted
        elif number in {signal.SIGINT, signal.SIGQUIT} and _in_foreground():
            wanted, targets = signal.Signals(number), set()  # the terminal sent it to the command
        else:
            wanted, targets = signal.Signals(number), {self.main}
        self._asked.add(ended)
        for tid in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(tid, wanted)


def _has_ended(pid: int) -> bool:
    """Return True if a child has ended, whether that was collected or not."""
    try:
        state = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    # A tracer is told of stops, too, whatever it asks for.
    return state is not None and state.si_code != os.CLD_TRAPPED


def _leader(tid: int) -> int:
    """Return the PID of the process that a thread belongs to; ``tid`` if it is gone."""
    return _status(tid, "Tgid")[0]


def _effective_ids(pid: int) -> tuple[int, int]:
    """Return the effective UID and GID."""
    return _status(pid, "Uid")[1], _status(pid, "Gid")[1]


def _status(tid: int, key: str) -> list[int]:
    """Return the numbers of a field of /proc/TID/status; ``tid`` alone if the thread is gone."""
    words = Process(tid).status.get(key)
    return [int(word) for word in words.split()] if words else [tid]


def _in_foreground() -> bool:
    """Return True if the terminal sends its signals to our process group."""
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):
            return os.tcgetpgrp(descriptor) == os.getpgrp()
    return False
