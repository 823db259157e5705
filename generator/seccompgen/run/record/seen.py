"""Collect the calls of traced processes that count: arguments, markers, refusals.

A call is represented by a key: audit value, number, and recorded arguments. If markers matter, each
process has keys of its own, since its marker discards the calls before.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seccompgen.core.model import U32
from seccompgen.core.ring import RING_CALLS
from seccompgen.policy.implied import CAUGHT
from seccompgen.run import ptrace
from seccompgen.run.process import Process
from seccompgen.run.record.observations import CallNumber, Recording, Sighting, abi_of
from seccompgen.run.record.policy_answers import PolicyAnswers
from seccompgen.run.record.power_cases import CLONE3
from seccompgen.run.record.ring_uses import RingUses
from seccompgen.run.steps import INSTALLERS, InstallStep, step_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from seccompgen.run.record.observations import ArgumentBits, Arguments, ExecutedProgram, RunEnd
    from seccompgen.run.record.origins import Origins
    from seccompgen.run.record.policy_answers import ComparedPolicy
    from seccompgen.run.record.ring_memory import Ring

    Key = tuple[int, ...]

LABELLED = 0x7E577E57
"""The fourth argument of a marker whose fifth is the address of the process's label.

Our pytest plugin makes such a call; the label is NUL-terminated text, and may change.
"""
STARTS = frozenset({"clone", "clone3"})
HANDLES = frozenset({"rt_sigaction", "sigaction"})
ENDS = "exit_group"
ALWAYS_SEEN = frozenset({*INSTALLERS, *STARTS, *HANDLES, ENDS, *RING_CALLS})
"""Calls that install filters, start threads, catch signals, end, or use rings: they always stop."""
_NO_HANDLER = frozenset({0, 1})
"""SIG_DFL and SIG_IGN."""
_LABEL_MAX = 1024
"""The most bytes of a label."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The settings of a recording.

    ``arguments`` returns the arguments of a call to record, ``names`` its name, None if unknown.
    With ``after_marker``, only calls after a process's marker count. At most ``most`` combinations
    of arguments are recorded per call; if there are more, none is. Calls that count are compared
    with the policy ``against``, if there is one; ``origins`` finds their locations.
    """

    arguments: Callable[[CallNumber], Sequence[ArgumentBits]]
    names: Callable[[CallNumber], str | None]
    most: int
    after_marker: bool = False
    against: ComparedPolicy | None = None
    origins: Origins | None = None


class CallKeys:
    """Keys of calls, with a limit on the combinations of arguments per call.

    A call that exceeds the limit becomes one key without arguments, so that memory is bounded.
    """

    def __init__(self, most: int) -> None:
        self.keys: set[Key] = set()
        self._most = most
        self._counts: Counter[Key] = Counter()

    def add(self, key: Key) -> None:
        """Add a call, unless it is present with the same arguments or with any."""
        call = key[:2]
        if key in self.keys or call in self.keys:
            return
        self.keys.add(key)
        self._counts[call] += 1
        if len(key) > 2 and self._counts[call] > self._most:
            self._generalise(call)

    def _generalise(self, call: Key) -> None:
        self.keys = {one for one in self.keys if one[:2] != call} | {call}

    def update(self, other: CallKeys) -> None:
        """Add all keys of ``other``."""
        for key in other.keys:
            if len(key) == 2 and self._counts[key]:
                self._generalise(key)
            self.add(key)

    def clear(self) -> None:
        """Forget everything."""
        self.keys.clear()
        self._counts.clear()


@dataclass(slots=True)
class TracedProcess:
    """A traced process: its calls that count, and its progress.

    ``marked`` is 0 before its marker, 1 after a call that only marks, 2 after it installed a
    filter; ``doubtful`` is True if the marking call may be half of a probe. ``before_marker`` is
    the number of its threads at the marker. ``filtered`` is True if it has a filter of its own.
    ``owes`` is True if its label came from pytest's plugin, whose own filter is still to come.
    ``ring_places`` are addresses of rings in its memory, by inode; ``polled`` are rings that need
    no call.
    """

    seen: CallKeys
    threads: int = 0
    marked: int = 0
    before_marker: int = 0
    filtered: bool = False
    label_at: int = 0
    label: str = ""
    answers: PolicyAnswers = field(default_factory=PolicyAnswers)
    owes: bool = False
    doubtful: bool = False
    rings: RingUses = field(default_factory=RingUses)
    ring_places: dict[int, tuple[int, int]] = field(default_factory=dict)
    polled: list[Ring] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _CallTreatment:
    """A way to record a call, by ``name``; ``keep`` are index and mask of its arguments.

    ``among`` is empty, or has for each of ``keep`` the values that are distinguished, None for all,
    and the value recorded for the others. ``judged`` are index and mask of the arguments that the
    policy tests.
    """

    number: CallNumber
    keep: tuple[tuple[int, int], ...]
    among: tuple[tuple[frozenset[int] | None, int], ...]
    judged: tuple[tuple[int, int], ...]
    name: str | None

    def recorded(self, args: Sequence[int]) -> Key:
        """Return the arguments to record."""
        kept = tuple([args[index] & mask for index, mask in self.keep])
        if not self.among:
            return kept
        return tuple(
            value if among is None or value in among else other
            for value, (among, other) in zip(kept, self.among, strict=True)
        )


@dataclass
class SeenCalls:
    """The calls seen so far, to which each new call is added."""

    watch: Watch
    threads: bool = False
    processes: bool = False
    attached: bool = False
    catches: set[int] = field(default_factory=set)
    _all: CallKeys = field(init=False)
    _startup: set[Key] = field(default_factory=set)
    _answers: PolicyAnswers = field(default_factory=PolicyAnswers)
    _rings: RingUses = field(default_factory=RingUses)
    _kinds: dict[Key, _CallTreatment] = field(default_factory=dict)
    _filters: bool = False
    _marked: int = 0
    _before_marker: int = 0

    def __post_init__(self) -> None:
        """Begin without calls."""
        self._all = CallKeys(self.watch.most)

    def counts(self, process: TracedProcess) -> bool:
        """Return True if a process's calls count: it passed its marker, or none is needed."""
        return bool(process.marked or not self.watch.after_marker)

    def recording(
        self, end: RunEnd, unprivileged: Iterable[str], programs: tuple[ExecutedProgram, ...] = ()
    ) -> Recording:
        """Return the recording, in the order of call numbers."""
        calls: dict[CallNumber, set[Arguments]] = {}
        for key in sorted(self._all.keys):
            number, arguments = self._call_of(key)
            calls.setdefault(number, set()).add(arguments)
        return Recording(
            {number: frozenset(values) for number, values in calls.items()},
            end,
            tuple(unprivileged),
            refusals={
                (number, arguments): seen
                for (number, _), counts in self._answers.refused.items()
                for arguments, seen in counts.items()
            },
            more_refused=frozenset(
                (number, arguments) for (number, _), arguments in self._answers.more.items()
            ),
            reached=frozenset(self._answers.reached),
            filters=self._filters,
            marked=self._marked > 0,
            startup=frozenset(self._call_of(key)[0] for key in self._startup),
            threads=self.threads,
            processes=self.processes,
            before_marker=self._before_marker,
            catches=frozenset(self.catches),
            attached=self.attached,
            origins=self.watch.origins.found() if self.watch.origins else {},
            programs=programs,
            rings=self._rings.seen(),
        )

    def _call_of(self, key: Key) -> tuple[CallNumber, Arguments]:
        """Return the call of a key, and its recorded arguments."""
        arch, nr, *values = key
        kind = self._kinds.get((arch, nr))
        indices = (index for index, _ in kind.keep) if kind and values else ()
        return CallNumber(arch, nr & U32), tuple(zip(indices, values, strict=True))

    def add(self, number: CallNumber) -> None:
        """Count a call that the command needs but that was not seen."""
        self._all.add(number)
        if self.watch.against:
            verdict = self.watch.against.verdict(number, ())
            part = number, verdict.origin
            self._answers.reached.add(part)
            if verdict.refuses and part not in self._answers.refused:
                self._answers.refuse(part, (), Sighting(""))

    def new_process(self, parent: TracedProcess | None, *, filtered: bool = False) -> TracedProcess:
        """Return a process that has made no call yet; it inherits the progress of ``parent``."""
        seen = CallKeys(self.watch.most) if self.watch.after_marker else self._all
        answers = PolicyAnswers() if self.watch.after_marker else self._answers
        rings = RingUses() if self.watch.after_marker else self._rings
        if parent is None:
            return TracedProcess(seen, filtered=filtered, answers=answers, rings=rings)
        label = parent.label_at, parent.label
        return TracedProcess(
            *(seen, 0, parent.marked, 0, parent.filtered, *label, answers),
            rings=rings,
            ring_places={**parent.ring_places},
            polled=[*parent.polled],
        )

    def ended(self, process: TracedProcess) -> None:
        """Count the calls of a process that has no threads left."""
        if process.marked:
            self._all.update(process.seen)
            self._answers.update(process.answers)
            self._rings.update(process.rings)
            self._before_marker = max(self._before_marker, process.before_marker)
        elif self.watch.after_marker:
            self._startup.update(key[:2] for key in process.seen.keys)

    def called(self, tid: int, process: TracedProcess, call: tuple[int, ...]) -> str | None:
        """Count a call, given as `ptrace.CallReader.read` returns it.

        Returns its name if it is one of `ALWAYS_SEEN`, which the recorder must handle, else None.
        """
        key = call[1:3]
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = self._kind(key)
        if kind.keep:
            key += kind.recorded(_shown(tid, kind, call[3:]))
        if key not in process.seen.keys:
            process.seen.add(key)
        # A filtered process stops at the entry, and once more if its filter lets the call through.
        first = call[0] == ptrace.OP_ENTRY or not process.filtered
        counts = self.counts(process)
        if self.watch.against and first and counts:
            self._judge(self.watch.against, tid, process, call, kind)
        if self.watch.origins and counts and key not in self.watch.origins.settled:
            self.watch.origins.look(tid, key, *self._call_of(key))
        return kind.name if kind.name in ALWAYS_SEEN else None

    def _kind(self, key: Key) -> _CallTreatment:
        number = CallNumber(key[0], key[1] & U32)
        keep, against = self.watch.arguments(number), self.watch.against
        judged = against.arguments(number) if against else ()
        lumps = any(one.among is not None for one in keep)
        return _CallTreatment(
            number,
            tuple((one.index, one.mask) for one in keep),
            tuple((one.among, one.other) for one in keep) if lumps else (),
            tuple((one.index, one.mask) for one in judged),
            self.watch.names(number),
        )

    def _judge(
        self,
        against: ComparedPolicy,
        tid: int,
        process: TracedProcess,
        call: tuple[int, ...],
        kind: _CallTreatment,
    ) -> None:
        """Note the policy's answer to a call."""
        arguments = tuple((index, call[3 + index] & mask) for index, mask in kind.judged)
        verdict = against.verdict(kind.number, arguments)
        part = kind.number, verdict.origin
        process.answers.reached.add(part)
        if verdict.refuses:
            sighting = against.sight(self.label(tid, process), tid, call)
            process.answers.refuse(part, arguments, sighting)

    def label(self, tid: int, process: TracedProcess) -> str:
        """Return a process's current label; it keeps the last one after it executes a program."""
        if process.label_at:
            process.label = os.fsdecode(Process(tid).string(process.label_at, _LABEL_MAX) or b"")
        return process.label

    def handles(self, tid: int, call: tuple[int, ...]) -> None:
        """Note whether ``rt_sigaction`` or ``sigaction`` catches one of `CAUGHT`."""
        number, action = call[3] & U32, call[4]
        abi = abi_of(CallNumber(call[1], call[2] & U32))
        if abi and number in CAUGHT and action:
            # The handler comes first; on MIPS flags do, so this may wrongly report a handler.
            handler = Process(tid).memory(action, abi.bits // 8) or b""
            if int.from_bytes(handler, abi.byte_order) not in _NO_HANDLER:
                self.catches.add(number)

    def filters(self, tid: int, process: TracedProcess, name: str, args: Sequence[int]) -> bool:
        """Note whether ``seccomp`` or ``prctl`` marks the end of the startup, or installs a filter.

        Returns True if it installs the process's first own filter, unless something refuses that.
        """
        step = step_of(name, args, Process(tid))
        if step is InstallStep.MARKS and name == "seccomp" and args[3] & U32 == LABELLED:
            process.label_at, process.owes = args[4], True
        if step is InstallStep.EMPTY and process.doubtful:
            process.marked = 0
            self._marked -= 1
        degree = {InstallStep.MARKS: 1, InstallStep.INSTALLS: 2}.get(step, 0)
        process.doubtful = step is InstallStep.MARKS and process.marked == 0
        if self.watch.after_marker and process.marked < degree:
            self._marked += 1
            process.marked = degree
            process.before_marker = process.threads
            self._startup.update(key[:2] for key in process.seen.keys)
            process.seen.clear()
            process.answers = PolicyAnswers()
            process.rings.begin_again()
        if degree < 2:
            return False
        # Our pytest plugin installs the policy, which is not a filter of the tests' own.
        self._filters = self._filters or not process.owes
        process.owes = False
        first, process.filtered = not process.filtered, True
        return first


def _shown(tid: int, kind: _CallTreatment, args: Sequence[int]) -> Sequence[int]:
    """Return the arguments of a call; for clone3, flags read from memory replace the first."""
    if kind.name != CLONE3:
        return args
    flags = Process(tid).memory(args[0], 8) or b""
    return (int.from_bytes(flags, sys.byteorder), *args[1:])
