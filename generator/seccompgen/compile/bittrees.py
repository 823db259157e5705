"""The best tests of bits for a word in which few bits matter, by exact search.

Bits of which it only matters whether any is set count as one. That leaves up to ``_MOST_BITS``
bits. A state of the search is the set of their combinations that the tests so far leave for each
label. Tests are ``jset``, and masked comparisons that these bits decide.

What is optimal
    Best among all trees whose tests look at one bit, or lead to a single label on one side. Few
    tests of several bits need trying: if any set bit is to decide for a label, all bits that no
    other label has; if no set bit is to, the bits that the label's largest combinations lack.

What is not
    Past ``_FEW_STATES`` states only the test that takes most weight to one label is tried; past
    ``_MOST_STATES`` the search gives up. Masked comparisons are the policy's, and for each label
    the narrowest that holds for all of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.compile.tree import SCALE
from seccompgen.compile.words import YES
from seccompgen.compile.wordtrees import OneLabel, Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.compile.tree import Costs
    from seccompgen.compile.words import WordDiagrams, WordId
    from seccompgen.compile.wordtrees import WordTrees

_MOST_BITS = 10
_MOST_NODES = 400
"""Larger diagrams are not looked at."""
_FEW_STATES, _MOST_STATES = 500, 3_000
_MOST_LACKING = 3
"""The most combinations of a label, the largest first, that are tried."""
_MOST_CACHED = 32
"""The number of questions, and of their results, that are cached."""

_Points: TypeAlias = int
"""A set of combinations of bits: bit p for the combination p."""
_Bits: TypeAlias = int
"""A set of the bits that matter: bit n for the n-th of them."""


def bits_together(words: WordDiagrams, line: WordId) -> list[int] | None:
    """Return masks of the bits that matter; of each mask it matters only whether any bit is set.

    Return None if there are too many masks.
    """
    if words.size(line) > _MOST_NODES:
        return None
    alike: dict[WordId, int] = {}
    support = words.support(line)
    while support:
        bit = support & -support
        support ^= bit
        # Two bits that leave the same function when set count as one.
        left = words.restricted(line, words.masked(bit, bit), YES)
        alike[left] = alike.get(left, 0) | bit
        if len(alike) > _MOST_BITS:
            return None
    return list(alike.values())


class BitQuestions(NamedTuple):
    """A function of few bits: masks of bits that count ``together``, ``labels``, possible tests.

    It does not depend on what the labels lead to, or how often.
    """

    together: Sequence[int]
    labels: Sequence[int]
    asked: _Questions


def bit_questions(
    words: WordDiagrams, line: WordId, masks: Sequence[tuple[int, int]]
) -> BitQuestions | None:
    """Return ``line`` as a function of few bits, or None; ``masks`` as in LineFacts."""
    together = bits_together(words, line)
    if together is None:
        return None
    points = _table(words, line, together)
    single = sum(1 << n for n, bits in enumerate(together) if not bits & (bits - 1))
    cubes = [cube for mask, k in masks if (cube := _cube(together, mask, k)) is not None]
    asked = _questions(len(together), single, tuple(points.values()), tuple(cubes))
    return BitQuestions(together, list(points), asked)


def _cube(together: Sequence[int], mask: int, k: int) -> _Cube | None:
    """Return ``word & mask == k`` as a test of the bits that matter; None if they do not decide it.

    Also return None if no bit must be set, since ``jset`` does that.
    """
    asked = wanted = 0
    if k & ~mask:
        return None
    for n, bits in enumerate(together):
        if k & bits:
            if bits & (bits - 1):
                return None
            wanted |= 1 << n
        elif mask & bits not in (0, bits):
            return None
        if mask & bits:
            asked |= 1 << n
    return _Cube(asked, wanted) if wanted else None


class _TooManyStatesError(Exception):
    """The search takes too long."""


class _Best:
    """The best tests from each state on, for combinations of bits that come with ``weights``.

    Every tree leads a combination to the same label. So what follows at the ends costs the same
    for all trees, but for rounding; only the tests differ, whatever the labels mean.
    """

    def __init__(
        self, asked: _Questions, weights: tuple[tuple[_Points, int], ...], rest: int, price: int
    ) -> None:
        self._asked = asked
        self._seen = weights
        self._rest = rest
        self._price = price
        self._costs: dict[_BitState, int] = {}
        self._weights: dict[_BitState, int] = {}
        self.choices: dict[_BitState, _Choice] = {}
        self.gave_up = False
        try:
            self._cost(asked.start)
        except _TooManyStatesError:
            self.gave_up = True

    @property
    def states(self) -> int:
        """The number of states that were looked at."""
        return len(self._costs)

    def weight(self, state: _BitState) -> int:
        """Return the weight of the values that reach ``state``."""
        found = self._weights.get(state)
        if found is None:
            care = state.care
            found = max(self._rest * state.count >> self._asked.count, 1)
            for point, more in self._seen:
                if care & point:
                    found += more
            self._weights[state] = found
        return found

    def _least(self, state: _BitState) -> int:
        """Return a lower bound on the cost of the tests from ``state`` on.

        n labels need at least n - 1 tests.
        """
        found = self._costs.get(state)
        if found is not None:
            return found
        tests = len(state.labels) - 1
        return tests and self.weight(state) * SCALE + tests * self._price

    def _cost(self, state: _BitState) -> int:
        """Return the cost of the best tests from ``state`` on, and record the first of them."""
        found = self._costs.get(state)
        if found is not None:
            return found
        if len(state.labels) == 1:
            self._costs[state] = 0
            return 0
        choices = self._asked.choices(state)
        if len(self._costs) > _MOST_STATES:
            raise _TooManyStatesError
        if len(self._costs) > _FEW_STATES:
            choices = [max(choices, key=self._rating)]
        test = self.weight(state) * SCALE + self._price
        least, best = 0, None
        for choice in choices:
            cube, equal, rest = choice
            cost = test
            if cube.wanted:
                cost += test  # the mask; and the load if the word is asked again
                if len(rest.labels) > 1:
                    cost += self.weight(rest) * SCALE + self._price
            if best is not None and cost + self._least(equal) + self._least(rest) >= least:
                continue
            cost += self._cost(equal)
            if best is not None and cost + self._least(rest) >= least:
                continue
            cost += self._cost(rest)
            if best is None or cost < least:
                least, best = cost, choice
        assert best is not None
        self._costs[state] = least
        self.choices[state] = best
        return least

    def _rating(self, choice: _Choice) -> tuple[bool, int]:
        """Return the rating of ``choice``, where only the best rated test is tried."""
        fewer = min(choice.equal, choice.rest, key=lambda side: len(side.labels))
        return len(fewer.labels) == 1, self.weight(fewer) >> (choice.cube.wanted > 0)


_best = lru_cache(maxsize=_MOST_CACHED)(_Best)


class BitSearch:
    """The search for a function of few bits, with the values and weights ``seen``.

    ``rest`` is the weight of all other values; ``price`` is as in LineFacts.
    """

    def __init__(
        self, questions: BitQuestions, seen: Iterable[tuple[int, int]], rest: int, price: int
    ) -> None:
        self._together, self._labels, asked = questions
        self._price = price
        weights: dict[_Points, int] = {}
        for value, weight in seen:
            point = 1 << sum(1 << n for n, bits in enumerate(self._together) if value & bits)
            weights[point] = weights.get(point, 0) + weight
        self._start = asked.start
        self._best = _best(asked, tuple(sorted(weights.items())), rest, price)

    @property
    def gave_up(self) -> bool:
        """True if there were too many states to find a tree."""
        return self._best.gave_up

    @property
    def states(self) -> int:
        """The number of states that were looked at."""
        return self._best.states

    def best(self, ends: Costs) -> WordTrees:
        """Return the best trees; ``ends`` are the costs of what follows each label."""
        return self._trees(self._start, ends)

    def _trees(self, state: _BitState, ends: Costs) -> WordTrees:
        choice = self._best.choices.get(state)
        if choice is None:
            (label,) = state.labels
            return OneLabel(self._labels[label], self._best.weight(state), ends)
        sides = self._trees(choice.equal, ends), self._trees(choice.rest, ends)
        mask, k = (
            sum(bits for n, bits in enumerate(self._together) if some >> n & 1)
            for some in choice.cube
        )
        return Split(mask, k, *sides, self._price)


def _table(words: WordDiagrams, line: WordId, together: Sequence[int]) -> dict[int, _Points]:
    """Return the combinations of ``together`` for each label of ``line``, in their order."""
    all_points, each = _having(len(together))
    # The lowest bit represents those that count as one.
    having = {bits & -bits: points for bits, points in zip(together, each, strict=True)}
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


@lru_cache(maxsize=16)
def _having(count: int) -> tuple[_Points, tuple[_Points, ...]]:
    """Return all combinations of ``count`` bits, and for each bit the combinations with it."""
    every = (1 << (1 << count)) - 1
    return every, tuple(
        every // ((1 << (2 << bit)) - 1) * ((1 << (1 << bit)) - 1) << (1 << bit)
        for bit in range(count)
    )


class _Cube(NamedTuple):
    """The test that, of the bits ``asked``, exactly those ``wanted`` are set."""

    asked: _Bits
    wanted: _Bits


class _BitState:
    """The combinations that earlier tests leave for each label: ``points``.

    ``care`` is their union, ``count`` their number, ``labels`` the labels that have any.
    """

    __slots__ = ("care", "choices", "count", "labels", "points")

    def __init__(self, points: tuple[_Points, ...]) -> None:
        self.points = points
        self.care = sum(points)
        self.count = self.care.bit_count()
        self.labels = [label for label, own in enumerate(points) if own]
        self.choices: list[_Choice] | None = None


class _Choice(NamedTuple):
    """A test, the state where it holds (``equal``), and the state where it fails (``rest``)."""

    cube: _Cube
    equal: _BitState
    rest: _BitState


class _Questions:
    """The tests worth trying in each state, whatever their cost.

    They are cached: one function of a word is searched with many weights, and on every ABI.
    """

    def __init__(
        self, count: int, single: _Bits, start: tuple[_Points, ...], cubes: Sequence[_Cube]
    ) -> None:
        self.count = count
        self._all_points, self._having = _having(count)
        self._bits = tuple(
            (1 << bit, having, self._all_points ^ having) for bit, having in enumerate(self._having)
        )
        self._whole: _Bits = (1 << count) - 1
        self._single = single
        self._cubes = [(cube, self._holding(cube)) for cube in cubes]
        self._some: dict[_Bits, _Points] = {}
        self._states: dict[tuple[_Points, ...], _BitState] = {}
        self.start = self._state(start)

    def _state(self, points: tuple[_Points, ...]) -> _BitState:
        found = self._states.get(points)
        if found is None:
            found = self._states[points] = _BitState(points)
        return found

    def _holding(self, cube: _Cube) -> _Points:
        """Return the combinations for which the test holds."""
        found = self._all_points
        for bit, having in enumerate(self._having):
            if cube.wanted >> bit & 1:
                found &= having
            elif cube.asked >> bit & 1:
                found &= ~having
        return found

    def choices(self, state: _BitState) -> list[_Choice]:
        """Return the tests for ``state``; of tests that divide it alike, the first.

        If a single instruction separates the only two labels, return just that.
        """
        if state.choices is None:
            choices: dict[_Choice, None] = {}
            for choice in self._choices(state):
                if not choice.cube.wanted and len(choice.equal.labels + choice.rest.labels) == 2:
                    choices = {choice: None}
                    break
                choices[choice] = None
            state.choices = list(choices)
        return state.choices

    def _choices(self, state: _BitState) -> Iterator[_Choice]:
        care = state.care
        parted: set[_Points] = {0, care}
        for label in state.labels:
            own = state.points[label]
            for bits in self._deciding(own, care ^ own):
                yield from self._any_bit(state, bits, parted)
        around = (self._around(state.points[label]) for label in state.labels)
        for cube, holding in (*self._cubes, *around):
            equal = tuple([points & holding for points in state.points])
            if cube.wanted and sum(map(bool, equal)) == 1:
                rest = tuple([points & ~holding for points in state.points])
                yield _Choice(cube, self._state(equal), self._state(rest))
        for bit, _, _ in self._bits:
            yield from self._any_bit(state, bit, parted)

    def _deciding(self, own: _Points, others: _Points) -> Iterator[_Bits]:
        """Yield sets of bits; testing for any of them leaves only ``own`` on one side."""
        some, bits = 0, 0
        # Supersets of the others' combinations (above), and of its own (reached).
        above, reached = others, own
        for bit, having, lacking in self._bits:
            if not others & having:
                some |= own & having
                bits |= bit
            above |= (above & lacking) << bit
            reached |= (reached & lacking) << bit
        if some:
            yield bits
        good = reached & ~above
        largest = good
        for bit, having, _ in self._bits:
            largest &= ~((good & having) >> bit)
        for _ in range(_MOST_LACKING):
            if not largest:
                return
            point = largest.bit_length() - 1
            largest ^= 1 << point
            if point != self._whole:
                yield self._whole & ~point

    def _around(self, own: _Points) -> tuple[_Cube, _Points]:
        """Return the narrowest masked comparison that all of ``own`` pass, and all that pass."""
        asked = wanted = 0
        for bit, having in enumerate(self._having):
            if not own & having:
                asked |= 1 << bit
            elif not own & ~having and self._single >> bit & 1:
                asked |= 1 << bit
                wanted |= 1 << bit
        cube = _Cube(asked, wanted)
        return cube, self._holding(cube) if wanted else 0

    def _any_bit(self, state: _BitState, bits: _Bits, parted: set[_Points]) -> Iterator[_Choice]:
        """Yield the test for any of ``bits``, unless ``parted`` has its division of ``state``."""
        some = self._some.get(bits)
        if some is None:
            some = 0
            for bit, having, _ in self._bits:
                if bits & bit:
                    some |= having
            self._some[bits] = some
        there = state.care & some
        if there in parted:
            return
        parted.add(there)
        parted.add(state.care ^ there)
        having_one = tuple([points & some for points in state.points])
        none = tuple([a ^ b for a, b in zip(state.points, having_one)])  # noqa: B905 - equally long
        yield _Choice(_Cube(bits, 0), self._state(none), self._state(having_one))


_questions = lru_cache(maxsize=_MOST_CACHED)(_Questions)
