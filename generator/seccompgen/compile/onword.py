"""The best tests on one word: on its intervals, and under the masks that the policy has."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from seccompgen.compile.search import Search
from seccompgen.compile.tree import (
    IMPOSSIBLE,
    SCALE,
    UNBOUNDED,
    Bits,
    Item,
    Masked,
    later,
    less,
)
from seccompgen.compile.words import NO, YES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.compile.search import Effort
    from seccompgen.compile.tree import Costs, Tree
    from seccompgen.compile.words import WordId, Words

Seen: TypeAlias = "Sequence[tuple[int, int]]"
"""Values of a word in ascending order, with their weights."""

Sample: TypeAlias = tuple[tuple[int, ...], int]
"""Six arguments, and how often they are seen."""

_MOST_RUNS = 10_000
"""Words with more intervals are tested by their bits."""
_FEW_RUNS = 64
"""Words with more intervals are not searched as such where a mask helps."""
_RUNS_OF_A_NODE = 4
"""Words with more intervals than so many times their nodes repeat themselves, as masks make them
do; beyond ``_FEW_RUNS`` they are tested by their bits. Listed values have more nodes than that."""
_MOST_MASKS = 3
"""So many masks are tried, those that leave the fewest intervals."""
_MOST_TRIED = 100
"""After so many functions of a word only the best mask is tried."""
_MOST_BY_BITS = 64
"""So many functions of a word are tested by their highest bit."""
_MOST_RESTRICTIONS = 8
"""After that has failed, a mask is tried so often by what it leaves to ask."""


class TooManyError(Exception):
    """The rules have no diagram of reasonable size."""


class _Line:
    """The best trees for a word whose values fall into few intervals."""

    def __init__(self, items: Sequence[Item], ends: Costs, price: int, effort: Effort) -> None:
        self._search = Search(items, ends, price, effort)
        self.costs: Costs = self._search.costs
        self.weight: int = sum(item.weight for item in items)
        self.is_end = len(items) == 1

    def tree(self, budget: int) -> Tree:
        return self._search.tree(budget)


class _Split:
    """A test under a mask, above two other trees. Unless ``k`` is 0 the test destroys the word."""

    def __init__(self, mask: int, k: int, equal: WordTrees, rest: WordTrees, price: int) -> None:
        self._mask, self._k = mask, k
        self._branches = equal, rest
        self._destroys = k != 0
        self.weight: int = equal.weight + rest.weight
        self.is_end = False
        costs: Costs = self._entered(equal, price) + self._entered(rest, price)
        for _ in range(1 + self._destroys):
            costs = later(costs) + self.weight * SCALE + price
        self.costs: Costs = np.minimum(costs, IMPOSSIBLE)

    def _entered(self, branch: WordTrees, price: int) -> Costs:
        if branch.is_end or not self._destroys:
            return branch.costs
        return later(branch.costs) + branch.weight * SCALE + price

    def tree(self, budget: int) -> Tree:
        rest = less(budget, 1 + self._destroys)
        equal, other = (
            branch.tree(rest if branch.is_end or not self._destroys else less(rest, 1))
            for branch in self._branches
        )
        if self._destroys:
            return Masked(self._mask, self._k, equal, other)
        return Bits(self._mask, other, equal)


WordTrees: TypeAlias = _Line | _Split


class WordSearch:
    """The search for one word; ``ends``, ``price`` and ``effort`` are as in ``Search``.

    ``masks`` are candidates for tests, (mask, k) for ``word & mask == k``. A ``stubborn`` search
    goes on where others give up, for rules that cannot be tested one after the other. ``searched``
    counts the intervals that were searched.
    """

    def __init__(
        self,
        words: Words,
        ends: Costs,
        price: int,
        masks: Sequence[tuple[int, int]],
        effort: Effort,
        *,
        stubborn: bool = False,
    ) -> None:
        self._words = words
        self._ends = ends
        self._price = price
        self._masks = masks
        self._effort = effort
        self._stubborn = stubborn
        self.searched = 0
        self._tried = self._tested_by_bits = self._restrictions = 0
        self._known: dict[tuple[WordId, tuple[tuple[int, int], ...], int], WordTrees] = {}

    def best(self, line: WordId, seen: Seen, rest: int) -> WordTrees:
        """Return the best trees for ``line``, whose outcomes are labels.

        ``rest`` is the weight of values that are not among those ``seen``. A mask is tried where
        it makes both sides simpler; what the other side of a test decides is free on this one,
        and filled in so as to leave few intervals. Where there are too many intervals and no
        mask helps, the bits are tested from the highest down.

        Raises TooManyError where that would make a large tree.
        """
        key = line, tuple(seen), rest
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._best(line, seen, rest)
        return known

    def _best(self, line: WordId, seen: Seen, rest: int) -> WordTrees:
        runs = self._words.runs(line)
        found: list[WordTrees] = []
        for (mask, k), sides in self._helpful(line):
            there = [pair for pair in seen if pair[0] & mask == k]
            elsewhere = [pair for pair in seen if pair[0] & mask != k]
            try:
                equal, other = (
                    self.best(sides[0], there, rest // 2),
                    self.best(sides[1], elsewhere, rest // 2),
                )
            except TooManyError:
                if not self._stubborn:
                    raise
                continue  # another mask, or no mask, may do
            found.append(_Split(mask, k, equal, other, self._price))
        if runs <= _FEW_RUNS or (not found and self._is_listed(line, runs)):
            found.append(self._line(line, seen, rest))
        if found:
            return min(found, key=lambda trees: int(trees.costs[UNBOUNDED]) * SCALE // trees.weight)
        outermost = self._stubborn and self._tested_by_bits == 0
        try:
            return self._by_bits(line, seen, rest)
        except TooManyError:
            split = self._restricted(line, seen, rest) if outermost else None
            if split is None:
                raise
            return split

    def _restricted(self, line: WordId, seen: Seen, rest: int) -> WordTrees | None:
        """Return trees that begin with the mask that leaves least to ask, if one leaves less.

        Here what the other side of a test decides is filled in bit by bit, so that masks come apart
        whose combination has no fewer intervals for any one of them.
        """
        words, best = self._words, None
        self._restrictions += 1
        if self._restrictions > _MOST_RESTRICTIONS:
            return None
        for mask, k in self._masks:
            equal = words.masked(mask, k)
            sides = [words.restricted(line, equal, outcome) for outcome in (YES, NO)]
            sizes = [words.size(side) for side in sides]
            if max(sizes) < words.size(line) and (best is None or sum(sizes) < best[0]):
                best = sum(sizes), mask, k, sides
        if best is None:
            return None
        _, mask, k, (yes, no) = best
        self._tested_by_bits = 0
        there = [pair for pair in seen if pair[0] & mask == k]
        elsewhere = [pair for pair in seen if pair[0] & mask != k]
        with contextlib.suppress(TooManyError):
            equal_trees = self.best(yes, there, rest // 2)
            return _Split(mask, k, equal_trees, self.best(no, elsewhere, rest // 2), self._price)
        return None

    def _is_listed(self, line: WordId, runs: int) -> bool:
        return runs <= min(_MOST_RUNS, _RUNS_OF_A_NODE * self._words.size(line))

    def _helpful(self, line: WordId) -> list[tuple[tuple[int, int], list[WordId]]]:
        """Return the masks that make both sides simpler, the best first, with these sides."""
        words = self._words
        runs = words.runs(line)
        if runs <= 3:
            return []
        self._tried += 1
        found = []
        for mask, k in self._masks:
            equal = words.masked(mask, k)
            sides = [self._simplest(line, equal, wanted) for wanted in (True, False)]
            left = [words.runs(side) for side in sides]
            if max(left) < runs:
                found.append((sum(left), ((mask, k), sides)))
        found.sort(key=lambda pair: pair[0])
        most = _MOST_MASKS if self._tried < _MOST_TRIED else 1
        return [pair for _, pair in found[:most]]

    def _by_bits(self, line: WordId, seen: Seen, rest: int) -> WordTrees:
        self._tested_by_bits += 1
        if self._tested_by_bits > _MOST_BY_BITS:
            raise TooManyError
        bit, zero, one = self._words.highest(line)
        without = self.best(zero, [pair for pair in seen if not pair[0] & bit], rest)
        having = self.best(one, [pair for pair in seen if pair[0] & bit], rest)
        return _Split(bit, 0, without, having, self._price)

    def _simplest(self, line: WordId, test: WordId, wanted: bool) -> WordId:
        """Return ``line`` where the outcome of ``test`` is ``wanted``, else one outcome."""
        words = self._words
        sides = []
        for outcome in words.outcomes(line):
            fill = words.constant(outcome)
            one = words.where(test, line, fill) if wanted else words.where(test, fill, line)
            sides.append((words.runs(one), one))
        return min(sides)[1]

    def _line(self, line: WordId, seen: Seen, rest: int) -> _Line:
        items = self._items(line, seen, rest)
        self.searched += len(items)
        return _Line(items, self._ends, self._price, self._effort)

    def _items(self, line: WordId, seen: Seen, rest: int) -> list[Item]:
        intervals = list(self._words.intervals(line))
        share = max(rest // len(intervals), 1)
        items = []
        at = 0
        for first, last, label in intervals:
            assert isinstance(label, int)
            weight = share
            while at < len(seen) and seen[at][0] <= last:
                weight += seen[at][1]
                at += 1
            items.append(Item(first, last, label, weight))
        return items
