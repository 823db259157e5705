"""Run a command and record every system call that it and its descendants make.

The command is started under a filter that answers SECCOMP_RET_TRACE, which all its processes and
threads inherit: each call is one stop. A process that installs a filter of its own is also stopped
at the entry of calls, since the calls that its filter refuses never reach ours. No traced process
outlives the recorder (PTRACE_O_EXITKILL).
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from typing import TYPE_CHECKING

from seccompgen.core.errors import OutsideError, SeccompgenError
from seccompgen.core.model import U32
from seccompgen.core.ring import RING_CALLS
from seccompgen.core.settings import FilterFlag, Settings
from seccompgen.io.console import say
from seccompgen.run import ptrace
from seccompgen.run.events import EventKind, happened
from seccompgen.run.launch import Confinement, close, end, failure, killed_by, let_go, start
from seccompgen.run.patience import impatient
from seccompgen.run.process import Process, require_proc
from seccompgen.run.record.observations import CallNumber, ExecutedProgram, RunEnd, abi_of
from seccompgen.run.record.requests import Requests, answered_by
from seccompgen.run.record.ring_reader import RingReader
from seccompgen.run.record.seen import ENDS, HANDLES, STARTS, SeenCalls
from seccompgen.run.record.traced_threads import Threads
from seccompgen.run.record.untraced import change
from seccompgen.run.signals import ENDING, HANDED_ON, JOB_CONTROL, blocked, stop_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.core.program import Instruction
    from seccompgen.core.tables import Table
    from seccompgen.run.events import Event
    from seccompgen.run.launch import Command
    from seccompgen.run.record.observations import Recording
    from seccompgen.run.record.seen import Watch
    from seccompgen.run.record.traced_threads import Thread

    Read = Callable[[int], tuple[int, ...]]
    """`ptrace.CallReader.read`."""

_CAP_SYS_ADMIN = 21
_BEGINS = frozenset({ptrace.OP_ENTRY, ptrace.OP_SECCOMP})


class Interrupted(Exception):  # noqa: N818 - it is no error: the user asked for it
    """The user asked twice to stop: all traced processes are killed, and nothing is recorded."""


def trace(
    command: Command, watch: Watch, table: Table, program: tuple[Instruction, ...]
) -> Recording:
    """Run ``command`` to the end of all that it starts; return the recording.

    ``program`` answers SECCOMP_RET_TRACE to all calls to record, SECCOMP_RET_ALLOW to the others;
    ``table`` is that of this process's ABI. The command inherits the caller's terminal, directory
    and process group. Raises OutsideError if it cannot be traced, NotStartedError if it did not
    begin, Interrupted if the user gave up.
    """
    require_proc()
    settings = Settings(FilterFlag.SPEC_ALLOW, no_new_privs=not _may_filter())
    with blocked(HANDED_ON) as mask:
        started = start(command, Confinement("record", table, program, settings), mask=mask)
        recorder = Recorder(SeenCalls(watch), started.pid, all_calls=len(program) == 1)
        recorder.threads.add(started.pid, recorder.seen.new_process(None))
        try:
            try:
                ptrace.seize(started.pid)
            except OSError as error:
                if number := killed_by(started):
                    raise NotStartedError(128 + number) from None
                raise OutsideError(not_traceable(error)) from None
            with (
                answered_by(recorder.requests.hear, HANDED_ON, recorder.requests.look),
                impatient(),
            ):
                let_go(started)
                recorder.run()
        except BaseException:
            end(started)
            raise
    refused = failure(started)
    close(started)
    if not recorder.started:
        raise refused or NotStartedError(recorder.end.exit_code)
    if not watch.after_marker:
        recorder.seen.add(CallNumber(table.abi.audit_arch, table.numbers["execve"]))
    return recorder.recording()


class NotStartedError(SeccompgenError):
    """The command could not be executed, as its launcher reported; exits as env(1) would."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


def _may_filter() -> bool:
    """Return True if this process may install filters without no_new_privs: by CAP_SYS_ADMIN."""
    capabilities = int(Process(os.getpid()).status.get("CapEff", "0"), 16)
    return bool(capabilities >> _CAP_SYS_ADMIN & 1)


def not_traceable(failure: OSError) -> str:
    """Return a message why a process cannot be traced."""
    if failure.errno == errno.EPERM:
        return (
            "ptrace is not permitted: something traces this process already (strace, a debugger, "
            "record itself), a sandbox forbids it, or kernel.yama.ptrace_scope is above 1"
        )
    return f"ptrace failed: {failure.strerror}"


class Recorder:
    """The traced threads, and the handling of their events.

    ``main`` is the PID of the command. If it is 0, processes that ran already are traced: they stop
    at the entry of each call, and are released in the end. ``all_calls`` is False if a filter lets
    some calls through.
    """

    def __init__(self, seen: SeenCalls, main: int = 0, *, all_calls: bool = True) -> None:
        self.seen = seen
        self.threads = Threads(seen, filtered=not main)
        self.requests = Requests(main, lambda: self.threads.tids)
        self.rings = RingReader(all_calls=all_calls)
        self.started = not main
        """True once the command was executed."""
        self.end = RunEnd()
        self._main = main
        self._leaving = False
        self._unprivileged: dict[str, None] = {}
        self._libraries: dict[str, dict[str, None]] = {}
        """The files that executed programs had mapped, by the program's path."""

    def recording(self) -> Recording:
        """Return the recording so far."""
        programs = (ExecutedProgram(path, tuple(those)) for path, those in self._libraries.items())
        return self.seen.recording(self.end, self._unprivileged, tuple(programs))

    def note_program(self, tid: int) -> None:
        """Note the program of a thread, and the libraries that it has mapped.

        Call this also when a program ends: only then has it mapped all its libraries.
        """
        try:
            path = os.readlink(f"/proc/{tid}/exe")  # noqa: PTH115 - a magic link
        except OSError:
            return  # gone already
        libraries = self._libraries.setdefault(path, {})
        for one in Process(tid).mappings:
            if one.executable and one.file.startswith(os.sep) and one.file != path:
                libraries[one.file] = None

    def leave(self) -> None:
        """Release all threads, each as soon as it has stopped."""
        self._leaving = True
        for tid in self.threads.tids:
            ptrace.interrupt(tid)

    def run(self) -> None:
        """Handle events until no thread is left that could cause one.

        A child of a killed process may have begun without a report. This process may have other
        children: those of a shell that became it by exec.
        """
        read = ptrace.CallReader().read
        while self.threads or ptrace.is_tracing():
            try:
                for tid, event in happened():
                    if event.kind is EventKind.ENDED:
                        self._ended(tid, event.number)
                    elif event.kind is EventKind.CALL:
                        self._at_call(tid, read)
                    else:
                        self._at_stop(tid, event, read)
            except ChildProcessError:
                break
        if self.requests.given_up:
            raise Interrupted

    def _at_call(self, tid: int, read: Read) -> None:
        """Record the call that a thread makes, and let it proceed."""
        thread = self.threads.get(tid)
        call = read(tid) if thread else ()
        if not thread or not call or call[0] == ptrace.OP_NONE:
            return  # it has ended since
        thread.change = None  # the call before this one started nothing
        if thread.ring_call and call[0] == ptrace.OP_EXIT:
            self.rings.ends(tid, thread.ring_call, call[2])
        thread.ring_call = None
        self._polls(thread)
        if self.started and call[0] in _BEGINS:
            name = self.seen.called(tid, thread.process, call)
            if name is None:
                pass
            elif name in STARTS:
                _keep_traced(thread, name, call)
            elif name in HANDLES:
                self.seen.handles(tid, call)
            elif name == ENDS:
                self._note_program_of(thread)
            elif name in RING_CALLS:
                self._at_ring_call(thread, name, call)
            elif self.seen.filters(tid, thread.process, name, call[3:]):
                self._stop_others(thread)
        self._resume(thread)

    def _at_ring_call(self, thread: Thread, name: str, call: tuple[int, ...]) -> None:
        abi, process = abi_of(CallNumber(call[1], call[2] & U32)), thread.process
        if abi:
            counts = self.seen.counts(process)
            thread.ring_call = self.rings.begins(
                thread.tid, name, abi.name, call[3:], process, counts=counts
            )

    def _polls(self, thread: Thread) -> None:
        if thread.process.polled:
            self.rings.polls(thread.tid, thread.process, counts=self.seen.counts(thread.process))

    def _stop_others(self, thread: Thread) -> None:
        """Stop the running threads of a thread's process, so that they resume as filtered ones."""
        if thread.process.threads > 1:
            for tid in self.threads.of(thread.process):
                ptrace.interrupt(tid)

    def _at_stop(self, tid: int, event: Event, read: Read) -> None:
        """Handle a stop that is not at a call; let the thread go on, if it may."""
        thread = self.threads.get(tid) or self._arrived(tid)
        if thread is None:
            return  # its parent has yet to report it
        if event.kind is not EventKind.EXECUTED:
            self._polls(thread)
        if event.kind is EventKind.SIGNAL:
            if event.number in ENDING:
                self._note_program_of(thread)
            self._resume(thread, 0 if self._comes_twice(tid, event.number) else event.number)
            return
        if thread.waits_in:
            waits_in, thread.waits_in = thread.waits_in, ()
            if call := read(tid):
                self.seen.called(tid, thread.process, (ptrace.OP_ENTRY, call[1], *waits_in))
        if event.kind is EventKind.STOPPED and not self._leaving:
            self._stopped(tid, event.number)
            return
        if event.kind is EventKind.STARTED:
            self._bears(thread)
        elif event.kind is EventKind.EXECUTED:
            self._executed(thread)
        self._resume(thread)

    def _comes_twice(self, tid: int, number: int) -> bool:
        return (
            number in HANDED_ON
            and Process(tid).pid == self._main
            and self.requests.comes_twice(number, ptrace.sender(tid))
        )

    def _stopped(self, tid: int, number: int) -> None:
        """Leave a thread in the stop of its process."""
        ptrace.listen(tid)
        if number in JOB_CONTROL and ptrace.reports_stops(tid, self._main):
            # The shell waits for this process, not for the stopped one.
            stop_with(self._main, number, lambda: not ptrace.listens(tid))

    def _resume(self, thread: Thread, number: int = 0) -> None:
        if self._leaving:
            ptrace.detach(thread.tid, number)
            self.threads.remove(thread.tid)
        elif thread.process.filtered or thread.ring_call:
            ptrace.proceed_to_call(thread.tid, number)
        else:
            ptrace.proceed(thread.tid, number)

    # Beginnings and ends

    def _arrived(self, tid: int) -> Thread | None:
        thread = self.threads.arrives(tid)
        return self._begun(thread) if thread else None

    def _begun(self, thread: Thread) -> Thread:
        thread.undo()
        self.requests.has_reached(thread.tid)
        return thread

    def _bears(self, parent: Thread) -> None:
        self.seen.label(parent.tid, parent.process)
        child = ptrace.event_message(parent.tid)
        held = self.threads.bears(parent, child) if child else None
        parent.undo()
        if held:
            self._resume(self._begun(held))

    def _executed(self, thread: Thread) -> None:
        self.threads.executes(thread, ptrace.event_message(thread.tid))
        thread.process.label_at = 0
        self.rings.executes(thread.tid, thread.process)
        self.started = True
        self._note_program_of(thread)
        if program := _without_privileges(thread.tid):
            self._unprivileged[program] = None

    def _note_program_of(self, thread: Thread) -> None:
        if self.seen.counts(thread.process):
            self.note_program(thread.tid)

    def _ended(self, tid: int, status: int) -> None:
        if tid == self._main:
            code = os.waitstatus_to_exitcode(status)
            self.end = RunEnd(status=code) if code >= 0 else RunEnd(signal=-code)
        self.rings.forget(tid)
        ended = self.threads.get(tid)
        if ended and os.WIFSIGNALED(status):
            self.rings.killed(ended.process)
        for orphan in self.threads.orphans(self.threads.ends(tid)):
            self._resume(self._begun(orphan))
        if tid == self._main:
            self._say_what_is_left(ends=self.requests.has_ended(self.end.signal))

    def _say_what_is_left(self, *, ends: bool) -> None:
        if not self.threads:
            return
        count = self.threads.processes
        what = "a process" if count == 1 else f"{count} processes"
        say(
            f"ending {what} that the command left, in a moment; Ctrl-C does so at once"
            if ends
            else f"waiting for {what} that the command left; Ctrl-C ends what is left",
            err=True,
        )


def _keep_traced(thread: Thread, name: str, call: tuple[int, ...]) -> None:
    """Change a call so that it starts nothing untraced; print a warning if that fails."""
    abi = abi_of(CallNumber(call[1], call[2] & U32))
    try:
        thread.change = change(thread.tid, name, abi, call[3:]) if abi else None
        if thread.change:
            thread.change.make(thread.tid)
    except ProcessLookupError:
        pass
    except (OSError, OverflowError, struct.error) as error:
        # An invalid pointer is the program's own error, and starts nothing.
        if thread.change:
            thread.change = None
            say(
                "a process is started with CLONE_UNTRACED, which could not be taken out of the "
                f"call ({error}): what it calls is not seen, and fails with ENOSYS",
                err=True,
            )


def _without_privileges(tid: int) -> str | None:
    """Return a thread's program if it lacks its file's setuid or setgid privileges, else None."""
    process = Process(tid)
    try:
        link = f"/proc/{tid}/exe"
        file = os.stat(link)  # noqa: PTH116 - a magic link, not a path
        user, group = (int(process.status[key].split()[1]) for key in ("Uid", "Gid"))
        wants = (file.st_mode & stat.S_ISUID and file.st_uid != user) or (
            file.st_mode & stat.S_ISGID and file.st_gid != group
        )
        return os.readlink(link) if wants else None  # noqa: PTH115
    except (OSError, KeyError):
        return None  # gone already
