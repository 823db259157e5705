"""Sets of 32-bit values by their bits, for words that fall into too many classes.

A set is a reduced ordered binary decision diagram, the highest bit first, each node made once
(Bryant, Graph-Based Algorithms for Boolean Function Manipulation, 1986). Nothing is enumerated: a
set's size depends on how intricate the comparisons are that made it. The compiler's diagrams are
deliberately not used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.verify.followers import Question

_BITS = 32
_STEPS = 10
"""The steps that a new node counts for: it takes half a kilobyte, with cached results."""


@dataclass(frozen=True, slots=True, eq=False)
class ValueSet:
    """A set of values: ``zero`` if the bit at ``level`` is 0, ``one`` if it is 1.

    Level 0 is the highest bit. The empty set and the set of all values are at level 32:
    `BitSets.nothing` and `BitSets.all`.
    """

    level: int
    zero: ValueSet | None
    one: ValueSet | None
    sets: BitSets = field(repr=False)

    def __bool__(self) -> bool:
        return self is not self.sets.nothing

    def __and__(self, other: ValueSet) -> ValueSet:
        return self.sets.both(self, other)

    def __xor__(self, other: ValueSet) -> ValueSet:
        return self.sets.either_not_both(self, other)


class BitSets:
    """The sets of one word; replaces `partition.Classes` with ``all``, ``true`` and ``least``.

    Steps are reported to ``count``; a new node counts for ``_STEPS``.
    """

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count
        self._known: dict[tuple[int, ValueSet, ValueSet], ValueSet] = {}
        self._both: dict[tuple[ValueSet, ValueSet], ValueSet] = {}
        self._xor: dict[tuple[ValueSet, ValueSet], ValueSet] = {}
        self._answers: dict[Question, ValueSet] = {}
        self.nothing = ValueSet(_BITS, None, None, self)
        self.all = ValueSet(_BITS, None, None, self)

    def _node(self, level: int, zero: ValueSet, one: ValueSet) -> ValueSet:
        if zero is one:
            return zero
        key = (level, zero, one)
        found = self._known.get(key)
        if found is None:
            self._count(_STEPS)
            found = self._known[key] = ValueSet(level, zero, one, self)
        return found

    def _halves(self, a: ValueSet, level: int) -> tuple[ValueSet, ValueSet]:
        if a.level > level:
            return a, a
        assert a.zero is not None
        assert a.one is not None
        return a.zero, a.one

    def both(self, a: ValueSet, b: ValueSet) -> ValueSet:
        """Return the intersection of a and b; the recursion is at most 32 deep."""
        if a is self.nothing or b is self.all or a is b:
            return a
        if b is self.nothing or a is self.all:
            return b
        return self._halved(self._both, self.both, a, b)

    def either_not_both(self, a: ValueSet, b: ValueSet) -> ValueSet:
        """Return the symmetric difference of a and b."""
        if a is b:
            return self.nothing
        if a is self.nothing or b is self.nothing:
            return a if b is self.nothing else b
        return self._halved(self._xor, self.either_not_both, a, b)

    def _halved(
        self,
        known: dict[tuple[ValueSet, ValueSet], ValueSet],
        operation: Callable[[ValueSet, ValueSet], ValueSet],
        a: ValueSet,
        b: ValueSet,
    ) -> ValueSet:
        """Apply ``operation`` to both halves of two sets; ``known`` caches the results."""
        found = known.get((a, b))
        if found is None:
            self._count(1)
            level = min(a.level, b.level)
            (a0, a1), (b0, b1) = self._halves(a, level), self._halves(b, level)
            found = self._node(level, operation(a0, b0), operation(a1, b1))
            known[a, b] = found
        return found

    def true(self, question: Question) -> ValueSet:
        """Return the values for which the answer is yes."""
        found = self._answers.get(question)
        if found is None:
            found = self._answers[question] = self._true(question)
        return found

    def _true(self, question: Question) -> ValueSet:
        """Build the set from the lowest bit up: what lower bits leave open, higher ones decide."""
        assert question.among is None
        mask, k = question.mask, question.k
        result = self.nothing if question.more else self.all
        for bit in range(_BITS):
            masked, constant = mask >> bit & 1, k >> bit & 1
            # With this bit 0 and 1: the same as below, where it equals the constant's; else the
            # word is more or less than the constant.
            decided = [self.all if question.more and not constant else self.nothing] * 2
            decided[constant] = result
            if not masked:
                decided[1] = decided[0]
            result = self._node(_BITS - 1 - bit, *decided)
        return result

    def least(self, values: ValueSet) -> int:
        """Return the least member of a set that is not empty."""
        found = 0
        while values is not self.all:
            zero, one = self._halves(values, values.level)
            if not zero:
                found |= 1 << (_BITS - 1 - values.level)
            values = zero or one
        return found
