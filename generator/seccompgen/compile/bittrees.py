"""The best tests of bits for a word of which few bits matter, by exact search.

Bits that only matter together, in that any of them is set, count as one. What is left are up to
``_MOST_BITS`` bits, and each state of the search is what the tests so far have left: for each label
a set of combinations of these. Tests are ``jset`` and the masks of the policy, as far as the
bits tell what is under them.

What is optimal
    Best among all trees whose tests look at one bit, or lead to one label on one side. Of those
    with several bits the best are few: where some bit is to mean a label, all bits that nothing
    else has; where none is, those that the largest combinations of that label lack.

What is not
    Past ``_MOST_STATES`` states only the test is tried that takes most to one label. Other masks
    than the policy's are not compared with numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.compile.tree import SCALE, UNBOUNDED
from seccompgen.compile.words import YES
from seccompgen.compile.wordtrees import Known, Split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.compile.tree import Costs
    from seccompgen.compile.words import WordId, Words
    from seccompgen.compile.wordtrees import WordTrees

_MOST_BITS = 10
_MOST_NODES = 400
"""Larger diagrams are not looked at."""
_MOST_STATES = 500
_MOST_LACKING = 3
"""So many of the largest combinations of a label are tried."""

_Points: TypeAlias = int
"""Combinations of bits: bit p for the combination p."""
_State: TypeAlias = "tuple[_Points, ...]"
"""The combinations that are left of each label."""


def bits_together(words: Words, line: WordId) -> list[int] | None:
    """Return masks of the bits that matter, each of bits that matter only in that any is set.

    Return None if these are too many.
    """
    if words.size(line) > _MOST_NODES:
        return None
    alike: dict[WordId, int] = {}
    support = words.support(line)
    while support:
        bit = support & -support
        support ^= bit
        # If what is left of the function is the same for two bits, it asks for neither of them.
        left = words.restricted(line, words.masked(bit, bit), YES)
        alike[left] = alike.get(left, 0) | bit
        if len(alike) > _MOST_BITS:
            return None
    return list(alike.values())


class _Choice(NamedTuple):
    """A test of the word, and the states where it is ``k`` under the mask and where not."""

    mask: int
    k: int
    equal: _State
    rest: _State


class BitSearch:
    """The search for the function ``line`` of the bits ``together``; the rest as in WordSearch."""

    def __init__(
        self,
        words: Words,
        line: WordId,
        together: Sequence[int],
        ends: Costs,
        price: int,
        masks: Sequence[tuple[int, int]],
    ) -> None:
        self._ends = ends
        self._price = price
        self._together = together
        count = len(together)
        all_points = (1 << (1 << count)) - 1
        # The combinations that have a bit.
        self._having = [
            all_points // ((1 << (2 << bit)) - 1) * ((1 << (1 << bit)) - 1) << (1 << bit)
            for bit in range(count)
        ]
        points = self._table(words, line, all_points)
        self._labels = list(points)
        self._start: _State = tuple(points.values())
        self._masks = [cube for mask, k in masks if (cube := self._cube(mask, k)) is not None]
        self._weights: list[tuple[_Points, int]] = []
        self._rest = 0
        self._known: dict[_State, tuple[int, _Choice | None]] = {}
        self._any: dict[int, tuple[_Points, int]] = {}

    def _table(self, words: Words, line: WordId, all_points: _Points) -> dict[int, _Points]:
        """Return the combinations for each label, in order of the labels."""
        # The lowest bit speaks for those that count as one.
        having = {
            bits & -bits: points for bits, points in zip(self._together, self._having, strict=True)
        }
        known: dict[WordId, dict[int, _Points]] = {}

        def table(at: WordId) -> dict[int, _Points]:
            label = words.outcome(at)
            if label is not None:
                assert isinstance(label, int)
                return {label: all_points}
            if at not in known:
                bit, zero, one = words.highest(at)
                found = table(zero)
                if bit in having:
                    found = {label: points & ~having[bit] for label, points in found.items()}
                    for label, points in table(one).items():
                        found[label] = found.get(label, 0) | points & having[bit]
                known[at] = found
            return known[at]

        return {label: points for label, points in sorted(table(line).items()) if points}

    def _cube(self, mask: int, k: int) -> tuple[int, int, _Points] | None:
        """Return what a test asks of the bits that matter, and the combinations where it holds.

        Return None where that is no question of these combinations.
        """
        found = sum(self._start)
        asked = 0
        for having, bits in zip(self._having, self._together, strict=True):
            if k & bits and bits & (bits - 1):
                return None
            if k & bits:
                found &= having
            elif mask & bits == bits:
                found &= ~having
            elif mask & bits:
                return None
            asked |= mask & bits
        return (asked, k & asked, found) if k & asked else None

    def best(self, seen: Sequence[tuple[int, int]], rest: int) -> WordTrees:
        """Return the best trees where values come as ``seen``, and all others ``rest`` times."""
        self._rest = rest
        self._weights = []
        for value, weight in seen:
            point = sum(1 << n for n, bits in enumerate(self._together) if value & bits)
            self._weights.append((1 << point, weight))
        return self._trees(self._start)

    def _trees(self, state: _State) -> WordTrees:
        choice = self._solve(state)[1]
        if choice is None:
            label = next(i for i, points in enumerate(state) if points)
            return Known(self._labels[label], self._weight(state), self._ends)
        equal, rest = self._trees(choice.equal), self._trees(choice.rest)
        return Split(choice.mask, choice.k, equal, rest, self._price)

    def _weight(self, state: _State) -> int:
        care = sum(state)
        weight = sum(weight for point, weight in self._weights if care & point)
        return weight + max(self._rest * care.bit_count() >> len(self._together), 1)

    def _solve(self, state: _State) -> tuple[int, _Choice | None]:
        """Return the least cost of ``state``, and how it begins."""
        found = self._known.get(state)
        if found is not None:
            return found
        labels = [i for i, points in enumerate(state) if points]
        weight = self._weight(state)
        if len(labels) == 1:
            end = int(self._ends[self._labels[labels[0]], UNBOUNDED])
            found = self._known[state] = weight * end, None
            return found
        test = weight * SCALE + self._price
        best: tuple[int, _Choice | None] | None = None
        choices = list(self._choices(state, labels))
        if len(self._known) > _MOST_STATES:
            choices = [max(choices, key=self._worth)]
        for choice in choices:
            cost = test + self._solve(choice.equal)[0] + self._solve(choice.rest)[0]
            if choice.k:
                cost += test  # the mask; and the load if the word is asked again
                if sum(map(bool, choice.rest)) > 1:
                    cost += self._weight(choice.rest) * SCALE + self._price
            if best is None or cost < best[0]:
                best = cost, choice
        assert best is not None
        self._known[state] = best
        return best

    def _worth(self, choice: _Choice) -> tuple[bool, int]:
        """Tell which test to take where no other is tried."""
        sides = sorted([choice.equal, choice.rest], key=lambda side: sum(map(bool, side)))
        return sum(map(bool, sides[0])) == 1, self._weight(sides[0]) >> (choice.k > 0)

    def _choices(self, state: _State, labels: Sequence[int]) -> Iterator[_Choice]:
        care = sum(state)
        for label in labels:
            others = care ^ state[label]
            for bits in self._deciding(state[label], others):
                yield self._any_bit(state, bits)
        for mask, k, cube in [*self._masks, *(self._around(state[label]) for label in labels)]:
            inside = [points & cube for points in state]
            if k and sum(map(bool, inside)) == 1:
                yield _Choice(mask, k, tuple(inside), tuple(p & ~cube for p in state))
        for bit, having in enumerate(self._having):
            if care & having and care & ~having:
                yield self._any_bit(state, 1 << bit)

    def _deciding(self, own: _Points, others: _Points) -> Iterator[int]:
        """Yield sets of bits one side of which has combinations of ``own`` alone."""
        some, bits = 0, 0
        for bit, having in enumerate(self._having):
            if not others & having:
                some |= own & having
                bits |= 1 << bit
        if some:
            yield bits
        # Combinations that include one of the others, and those that include one of the own.
        above, reached = others, own
        for bit, having in enumerate(self._having):
            above |= (above & ~having) << (1 << bit)
            reached |= (reached & ~having) << (1 << bit)
        good = reached & ~above
        largest = good
        for bit, having in enumerate(self._having):
            largest &= ~((good & having) >> (1 << bit))
        whole = (1 << len(self._together)) - 1
        for _ in range(_MOST_LACKING):
            if not largest:
                return
            point = largest.bit_length() - 1
            largest ^= 1 << point
            if point != whole:
                yield whole & ~point

    def _around(self, own: _Points) -> tuple[int, int, _Points]:
        """Return the smallest set that a mask can tell, with all combinations of ``own`` in it."""
        mask = k = 0
        cube = sum(self._start)
        for having, bits in zip(self._having, self._together, strict=True):
            if not own & having:
                mask |= bits
                cube &= ~having
            elif not own & ~having and not bits & (bits - 1):
                mask |= bits
                k |= bits
                cube &= having
        return mask, k, cube

    def _any_bit(self, state: _State, bits: int) -> _Choice:
        found = self._any.get(bits)
        if found is None:
            having = mask = 0
            for bit, points in enumerate(self._having):
                if bits >> bit & 1:
                    having |= points
                    mask |= self._together[bit]
            found = self._any[bits] = having, mask
        having, mask = found
        equal = tuple(points & ~having for points in state)
        return _Choice(mask, 0, equal, tuple(points & having for points in state))
