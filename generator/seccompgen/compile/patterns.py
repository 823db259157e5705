"""Small trees that finish a range, with their costs.

The search proper tries cuts and heavy holes. Its trees end in those of ``shapes``: chains of
equality tests, the heaviest number first, and a few bit tests.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from seccompgen.compile.diagram import CompareOp
from seccompgen.compile.shapes import ItemShape, between, members, only, shapes_of
from seccompgen.compile.tree import (
    BUDGETS,
    IMPOSSIBLE,
    SCALE,
    UNBOUNDED,
    TreeEnd,
    least_budget,
    less,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from seccompgen.compile.shapes import ItemSet
    from seccompgen.compile.tree import Costs, Item, Tree

_LONGEST = 12
"""The most intervals of a range that a pattern finishes."""
_DEEPEST = 5
"""No shape has more tests on a path."""
_LEFT = np.array(
    [
        [*(BUDGETS if b < spent else b - spent for b in range(UNBOUNDED)), UNBOUNDED]
        for spent in range(_DEEPEST + 1)
    ]
)
"""[tests][budget]: the budget left after so many tests, or BUDGETS if they exceed it."""
_FOLLOWED = 1024
_STEPS, _STEPS_OF_AN_ITEM = 6_000, 100
"""The steps that short trees for one line may take. No line of real policies needs more; single
numbers that alternate, as under a mask of scattered bits, take four times as many."""


class Pattern(NamedTuple):
    """The trees for some items, with budgets still to be filled in.

    ``start`` is the index of the first tree in `Patterns.costs`, ``number`` the index of the least
    cost in `Patterns.least`.
    """

    number: int
    start: int
    trees: list[Tree]

    def tree(self, costs: Costs, wanted: int, budget: int, ends: Costs) -> Tree | None:
        """Return the first tree that costs ``wanted`` for ``budget``, or None.

        Its longest path has at most ``budget`` instructions.
        """
        for cost, shape in zip(costs[self.start :, budget], self.trees):  # noqa: B905 - one's own
            if cost == wanted:
                return _budgeted(shape, budget, ends)
        return None


class Cells(NamedTuple):
    """The states of one length that patterns may finish, and the numbers of these patterns."""

    firsts: NDArray[np.int64]
    taken: NDArray[np.int64]
    patterns: NDArray[np.int64]


def _budgeted(shape: Tree, budget: int, ends: Costs) -> Tree:
    if isinstance(shape, TreeEnd):
        return TreeEnd(shape.label, least_budget(ends[shape.label], budget))
    rest = less(budget, 1)
    true, false = (_budgeted(side, rest, ends) for side in (shape.true, shape.false))
    return shape._replace(true=true, false=false)


class Patterns:
    """The patterns that may finish a range of ``items``, by the length of the range.

    Trees with bit tests have at most ``deepest`` tests. ``price`` is as in `search.Search`.
    """

    def __init__(
        self, items: Sequence[Item], holes: Sequence[int], price: int, deepest: int
    ) -> None:
        self._pricing = _Pricing(price)
        collected = _Collector(items, holes, self._pricing, deepest)
        self.cells = collected.cells()
        self._patterns = collected.patterns
        self._starts = [pattern.start for pattern in self._patterns]

    def costs(self, ends: Costs) -> Costs:
        """Return the cost of each tree by its index; ``ends`` are the costs behind each label."""
        return self._pricing.costs(ends)

    def least(self, costs: Costs) -> Costs:
        """Return the cost of the cheapest tree of each pattern, by its number."""
        least: Costs = np.minimum.reduceat(costs, self._starts) if self._starts else costs
        return least

    def at(self, length: int, first: int, taken: int) -> Pattern | None:
        """Return the pattern for a state, or None."""
        cells = self.cells.get(length)
        if cells is None:
            return None
        here = cells.patterns[(cells.firsts == first) & (cells.taken == taken)]
        return self._patterns[here[0]] if len(here) else None


class _Collector:
    """The patterns of a line while they are collected.

    If no small tree finishes a range, none finishes a longer one, since such a tree would do for
    each part of the range. So ranges of more items come later, and ``hopeless`` has for each end
    the greatest number of holes taken with which a range up to there has no small tree: it has none
    with fewer taken either.
    """

    def __init__(
        self, items: Sequence[Item], holes: Sequence[int], pricing: _Pricing, deepest: int
    ) -> None:
        self.patterns: list[Pattern] = []
        self._items, self._holes = items, holes
        self._pricing = pricing
        self._deepest = deepest
        shapes = [ItemShape(item.first, item.last, item.label) for item in items]
        self._shapes = shapes_of(tuple(shapes))
        self._known: dict[ItemSet, Pattern | None] = {}
        self._order = {hole: t for t, hole in enumerate(holes)}
        self._hopeless = [-1] * (len(items) + 1)
        self._left = _STEPS + _STEPS_OF_AN_ITEM * len(items)

    def cells(self) -> dict[int, Cells]:
        """Find all patterns; return the states that they may finish, by length."""
        found: dict[int, list[tuple[int, int, int]]] = {}
        for first in reversed(range(len(self._items))):
            for stop in range(first + 2, min(first + _LONGEST, len(self._items)) + 1):
                if self._items[stop - 1].mask:
                    break
                self._hopeless[stop] = max(self._hopeless[stop - 1 : stop + 1])
                if self._holes or self._items[first].label == self._items[stop - 1].label:
                    # else a cut next to one end does as well
                    found.setdefault(stop - first, []).extend(self._finished(first, stop))
        return {length: Cells(*np.array(some).T) for length, some in found.items() if some}

    def _finished(self, first: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield the states of the range that have a pattern, the most holes taken first."""
        inside = sorted(self._order[i] for i in range(first, stop) if i in self._order)
        left = between(first, stop)
        for t in inside:
            left ^= only(self._holes[t])
        most = len(self._holes)
        for t in [*reversed(inside), -1]:
            if left not in self._known:
                self._known[left] = self._pattern(left, stop, most)
            if pattern := self._known[left]:
                yield from ((first, taken, pattern.number) for taken in range(t + 1, most + 1))
            if t >= 0:
                left |= only(self._holes[t])
                most = t

    def _pattern(self, left: ItemSet, stop: int, taken: int) -> Pattern | None:
        items = [self._items[place] for place in members(left)]
        trees = self._trees(left, items, stop, taken)
        if not trees:
            return None
        start = self._pricing.add(trees, items)
        self.patterns.append(Pattern(len(self.patterns), start, trees))
        return self.patterns[-1]

    def _trees(self, left: ItemSet, items: Sequence[Item], stop: int, taken: int) -> list[Tree]:
        """Return trees for ``items``, which are ``left`` of a range that ends before ``stop``."""
        if len({item.label for item in items}) < 2:
            return []
        chains = list(self._shapes.chains(left, items))
        if self._left <= 0:
            return chains
        # Cuts and holes need at least one test for every two changes of the label.
        changes = sum(a.label != b.label for a, b in pairwise(items))
        if changes < 2 * self._deepest - 1:
            return chains + self._short(left, (changes + 1) // 2)
        if taken <= self._hopeless[stop]:
            return chains
        short = self._short(left, self._deepest)
        if not short:
            self._hopeless[stop] = taken
        return chains + short

    def _short(self, left: ItemSet, most: int) -> list[Tree]:
        found = self._shapes.short(left, most)
        self._left -= found.steps
        return found.trees


class _Part(NamedTuple):
    """Some of an item's numbers: bit n of ``numbers`` for n, or 0 if they stay together.

    Only intervals of small numbers are divided, since only there is the weight of one part worth
    knowing.
    """

    item: Item
    numbers: int
    weight: int

    @classmethod
    def of(cls, item: Item) -> _Part:
        if item.first == item.last or item.last >= _FOLLOWED:
            return cls(item, 0, item.weight)
        return cls(item, (2 << item.last) - (1 << item.first), item.weight)

    def halved(self, mask: int) -> tuple[list[_Part], list[_Part]]:
        """Return the numbers with a bit of ``mask`` and those without."""
        if not self.numbers:
            return ([self], []) if self.item.first & mask else ([], [self])
        there = self.numbers & _with_bit_of(mask & (_FOLLOWED - 1))
        return self._only(there), self._only(self.numbers ^ there)

    def _only(self, numbers: int) -> list[_Part]:
        if not numbers:
            return []
        length = self.item.last - self.item.first + 1
        return [_Part(self.item, numbers, self.item.weight * numbers.bit_count() // length)]


@lru_cache
def _with_bit_of(mask: int) -> int:
    return sum(1 << number for number in range(_FOLLOWED) if number & mask)


class _Pricing:
    """The costs of small trees, once the costs of what follows at their ends are known."""

    def __init__(self, price: int) -> None:
        self._price = price
        self._ends: list[tuple[int, int, int]] = []
        self._starts: list[int] = []
        self._spent: list[int] = []

    def add(self, shapes: Sequence[Tree], items: Sequence[Item]) -> int:
        """Add ``shapes`` for ``items``; return the index of the first in ``costs``."""
        parts = [_Part.of(item) for item in items]
        first = len(self._starts)
        for shape in shapes:
            self._starts.append(len(self._ends))
            self._spent.append(self._walk(shape, parts, 0, self._ends))
        return first

    def costs(self, ends: Costs) -> Costs:
        """Return the cost of each tree, by budget; ``ends`` are the costs behind each label."""
        if not self._starts:
            return ends[:0]
        # All at once: calling numpy takes longer than its work here.
        depths, labels, weights = self._arrays
        by_left = np.full((len(ends), BUDGETS + 1), IMPOSSIBLE, dtype=np.int64)
        by_left[:, :BUDGETS] = ends
        behind = by_left.take(_LEFT, axis=1)[labels, depths]
        # Sums with an impossible end overflow, and are set below.
        costs: Costs = np.add.reduceat(behind * weights, self._starts) + self._all_spent
        costs[np.logical_or.reduceat(behind >= IMPOSSIBLE, self._starts)] = IMPOSSIBLE
        return costs

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The depths, labels and weights of all ends; weights in a column."""
        depths, labels, weights = np.array(self._ends, dtype=np.int64).T
        return depths, labels, weights[:, None]

    @cached_property
    def _all_spent(self) -> Costs:
        return np.array(self._spent, dtype=np.int64)[:, None]

    def _walk(
        self, shape: Tree, parts: Sequence[_Part], depth: int, ends: list[tuple[int, int, int]]
    ) -> int:
        """Return the cost of the tests of ``shape``; add (depth, label, weight) to ``ends``."""
        weight = 0
        for part in parts:
            weight += part.weight
        if isinstance(shape, TreeEnd):
            ends.append((depth, shape.label, weight))
            return 0
        k = shape.k
        yes: list[_Part] = []
        no: list[_Part] = []
        for part in parts:
            if shape.relation is CompareOp.ANY_BITS:
                some, none = part.halved(k)
                yes += some
                no += none
            elif shape.relation is CompareOp.GE:
                (yes if part.item.first >= k else no).append(part)
            else:
                (yes if part.item.first == k == part.item.last else no).append(part)
        both = self._walk(shape.true, yes, depth + 1, ends) + self._walk(
            shape.false, no, depth + 1, ends
        )
        return both + weight * SCALE + self._price
