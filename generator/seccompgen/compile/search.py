"""The best tree of tests that finds the interval of a number, by dynamic programming.

A *line* is a sequence of intervals, each with a weight (how often numbers in it come) and a label
(where to go on). Tests are cuts (``number >= k``), holes (``number == k``, which takes one single
number out and lets its neighbours meet), and bit tests (``number & mask``).

Cost
    A tree costs, for each test, the weight that comes to it plus a fixed price (for the
    instruction), and at each end the weight times the cost of what follows. What follows depends
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
    Bit tests are tried at the ends only; in the middle they save one or two tests in a hundred,
    for ten times the time. The search is cubic in the intervals, so a line of more
    than 160 is halved at about equal weights until its parts have at most 64, and in these
    holes are taken by patterns only. ``bounds`` says how far from any optimum a program
    can be.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from seccompgen.compile.diagram import CompareOp
from seccompgen.compile.patterns import Patterns
from seccompgen.compile.tree import (
    BUDGETS,
    IMPOSSIBLE,
    SCALE,
    UNBOUNDED,
    TreeEnd,
    TreeTest,
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
    """The effort of a search.

    A line of more than ``longest`` intervals is halved. ``holes`` is the number of heavy single
    numbers, ``bit_tests`` the most tests of a small tree with bit tests. Equally heavy numbers
    are taken in order, or with ``commonest_last`` those of the commonest label last.
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
_SPARE = 4
"""The budgets in a table beyond the estimated length of the longest path; none of a hundred lines

of real policies needed more."""
_FEW = 64
_MOST_CACHED = 128
"""So many prepared lines, of at most ``_FEW`` items, are cached."""


class _Ranges(NamedTuple):
    """All ranges of one length, by first item (the first axis) and number of holes taken.

    ``step`` is the cost of a test there; ``low`` and ``high`` are the least and the greatest label
    left (by state, then first item). ``even`` lists the ranges with one label: indices, labels and
    weights. ``empty`` marks the ranges where nothing is left.
    """

    step: Costs
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    even: tuple[tuple[NDArray[np.int64], ...], NDArray[np.int64], Costs] | None
    empty: NDArray[np.bool_] | None


class _PreparedLine:
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
        self._total = np.zeros((states, n + 1), dtype=np.int64)
        np.cumsum(weights, axis=1, out=self._total[:, 1:])
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
            weight = (self._total[:, length:] - self._total[:, :starts]).T
            even, empty = None, None
            if length and (least == most).any():
                where = np.nonzero((least == most).T)
                even = where, least.T[where], weight[where][:, None]
            if length and (most < 0).any():
                empty = (most < 0).T
            yield _Ranges((weight * SCALE + price)[:, :, None], least, most, even, empty)


_cached_line = lru_cache(maxsize=_MOST_CACHED)(_PreparedLine)
"""The same few items are searched with many ends, and on every ABI."""


def search(
    items: Sequence[Item], ends: Costs, price: int, effort: Effort = THOROUGH
) -> Halves | Search:
    """Return the best trees for ``items``, whose neighbours differ in their labels.

    ``ends[label]`` is the cost of what follows, per unit of weight; ``price`` is the fixed cost of
    a test.
    """
    kind = Halves if len(items) > effort.longest else Search
    return kind(items, ends, price, effort)


class Halves:
    """Trees for a long line, which begin with the cut that comes nearest to equal weights.

    The mean weight is added to that of every interval, so that neither half is much longer than
    the other.
    """

    def __init__(self, items: Sequence[Item], ends: Costs, price: int, effort: Effort) -> None:
        weight = sum(item.weight for item in items)
        share = weight // len(items) + 1
        half = (weight + share * len(items)) // 2
        at, seen = 0, 0
        while at < len(items) - 1 and (at == 0 or seen < half):
            seen += items[at].weight + share
            at += 1
        effort = ROUGH if effort is ROUGH or len(items) > _LONG else _PART
        self._middle = items[at]
        self._below, self._above = (
            search(part, ends, price, effort) for part in (items[:at], items[at:])
        )
        self.cells: int = self._below.cells + self._above.cells
        both = np.minimum(self._below.costs + self._above.costs, IMPOSSIBLE)
        self.costs: Costs = np.minimum(later(both) + weight * SCALE + price, IMPOSSIBLE)

    def tree(self, budget: int) -> Tree:
        """Return the best tree of at most ``budget`` instructions to the end of any path."""
        rest = less(least_budget(self.costs, budget), 1)
        return self._middle.cut(self._below.tree(rest), self._above.tree(rest))


def _longest_path(items: Sequence[Item], ends: Costs) -> int:
    """Estimate the length of the longest path without a bound, in instructions.

    The rarer an interval, the deeper it is assumed to lie, but no deeper than in a balanced tree.
    The instructions of its cheapest plan are added.
    """
    behind: list[int] = (ends == ends[:, -1:]).argmax(axis=1).tolist()
    total, deepest = sum(item.weight for item in items), len(items).bit_length()
    return max(
        behind[item.label] + min((total // max(item.weight, 1)).bit_length(), deepest)
        for item in items
    )


class _RangeState(NamedTuple):
    """``length`` items from ``first`` on, without the ``taken`` heaviest single numbers."""

    first: int
    length: int
    taken: int


class Search:
    """The best trees for ``items``, one for each budget, by dynamic programming.

    A tree is one of four things: an end, a pattern, a cut, a hole. The costs of all states are
    found by trying each of the four, shorter ranges first. Afterwards `tree` goes back from the
    whole: the first of the four that costs what the state does was the choice. Recording choices
    on the way would take longer: most searches are asked for one tree, or none.
    """

    def __init__(self, items: Sequence[Item], ends: Costs, price: int, effort: Effort) -> None:
        self._items = items
        self._ends = ends
        self._form = (_cached_line if len(items) <= _FEW else _PreparedLine)(
            tuple(items), price, effort
        )
        self._priced = self._form.patterns.costs(ends)
        # Costs for a budget are made of costs for this and smaller ones. Where the last of a few
        # budgets costs what having no bound does, all between them are taken to cost the same:
        # plans that share more could make one of them cheaper, which is not looked for.
        budgets = min(_longest_path(items, ends) + _SPARE, BUDGETS)
        self._fill(budgets)
        whole = self._table[-1][0, 0]
        if budgets < BUDGETS and whole[-2] != whole[-1]:
            self._fill(BUDGETS)
            whole = self._table[-1][0, 0]
        self.costs: Costs = np.full(BUDGETS, whole[-1])
        self.costs[: len(whole) - 1] = whole[:-1]
        self.cells: int = sum(costs.size for costs in self._table)
        """The number of 8-byte entries that are kept to go back from the whole."""

    def _fill(self, budgets: int) -> None:
        """Find the costs of all states for ``budgets`` budgets: 0, 1 and so on, and no bound."""
        kept = [*range(budgets - 1), UNBOUNDED]
        ends, least = self._ends[:, kept], self._form.patterns.least(self._priced[:, kept])
        # For each hole, the cost of what follows it, as seen before the test.
        taken = [
            later(weighed(ends[self._items[i].label], self._items[i].weight))
            for i in self._form.holes
        ]
        empty = np.zeros((len(self._items) + 1, len(taken) + 1, budgets), dtype=np.int64)
        self._table: list[Costs] = [empty]
        """By length the costs of all states: ``table[length][first, taken]``."""
        for ranges in self._form.ranges[1:]:
            best = self._with_cuts(ranges)
            self._add_ends(best, ranges, ends)
            self._add_patterns(best, least)
            self._add_holes(best, ranges, taken)
            self._table.append(best)

    def _with_cuts(self, ranges: _Ranges) -> Costs:
        """Return the costs of the next length, for trees that begin with a cut."""
        length, starts = len(self._table), len(ranges.step)
        if length == 1:
            return np.full((starts, *self._table[0].shape[1:]), IMPOSSIBLE, dtype=np.int64)
        best = self._table[1][:starts] + self._table[length - 1][1:]
        both = np.empty_like(best) if length > 2 else best
        for part in range(2, length):
            below, above = self._table[part], self._table[length - part]
            np.add(below[:starts], above[part : part + starts], out=both)
            np.minimum(best, both, out=best)
        cut = later(best)
        cut += ranges.step
        return np.minimum(cut, IMPOSSIBLE, out=cut)

    def _add_ends(self, best: Costs, ranges: _Ranges, ends: Costs) -> None:
        if ranges.even is not None:
            where, labels, weights = ranges.even
            best[where] = weighed(ends[labels], weights)
        if ranges.empty is not None:
            best[ranges.empty] = 0

    def _add_patterns(self, best: Costs, least: Costs) -> None:
        cells = self._form.patterns.cells.get(len(self._table))
        if cells:
            where = cells.firsts, cells.taken
            best[where] = np.minimum(best[where], least[cells.patterns])

    def _add_holes(self, best: Costs, ranges: _Ranges, taken: Sequence[Costs]) -> None:
        """Try to take each hole out of the ranges that contain it, the lightest first."""
        length, starts = len(self._table), len(best)
        for t in reversed(range(len(taken))):
            hole = self._form.holes[t]
            rows = slice(max(0, hole - length + 1), min(hole + 1, starts))
            cell = best[rows, t]
            after = later(best[rows, t + 1])
            after += taken[t]
            after += ranges.step[rows, t]
            np.minimum(cell, after, out=cell)  # which is at most IMPOSSIBLE already

    def tree(self, budget: int) -> Tree:
        """Return the best tree of at most ``budget`` instructions to the end of any path.

        The budget passed down is the smallest with the same cost.
        """
        return self._tree(_RangeState(0, len(self._items), 0), least_budget(self.costs, budget))

    def _tree(self, state: _RangeState, budget: int) -> Tree:
        costs = self._costs(state)
        budget = least_budget(costs, budget)
        assert costs[budget] < IMPOSSIBLE
        return (
            self._end(state, budget)
            or self._pattern(state, budget)
            or self._cut(state, budget)
            or self._hole(state, budget)
        )

    def _costs(self, state: _RangeState) -> Costs:
        costs: Costs = self._table[state.length][state.first, state.taken]
        return costs

    def _end(self, state: _RangeState, budget: int) -> Tree | None:
        ranges = self._form.ranges[state.length]
        label = int(ranges.low[state.taken, state.first])
        if label != ranges.high[state.taken, state.first]:
            return None
        return TreeEnd(label, least_budget(self._ends[label], budget))

    def _pattern(self, state: _RangeState, budget: int) -> Tree | None:
        pattern = self._form.patterns.at(state.length, state.first, state.taken)
        cost = int(self._costs(state)[budget])
        return pattern and pattern.tree(self._priced, cost, budget, self._ends)

    def _cut(self, state: _RangeState, budget: int) -> Tree | None:
        """Return the tree that begins with the best cut nearest to the middle, or None."""
        first, length, taken = state
        rest = less(budget, 1)
        after = self._costs(state)[budget] - self._form.ranges[length].step[first, taken, 0]
        for part in sorted(range(1, length), key=lambda part: (abs(2 * part - length), part)):
            below = _RangeState(first, part, taken)
            above = _RangeState(first + part, length - part, taken)
            if self._costs(below)[rest] + self._costs(above)[rest] == after:
                middle = self._items[first + part]
                return middle.cut(self._tree(below, rest), self._tree(above, rest))
        return None

    def _hole(self, state: _RangeState, budget: int) -> Tree:
        first, length, taken = state
        inside = range(first, first + length)
        holes = self._form.holes
        taken = next(t for t in range(taken, len(holes)) if holes[t] in inside)
        item, rest = self._items[holes[taken]], less(budget, 1)
        return TreeTest(
            CompareOp.EQ,
            item.first,
            TreeEnd(item.label, least_budget(self._ends[item.label], rest)),
            self._tree(_RangeState(first, length, taken + 1), rest),
        )
