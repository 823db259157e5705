"""Trees of tests on one word, and their costs for each budget.

A test under a mask leaves ``word & mask`` in the accumulator. The next test begins with what it
needs: nothing for the same value, the mask alone if all of its bits are still there, else a load.
``jset`` leaves the accumulator as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from seccompgen.compile.diagram import CompareOp
from seccompgen.compile.search import search
from seccompgen.compile.tree import (
    IMPOSSIBLE,
    SCALE,
    UNBOUNDED,
    TreeEnd,
    TreeTest,
    count_tests,
    later,
    least_budget,
    less,
    preparations,
    weighed,
)
from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.compile.search import Effort
    from seccompgen.compile.tree import Costs, Item, Tree


class OneLabel:
    """No test: all values that come here have one label."""

    def __init__(self, label: int, weight: int, ends: Costs) -> None:
        self._label = label
        self._ends = ends[label]
        self.weight = weight
        self.costs: Costs = weighed(self._ends, weight)

    def entered(self, _held: int) -> Costs:
        """Return the costs, whatever the accumulator holds."""
        return self.costs

    def tree(self, budget: int, _held: int = U32) -> Tree:
        """Return the end, with the smallest budget of the same cost as ``budget``."""
        return TreeEnd(self._label, least_budget(self._ends, budget))

    def tests(self, _held: int = U32) -> int:
        """Return 0, the number of instructions."""
        return 0


class IntervalTree:
    """The best tree for a word whose values fall into few intervals, at least two."""

    def __init__(self, items: Sequence[Item], ends: Costs, price: int, effort: Effort) -> None:
        self._search = search(items, ends, price, effort)
        self._intervals = len(items)
        self._price = price
        self.costs: Costs = self._search.costs
        self.cells: int = self._search.cells
        self.weight: int = sum(item.weight for item in items)

    def entered(self, held: int) -> Costs:
        """Return the costs where the accumulator holds the word under the mask ``held``."""
        if held == U32:
            return self.costs
        return one_more(self.costs, self.weight, self._price)

    def tree(self, budget: int, held: int = U32) -> Tree:
        """Return the tree of at most ``budget`` instructions to the end of any path."""
        return self._search.tree(budget if held == U32 else less(budget, 1))

    def tests(self, held: int = U32) -> int:
        """Return the number of instructions of the tree without a bound."""
        # One test tells two intervals apart, the commonest case by far.
        own = 1 if self._intervals == 2 else count_tests(self._search.tree(UNBOUNDED))
        return own + preparations(held, U32)


class MaskedTree:
    """Another tree, whose tests are on ``word & mask``."""

    def __init__(self, mask: int, tree: IntervalTree, price: int) -> None:
        self._mask = mask
        self._tree = tree
        self._price = price
        self.weight: int = tree.weight
        self.costs = self.entered(U32)

    def entered(self, held: int) -> Costs:
        """Return the costs where the accumulator holds the word under the mask ``held``."""
        costs = self._tree.costs
        for _ in range(preparations(held, self._mask)):
            costs = one_more(costs, self.weight, self._price)
        return costs

    def tree(self, budget: int, held: int = U32) -> Tree:
        """Return the tree of at most ``budget`` instructions to the end of any path."""
        return self._masked(self._tree.tree(less(budget, preparations(held, self._mask))))

    def _masked(self, tree: Tree) -> Tree:
        if isinstance(tree, TreeEnd):
            return tree
        relation, k, *branches, _ = tree
        true, false = map(self._masked, branches)
        if relation is CompareOp.EQ and k == 0:  # a diagram would test the whole word's bits
            return TreeTest(CompareOp.ANY_BITS, self._mask, false, true, self._mask)
        return TreeTest(relation, k & self._mask, true, false, self._mask)

    def tests(self, held: int = U32) -> int:
        """Return the number of instructions of the tree without a bound."""
        return self._tree.tests() + preparations(held, self._mask)


class Split:
    """The test ``word & mask == k``, above two other trees."""

    def __init__(self, mask: int, k: int, equal: WordTrees, rest: WordTrees, price: int) -> None:
        if k == mask and not k & (k - 1):  # one bit that is to be set
            k, equal, rest = 0, rest, equal
        self._mask, self._k = mask, k
        self._equal, self._rest = equal, rest
        self._price = price
        self.weight: int = equal.weight + rest.weight
        self._needs = mask if k else U32
        both = equal.entered(self._needs) + rest.entered(self._needs)
        self._tested = one_more(both, self.weight, price)
        self.costs = self.entered(U32)

    def entered(self, held: int) -> Costs:
        """Return the costs where the accumulator holds the word under the mask ``held``."""
        costs = self._tested
        for _ in range(preparations(held, self._needs)):
            costs = one_more(costs, self.weight, self._price)
        return costs

    def tree(self, budget: int, held: int = U32) -> Tree:
        """Return the tree of at most ``budget`` instructions to the end of any path."""
        left = less(budget, 1 + preparations(held, self._needs))
        equal, rest = (part.tree(left, self._needs) for part in (self._equal, self._rest))
        if self._k:
            return TreeTest(CompareOp.EQ, self._k, equal, rest, self._mask)
        return TreeTest(CompareOp.ANY_BITS, self._mask, rest, equal)

    def tests(self, held: int = U32) -> int:
        """Return the number of instructions of the tree without a bound."""
        own = 1 + preparations(held, self._needs)
        return own + self._equal.tests(self._needs) + self._rest.tests(self._needs)


WordTrees: TypeAlias = OneLabel | IntervalTree | MaskedTree | Split


def one_more(costs: Costs, weight: int, price: int) -> Costs:
    """Return ``costs`` with one more instruction before, to which ``weight`` comes."""
    return np.minimum(later(costs) + weight * SCALE + price, IMPOSSIBLE)
