"""Decide if two calls that the kernel cannot tell apart get one answer; show those that do not.

The kernel reads only those bits of an argument that the call's prototype has. So a filter must
answer a call as it answers the same call with all other bits 0. Both are answers of one filter:
once as it is, once with each of its comparisons masked to the bits that are read. They are compared
as two filters are, by classes or by z3, for one argument at a time. Where they differ, the other
bits are added one after the other until the answer changes. So the result is two calls that differ
in a single bit.

`seccomp_data.instruction_pointer` is left alone, since no prototype mentions it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import U32
from seccompgen.core.word import ARCH, NR, Word, argument_words
from seccompgen.verify.call import ZERO_HIGH_WORDS, Call
from seccompgen.verify.classes import Exploration
from seccompgen.verify.followers import Ask, Follower, Question, follower

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Facts
    from seccompgen.core.tables import Table, Tables
    from seccompgen.verify.classes import Box
    from seccompgen.verify.followers import State, Step
    from seccompgen.verify.stack import FilterSemantics

ReadBits: TypeAlias = Mapping[tuple[int, int], tuple[int, ...]]
"""For calls, by audit value and number, the bits that the kernel reads of their six arguments."""

_NR, _ARCH = Word.low(NR), Word.low(ARCH)
_ARGUMENTS = range(6)
INSTALL_Z3 = "install the extra that brings z3: pip install 'seccompgen[proof]'"


@dataclass(frozen=True, slots=True)
class IndistinguishableCalls:
    """Two calls that the kernel treats alike, but a filter answers differently.

    ``other`` is ``call`` with ``bit`` of ``argument`` set. The answers are SECCOMP_RET values.
    """

    argument: int
    bit: int
    call: Call
    other: Call
    answer: int
    other_answer: int


def bits_read(tables: Tables, abi: Abi) -> ReadBits:
    """Return the argument bits that a kernel reads, for calls that a program for ``abi`` may see.

    All bits of an unknown parameter count, and none of an argument that the call does not have.
    Unknown numbers are left out: all bits of their arguments count.
    """
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    served = [
        table
        for table in tables.tables.values()
        if table.abi is abi or table.abi.name in abi.siblings or abi.name in table.abi.siblings
    ]
    of_tables = {table.abi: _masks_by_number(table, tables.facts) for table in served}
    for table in served:
        arch = table.abi.audit_arch
        for one in (table, *tables.dispatched_with(table.abi)):
            for nr, masks in of_tables[one.abi].items():
                found[arch, nr] = _either(found.get((arch, nr)), masks)
    return found


def _masks_by_number(table: Table, facts: Facts) -> dict[int, tuple[int, ...]]:
    """Return the bits that are read of a table's calls; two names of a number are united."""
    found: dict[int, tuple[int, ...]] = {}
    everything = (1 << table.abi.argument_bits) - 1
    for name, nr in table.numbers.items():
        prototype = facts.prototype(name, table.abi)
        bits: list[int | None] = [None] * 6
        if prototype:
            bits = [*(one.bits for one in prototype.parameters), *[0] * 6][:6]
        masks = tuple(everything if n is None else everything & (1 << n) - 1 for n in bits)
        found[nr] = _either(found.get(nr), masks)
    return found


def _either(a: tuple[int, ...] | None, b: tuple[int, ...]) -> tuple[int, ...]:
    return b if a is None else tuple(one | other for one, other in zip(a, b, strict=True))


def indistinguishable_calls(
    side: FilterSemantics, read: ReadBits
) -> tuple[IndistinguishableCalls, ...]:
    """Return for each call of ``read`` and each argument a pair that ``side`` answers differently.

    An empty result proves that there is no pair. ``side`` has been run on both calls of a pair.
    Raises UndecidedError if neither `classes` nor z3, if it is installed, can decide.
    """
    try:
        found = by_classes(side, read)
    except UndecidedError as error:
        if find_spec("z3") is None:
            raise UndecidedError(f"cannot be decided: {error}; {INSTALL_Z3}") from None
        found = by_z3(side, read)
    return tuple(sorted(found, key=lambda one: (one.call.arch, one.call.nr, one.argument)))


def by_classes(side: FilterSemantics, read: ReadBits) -> list[IndistinguishableCalls]:
    """Return the pairs as `classes` finds them, in no order."""
    return _Search(side, read).pairs()


def by_z3(side: FilterSemantics, read: ReadBits) -> list[IndistinguishableCalls]:
    """Return the pairs as z3 finds them, in no order."""
    from seccompgen.verify import smt  # noqa: PLC0415 - z3 is an extra, and takes 70 ms

    return [
        _pair(side, call, argument, read)
        for argument in _ARGUMENTS
        for call in smt.answered_otherwise(side, read, argument)
    ]


def _pair(
    side: FilterSemantics, call: Call, argument: int, read: ReadBits
) -> IndistinguishableCalls:
    """Return a pair between ``call`` and the same call without the unread bits of ``argument``."""
    value, bits = call.args[argument], read[call.arch, call.nr][argument]
    here = _with_argument(call, argument, value & bits)
    answer = side.answer(here)
    for bit in range(64):
        if value & 1 << bit:
            other = _with_argument(here, argument, here.args[argument] | 1 << bit)
            other_answer = side.answer(other)
            if other_answer != answer:
                return IndistinguishableCalls(argument, bit, here, other, answer, other_answer)
            here = other
    raise UndecidedError(
        f"found different answers to what the kernel takes as {here}, but the filter answers alike "
        "when it is run: this is a mistake in seccompgen, please report it"
    )


def _with_argument(call: Call, argument: int, value: int) -> Call:
    args = list(call.args)
    args[argument] = value
    a, b, c, d, e, f = args
    return replace(call, args=(a, b, c, d, e, f))


class _Search(Exploration):
    """Looks for pairs by `classes`."""

    def __init__(self, side: FilterSemantics, read: ReadBits) -> None:
        super().__init__()
        self._side = side
        self._follower = follower(side)
        self._read = read

    def pairs(self) -> list[IndistinguishableCalls]:
        """Return the pairs in no order."""
        side = self._follower
        found: list[IndistinguishableCalls] = []
        doubtful = self._doubtful()
        of_numbers = {key: Question(_NR, among=frozenset(nrs)) for key, nrs in doubtful.items()}
        if not of_numbers:
            return found
        of_archs = {arch: Question(_ARCH, k=arch) for arch, _, _ in of_numbers}
        divided = self.divided_numbers([side], {*of_numbers.values(), *of_archs.values()})
        for box, state in self.followed(side, side.start, divided, pausing=True):
            for (arch, argument, bits), numbers in of_numbers.items():
                if part := self._part(box, of_archs[arch], numbers):
                    found += self._pairs(part, state, arch, argument, bits)
        return found

    def _doubtful(self) -> dict[tuple[int, int, int], set[int]]:
        """Return the numbers of calls of whose arguments the filter may compare unread bits.

        The keys are audit value, argument, and the bits that are read. No other call can have a
        pair: from the first look at its arguments on, only bits that are read are compared.
        """
        compared: dict[State | int, list[int]] = {}
        found: dict[tuple[int, int, int], set[int]] = defaultdict(set)
        for (arch, nr), masks in self._read.items():
            state = self._start_of_arguments(nr, arch)
            if state not in compared:
                compared[state] = self._compared(state)
            for argument, bits in enumerate(compared[state]):
                if bits & ~masks[argument]:
                    found[arch, argument, masks[argument]].add(nr)
        return found

    def _start_of_arguments(self, nr: int, arch: int) -> State | int:
        """Return the state where the filter first looks at other words, or its answer."""
        state: State | int = self._follower.start
        values = {_NR: nr, _ARCH: arch}
        while not isinstance(state, int):
            step = self._follower.step(state)
            if not isinstance(step, Ask):
                return step
            if step.question.word not in values:
                break
            yes = step.question.holds(values[step.question.word])
            state = step.true if yes else step.false
        return state

    def _compared(self, state: State | int) -> list[int]:
        """Return the bits of each argument that may be compared from ``state`` on."""
        found = [0] * 6
        waiting, seen = [state], {state}
        while waiting:
            here = waiting.pop()
            step = here if isinstance(here, int) else self._follower.step(here)
            if isinstance(step, Ask):
                word, mask = step.question.word, step.question.mask
                if word.argument in _ARGUMENTS:
                    found[word.argument] |= mask << word.shift
                new = {step.true, step.false} - seen
                seen |= new
                waiting += new
        return found

    def _part(self, box: Box, *questions: Question) -> Box | None:
        """Return the part of ``box`` for which all answers are yes, None if there is none."""
        for question in questions:
            box, answer = next(self.halves(box, question))
            if not answer:
                return None
        return box

    def _pairs(
        self, box: Box, state: State | int, arch: int, argument: int, bits: int
    ) -> Iterator[IndistinguishableCalls]:
        """Yield a pair for each number of ``box`` that has one."""
        left: Box | None = box
        words = zip(argument_words(argument), _halves(bits), strict=True)
        masked = _MaskingFollower(self._follower, dict(words))
        while left:
            sides = ((self._follower, state), (masked, masked.at(state)))
            call = self.compare_arguments(left, *sides, zero=arch in ZERO_HIGH_WORDS)
            if not isinstance(call, Call):
                return
            yield _pair(self._side, call, argument, self._read)
            number = Question(_NR, k=call.nr)
            left = next((rest for rest, yes in self.halves(left, number) if not yes), None)


def _halves(bits: int) -> tuple[int, int]:
    return bits & U32, bits >> 32


class _MaskingFollower(Follower):
    """Follows a filter as if it saw only some bits of words."""

    def __init__(self, inner: Follower, bits: Mapping[Word, int]) -> None:
        super().__init__(inner.start)
        self._inner = inner
        self._bits = bits

    def at(self, state: State | int) -> State | int:
        """Return the state of this follower for a state of the inner one."""
        return state if isinstance(state, int) else self._state(state)

    def _next(self, state: State) -> Step:
        step = self._inner.step(state)
        if not isinstance(step, Ask):
            return step
        question, *ways = step
        if question.word in self._bits:
            question = question._replace(mask=question.mask & self._bits[question.word])
        return Ask(question, *map(self._state, ways))
