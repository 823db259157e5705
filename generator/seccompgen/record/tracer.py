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
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seccompgen.console import say
from seccompgen.errors import OutsideError, SeccompgenError
from seccompgen.model import U32, FilterFlag, Settings
from seccompgen.record.observations import End, Number, Recording, Sighting
from seccompgen.trace import ptrace
from seccompgen.trace.launch import Confinement, close, end, failure, let_go, start
from seccompgen.trace.process import Process, require_proc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from seccompgen.program import Instruction
    from seccompgen.record.observations import Argument, Arguments
    from seccompgen.tables import Table
    from seccompgen.trace.launch import Command

    Key = tuple[int, ...]

LABELLED = 0x7E577E57
"""The fourth argument of a marker that says with the fifth where in memory the process's label is.

The plugin of pytest makes such a call; the label is text that ends in a NUL, and may change.
"""
_LABEL_MAX = 1024
"""Bytes."""
_SET_MODE_FILTER = 1
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_CAP_SYS_ADMIN = 21
_LONGEST_WAIT = 0.25
"""Seconds."""
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_JOB_CONTROL = ptrace.STOPPING - {signal.SIGSTOP}
_NEW_TASK = (ptrace.EVENT_FORK, ptrace.EVENT_VFORK, ptrace.EVENT_CLONE)


@dataclass(frozen=True, slots=True)
class Watch:
    """What to look at.

    ``arguments`` says which arguments of a call are kept. ``names`` says what a call is called,
    None if nobody knows. With ``after_marker`` only what follows a process's marker is kept.
    ``refuses`` says of which calls each is counted: as what ``sight`` makes of a process's label,
    a stopped thread, and what `ptrace.CallReader` read.
    """

    arguments: Callable[[Number], Sequence[Argument]]
    names: Callable[[Number], str | None]
    after_marker: bool = False
    refuses: Callable[[Number, Arguments], bool] | None = None
    sight: Callable[[str, int, Sequence[int]], Sighting] = lambda label, *_: Sighting(label)


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
    tracer = _Tracer(watch, started.pid)
    try:
        try:
            ptrace.seize(started.pid)
        except OSError as error:
            raise OutsideError(_not_traceable(error)) from None
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
        tracer.add(Number(table.abi.audit_arch, table.numbers["execve"]))
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


def _not_traceable(failure: OSError) -> str:
    if failure.errno == errno.EPERM:
        return (
            "ptrace is not permitted: something traces this process already (strace, a debugger, "
            "record itself), a sandbox forbids it, or kernel.yama.ptrace_scope is above 1"
        )
    return f"ptrace failed: {failure.strerror}"


@dataclass(slots=True)
class _Process:
    """A traced process: what it called that counts, and how far it is.

    ``marked`` is 0 before its marker, 1 after a call that only marks, 2 after it installed a
    filter. ``filtered`` is True if it has a filter of its own.
    """

    seen: set[Key]
    threads: int = 0
    marked: int = 0
    filtered: bool = False
    label_at: int = 0
    label: str = ""
    refused: Counter[tuple[Key, Sighting]] = field(default_factory=Counter)
    owes: bool = False


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is done with a call: ``keep`` are index and mask of arguments; ``name`` is its name."""

    keep: tuple[tuple[int, int], ...]
    name: str | None


@dataclass
class _Tracer:
    watch: Watch
    main: int
    started: bool = False
    end: End = field(default_factory=End)
    _all: set[Key] = field(default_factory=set)
    _tasks: dict[int, _Process] = field(default_factory=dict)
    _refused: Counter[tuple[Key, Sighting]] = field(default_factory=Counter)
    _verdicts: dict[Key, bool] = field(default_factory=dict)
    _kinds: dict[Key, _Kind] = field(default_factory=dict)
    _born: dict[int, _Process] = field(default_factory=dict)
    _held: set[int] = field(default_factory=set)
    _unprivileged: dict[str, None] = field(default_factory=dict)
    _filters: bool = False
    _marked: bool = False
    _main_ended: bool = False
    _asked: set[bool] = field(default_factory=set)
    _fate: int = 0  # the signal that all that is left gets, and what it still starts

    def recording(self) -> Recording:
        """Return what was seen, in the order of numbers."""
        calls: dict[Number, set[Arguments]] = {}
        for arch, nr, *values in sorted(self._all):
            number, arguments = self._kept((arch, nr, *values))
            calls.setdefault(number, set()).add(arguments)
        refusals: dict[tuple[Number, Arguments], dict[Sighting, int]] = {}
        for (key, seen), times in self._refused.items():
            refusals.setdefault(self._kept(key), {})[seen] = times
        return Recording(
            {number: frozenset(values) for number, values in calls.items()},
            self.end,
            refusals,
            tuple(self._unprivileged),
            self._filters,
            self._marked,
        )

    def _kept(self, key: Key) -> tuple[Number, Arguments]:
        """Return a call and what was kept of its arguments, which ``key`` stands for."""
        arch, nr, *values = key
        kind = self._kinds.get((arch, nr))
        indices = (index for index, _ in kind.keep) if kind else ()
        return Number(arch, nr & U32), tuple(zip(indices, values, strict=True))

    def add(self, number: Number) -> None:
        """Count a call that the command needs, though it made none that was seen."""
        self._all.add(number)

    def run(self) -> None:
        """Handle events until nothing is left that could cause one."""
        process = self._new_process(None)
        process.threads = 1
        self._tasks[self.main] = process
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
            if call[0] in (ptrace.OP_ENTRY, ptrace.OP_SECCOMP):
                self._called(tid, process, call)
            number = 0
        elif event:
            number = self._happened(tid, process, event, number)
        if number >= 0:
            self._resume(tid, process, number)

    def _resume(self, tid: int, process: _Process, number: int = 0) -> None:
        if process.filtered:
            ptrace.proceed_to_call(tid, number)
        else:
            ptrace.proceed(tid, number)

    # Calls

    def _called(self, tid: int, process: _Process, call: tuple[int, ...]) -> None:
        """Note a call, given as `ptrace.CallReader.read` returns it."""
        key = call[1:3]
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = self._kind(key)
        if kind.keep:
            key += tuple(call[3 + index] & mask for index, mask in kind.keep)
        if not self.started:
            return
        process.seen.add(key)
        # Who has a filter is stopped at the entry, and once more where that lets the call through.
        first = call[0] == ptrace.OP_ENTRY or not process.filtered
        counts = process.marked or not self.watch.after_marker
        if self.watch.refuses and first and counts and self._refuses(key):
            process.refused[key, self.watch.sight(self._label(tid, process), tid, call)] += 1
        if kind.name in {"seccomp", "prctl"}:
            self._maybe_filters(tid, process, kind.name, call[3:])

    def _kind(self, key: Key) -> _Kind:
        number = Number(key[0], key[1] & U32)
        arguments = self.watch.arguments(number)
        return _Kind(tuple((one.index, one.mask) for one in arguments), self.watch.names(number))

    def _refuses(self, key: Key) -> bool:
        verdict = self._verdicts.get(key)
        if verdict is None and self.watch.refuses:
            verdict = self._verdicts[key] = self.watch.refuses(*self._kept(key))
        return bool(verdict)

    def _label(self, tid: int, process: _Process) -> str:
        """Return what a process says that it is at; one that it executed is at the same."""
        if process.label_at:
            process.label = os.fsdecode(Process(tid).string(process.label_at, _LABEL_MAX) or b"")
        return process.label

    def _maybe_filters(self, tid: int, process: _Process, name: str, args: Sequence[int]) -> None:
        """See whether a call marks the end of the startup, or installs a filter."""
        if name == "seccomp":
            marks, program = args[0] & U32 == _SET_MODE_FILTER, args[2]
        else:
            marks = args[0] & U32 == _PR_SET_SECCOMP and args[1] & U32 == _MODE_FILTER
            program = args[2]
        if not marks:
            return
        if name == "seccomp" and args[3] & U32 == LABELLED:
            process.label_at, process.owes = args[4], True
        # No kernel takes a program without instructions, for which our runtime asks beforehand.
        degree = 2 if program and Process(tid).memory(program, 2) != b"\0\0" else 1
        if self.watch.after_marker and process.marked < 2:
            self._marked = True
            process.marked = degree
            process.seen.clear()
            process.refused.clear()
        if degree == 2:
            # The plugin of pytest puts the policy in force, which is no filter of the tests' own.
            self._filters = self._filters or not process.owes
            process.owes = False
            if not process.filtered:
                process.filtered = True
                self._stop_others(process)

    def _stop_others(self, process: _Process) -> None:
        """Stop the threads of ``process`` that run, so that they go on as filtered ones do."""
        for tid, other in self._tasks.items():
            if other is process and process.threads > 1:
                ptrace.interrupt(tid)

    # Tasks

    def _new_process(self, parent: _Process | None) -> _Process:
        seen: set[Key] = set() if self.watch.after_marker else self._all
        refused: Counter[tuple[Key, Sighting]] = Counter()
        if not self.watch.after_marker:
            refused = self._refused
        if parent is None:
            return _Process(seen, refused=refused)
        label = parent.label_at, parent.label
        return _Process(seen, 0, parent.marked, parent.filtered, *label, refused)

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

    def _take_in(self, tid: int, parent: _Process) -> None:
        leader = _leader(tid)
        process = parent
        if leader == tid or self._tasks.get(leader) is not parent:
            process = self._new_process(parent)
        process.threads += 1
        self._tasks[tid] = process
        if self._fate:
            with contextlib.suppress(ProcessLookupError):  # its end may be known, and be next
                os.kill(tid, self._fate)

    def _happened(self, tid: int, process: _Process, event: int, number: int) -> int:
        """Handle an event of ptrace; return 0 to go on, -1 to leave the thread as it is."""
        if event in _NEW_TASK:
            self._label(tid, process)
            new = ptrace.event_message(tid)
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

    def _ended(self, tid: int, status: int) -> None:
        """Note the end of a task."""
        if tid == self.main:
            code = os.waitstatus_to_exitcode(status)
            self.end = End(status=code) if code >= 0 else End(signal=-code)
            self._main_ended = True
        process = self._tasks.pop(tid, None)
        self._born.pop(tid, None)
        self._held.discard(tid)
        if process:
            process.threads -= 1
            if process.marked and not process.threads:
                self._all |= process.seen
                self._refused.update(process.refused)
        # A parent that was killed does not tell of the child that it had just made.
        for waiting in list(self._held):
            self._held.discard(waiting)
            self._take_in(waiting, process or self._new_process(None))
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
