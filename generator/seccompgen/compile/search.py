"""The best tree of tests that finds the interval of a number, by dynamic programming.

A *line* is a sequence of intervals, each with a weight (how often numbers in it come) and a label
(where to go on). Tests are cuts (``number >= k``), holes (``number == k``, which takes one single
number out and lets its neighbours meet), and bit tests (``number & mask``).

Cost
    A tree costs, for each test, the weight that comes to it plus a fixed price (the instruction
    that it is), and at each end the weight times the cost of what follows. What follows depends
    on how many instructions are still allowed there, so costs are arrays over that *budget*:
    entry b is the best cost where at most b instructions may yet be executed, and the last
    entry has no bound. One pass thus gives the whole trade between the longest path and the cost.

What is optimal
    Best among all trees made of cuts and of holes taken in order of falling weight from the 12
    heaviest single numbers, with the small trees of ``patterns`` at the ends: a
    range (i, j) without the first t of the heavy numbers is one state, and every test is tried in
    it. That a hole should be the heaviest number left is a theorem where all labels differ
    (Anderson, Kannan, Karloff, Ladner 2002; Chrobak, Golin, Munro, Young, arXiv 1505.00357 and
    2311.02224). Where neighbours of a hole meet it is a heuristic, and the patterns make up for
    most of it: with 40 heavy numbers instead of 12 no figure on the corpus changes.

What is not
    Bit tests are tried at the ends only; in the middle they were seen to save one or two tests
    in a hundred, for ten times the time. The search is cubic in the intervals, so a line of more
    than 160 is halved at about equal weights until its parts have at most 64, and in these
    holes are taken by patterns only. ``bounds`` says how far from any optimum a program
    can be.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from seccompgen.compile.patterns import Patterns
from seccompgen.compile.tree import (
    BUDGETS,
    IMPOSSIBLE,
    SCALE,
    Cut,
    End,
    Hole,
    later,
    least_budget,
    less,
    weighed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from seccompgen.compile.tree import Costs, Item, Tree


class Effort(NamedTuple):
    """How hard to search.

    ``longest`` is the number of intervals from which on a line is halved, ``holes`` how many
    single numbers are heavy ones, ``bit_tests`` how many tests the small trees with bit tests
    have. Equally heavy numbers are taken with the ``commonest_last`` label last, or in order.
    """

    longest: int
    holes: int
    bit_tests: int
    commonest_last: bool = False


THOROUGH = Effort(160, 12, 3)
WORD = THOROUGH._replace(commonest_last=True)
_PART = Effort(64, 0, 3)
ROUGH = Effort(64, 0, 1)
_LONG = 500
"""Lines of more intervals are searched roughly."""
_FEW = 64
_KEPT = 128
"""So many forms of so few items are kept."""


class _Ranges(NamedTuple):
    """All ranges of one length, by first item (the first axis) and number of holes taken.

    ``step`` is what a test costs there, ``low`` and ``high`` are the least and the greatest label
    that is left (by state, then first item). ``even`` says which have one label: where, which, and
    the weights. ``empty`` are those where nothing is left.
    """

    step: Costs
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    even: tuple[tuple[NDArray[np.int64], ...], NDArray[np.int64], Costs] | None
    empty: NDArray[np.bool_] | None


class _Form:
    """The part of a search for ``items`` that does not depend on what follows at the ends."""

    def __init__(self, items: Sequence[Item], price: int, effort: Effort) -> None:
        n = len(items)
        singles = [i for i, item in enumerate(items) if item.first == item.last]
        common = Counter(item.label for item in items) if effort.commonest_last else {}
        singles.sort(key=lambda i: (-items[i].weight, common.get(items[i].label, 0), i))
        self.holes = holes = singles[: effort.holes]
        states = len(holes) + 1
        labels = np.array([[item.label for item in items]] * states)
        weights = np.array([[item.weight for item in items]] * states, dtype=np.int64)
        none = max(item.label for item in items) + 1
        low, high = labels.copy(), labels.copy()
        for t, hole in enumerate(holes):
            weights[t + 1 :, hole] = 0
            low[t + 1 :, hole] = none
            high[t + 1 :, hole] = -1
        self.total = np.zeros((states, n + 1), dtype=np.int64)
        np.cumsum(weights, axis=1, out=self.total[:, 1:])
        self.patterns = Patterns(items, holes, price, effort.bit_tests)
        self.ranges = list(self._ranges(low, high, price))

    def _ranges(
        self, low: NDArray[np.int64], high: NDArray[np.int64], price: int
    ) -> Iterator[_Ranges]:
        """Yield the ranges of each length, from 0 to all."""
        n = low.shape[1]
        least, most = low, high
        for length in range(n + 1):
            starts = n - length + 1
            if length > 1:
                least = np.minimum(least[:, :starts], low[:, length - 1 :])
                most = np.maximum(most[:, :starts], high[:, length - 1 :])
            weight = (self.total[:, length:] - self.total[:, :starts]).T
            even, empty = None, None
            if length and (least == most).any():
                where = np.nonzero((least == most).T)
                even = where, least.T[where], weight[where][:, None]
            if length and (most < 0).any():
                empty = (most < 0).T
            yield _Ranges((weight * SCALE + price)[:, :, None], least, most, even, empty)


_kept_form = lru_cache(maxsize=_KEPT)(_Form)
"""The same few items are searched with many ends, and on every ABI."""


class Pair:
    """The best trees for two intervals, which one test tells apart; as ``Search`` finds them."""

    def __init__(self, items: Sequence[Item], ends: Costs, price: int, effort: Effort) -> None:
        self._items = items
        self._ends = ends
        self._holes = effort.holes > 0
        weight = sum(item.weight for item in items)
        below, above = (weighed(ends[item.label], item.weight) for item in items)
        self.costs: Costs = np.minimum(later(below + above) + (weight * SCALE + price), IMPOSSIBLE)

    def tree(self, budget: int) -> Tree:
        """Return the best tree of at most ``budget`` instructions to the end of any path."""
        left = less(least_budget(self.costs, budget), 1)
        below, above = self._items
        first, second = (
            End(item.label, least_budget(self._ends[item.label], left)) for item in self._items
        )
        if self._holes and above.first == above.last:
            return Hole(above.first, second, first)
        if self._holes and below.first == below.last:
            return Hole(below.first, first, second)
        return Cut(above.first, first, second)


def search(items: Sequence[Item], ends: Costs, price: int, effort: Effort) -> Pair | Search:
    """Return the best trees for ``items``, whose neighbours differ in their labels."""
    return (Pair if len(items) == 2 else Search)(items, ends, price, effort)


class Search:
    """The best trees for ``items``, one for each budget.

    ``ends[label]`` is the cost, a unit of weight, of what follows there; ``price`` is what a test
    costs for being there.
    """

    def __init__(
        self, items: Sequence[Item], ends: Costs, price: int, effort: Effort = THOROUGH
    ) -> None:
        self._items = items
        self._ends = ends
        self._price = price
        self._effort = effort
        self._halves: tuple[Search, Search] | None = None
        if len(items) > effort.longest:
            self._halves = self._halved()
            below, above = self._halves
            weight = sum(item.weight for item in items)
            both = np.minimum(below.costs + above.costs, IMPOSSIBLE)
            self.costs: Costs = np.minimum(later(both) + weight * SCALE + price, IMPOSSIBLE)
            return
        few = len(items) <= _FEW
        self._form = (_kept_form if few else _Form)(tuple(items), price, effort)
        self._solve()
        self.costs = self._table[len(items)][0, 0]

    def _halved(self) -> tuple[Search, Search]:
        """Return the searches below and above the cut that comes nearest to equal weights.

        Every interval counts for at least one part in as many as there are, so that neither half
        is much longer than the other.
        """
        total = sum(item.weight for item in self._items)
        share = total // len(self._items) + 1
        half = (total + share * len(self._items)) // 2
        at, seen = 0, 0
        while at < len(self._items) - 1 and (at == 0 or seen < half):
            seen += self._items[at].weight + share
            at += 1
        parts = self._items[:at], self._items[at:]
        effort = ROUGH if self._effort is ROUGH or len(self._items) > _LONG else _PART
        below, above = (Search(part, self._ends, self._price, effort) for part in parts)
        return below, above

    def _solve(self) -> None:
        form, ends, n = self._form, self._ends, len(self._items)
        states = len(form.holes) + 1
        self._priced = form.patterns.costs(ends)
        holes = [
            (t, hole, weighed(ends[self._items[hole].label], self._items[hole].weight))
            for t, hole in enumerate(form.holes)
        ]
        # self._table[length][first, t] are the costs of the items first to first + length - 1
        # without the t heaviest.
        self._table: list[Costs] = [np.zeros((n + 1, states, BUDGETS), dtype=np.int64)]
        for length in range(1, n + 1):
            ranges = form.ranges[length]
            starts = n - length + 1
            best = np.full((starts, states, BUDGETS), IMPOSSIBLE, dtype=np.int64)
            if length > 1:
                both = np.empty_like(best)
                for part in range(1, length):
                    below, above = self._table[part], self._table[length - part]
                    np.add(below[:starts], above[part : part + starts], out=both)
                    np.minimum(best, both, out=best)
                best = np.minimum(later(best) + ranges.step, IMPOSSIBLE)
            if ranges.even is not None:
                where, labels, weights = ranges.even
                ended = ends[labels]
                best[where] = np.where(ended >= IMPOSSIBLE, IMPOSSIBLE, ended * weights)
            if ranges.empty is not None:
                best[ranges.empty] = 0
            for pattern in form.patterns.of.get(length, ()):
                cell = best[pattern.first, pattern.states]
                np.minimum(cell, self._priced[pattern.number], out=cell)
            for t, hole, taken in reversed(holes):
                rows = slice(max(0, hole - length + 1), min(hole, n - length) + 1)
                after = later(best[rows, t + 1] + taken) + ranges.step[rows, t]
                best[rows, t] = np.minimum(best[rows, t], np.minimum(after, IMPOSSIBLE))
            self._table.append(best)

    def tree(self, budget: int) -> Tree:
        """Return the best tree of at most ``budget`` instructions to the end of any path.

        The budget that is given down is the smallest with the same cost: what need not be
        spent is not.
        """
        if self._halves is not None:
            below, above = self._halves
            budget = least_budget(self.costs, budget)
            rest = less(budget, 1)
            return above._items[0].cut(below.tree(rest), above.tree(rest))
        return self._tree(0, len(self._items), 0, budget)

    def _tree(self, first: int, length: int, t: int, budget: int) -> Tree:
        costs = self._table[length][first, t]
        budget = least_budget(costs, budget)
        cost = costs[budget]
        assert cost < IMPOSSIBLE
        form, ends = self._form, self._ends
        ranges = form.ranges[length]
        least, most = ranges.low[t, first], ranges.high[t, first]
        if least == most:
            return End(int(least), least_budget(ends[least], budget))
        rest = less(budget, 1)
        for pattern in form.patterns.of.get(length, ()):
            here = pattern.first == first and pattern.states.start <= t < pattern.states.stop
            if here and self._priced[pattern.number, budget] == cost:
                return pattern.tree(budget, ends)
        weight = int(form.total[t, first + length] - form.total[t, first])
        left = cost - weight * SCALE - self._price
        parts = sorted(range(1, length), key=lambda part: (abs(2 * part - length), part))
        for part in parts:
            below = self._table[part][first, t, rest]
            above = self._table[length - part][first + part, t, rest]
            if below + above == left:
                return self._items[first + part].cut(
                    self._tree(first, part, t, rest),
                    self._tree(first + part, length - part, t, rest),
                )
        while True:
            hole = form.holes[t]
            t += 1
            if first <= hole < first + length:
                break
        item = self._items[hole]
        label = item.label
        return Hole(
            item.first,
            End(label, least_budget(self._ends[label], rest)),
            self._tree(first, length, t, rest),
        )
