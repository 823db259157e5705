"""Trees of tests that find the interval of a number, and their costs, as frozen values."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.compile.diagram import CompareOp
from seccompgen.core.model import U32

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Costs: TypeAlias = NDArray[np.int64]

BUDGETS = 34
"""Entries of an array of costs: for 0 to 32 instructions, and without a bound."""
UNBOUNDED = BUDGETS - 1
SCALE = 1 << 10
"""The cost of one executed instruction of weight 1."""
IMPOSSIBLE = 1 << 60


class Item(NamedTuple):
    """The numbers ``first`` to ``last``: their weight, and the label of what follows.

    Where ``mask`` is not 0, a number belongs to this item or a later one if it has a bit of
    ``mask``, whatever its size: ``number & mask`` takes the place of ``number >= first``.
    """

    first: int
    last: int
    label: int
    weight: int
    mask: int = 0

    def cut(self, below: Tree, above: Tree) -> Tree:
        """Return the test that leads numbers of this and later items to ``above``."""
        if self.mask:
            return TreeTest(CompareOp.ANY_BITS, self.mask, above, below)
        return TreeTest(CompareOp.GE, self.first, above, below)


class TreeEnd(NamedTuple):
    """The end of a path: go on at ``label``, with ``budget`` instructions left."""

    label: int
    budget: int


class TreeTest(NamedTuple):
    """A comparison of a number with ``k``, and the trees for its two outcomes.

    With a ``mask`` the accumulator then holds the masked number; the number itself must be loaded
    again.
    """

    relation: CompareOp
    k: int
    true: Tree
    false: Tree
    mask: int = U32


Tree: TypeAlias = TreeEnd | TreeTest


def less(budget: int, spent: int) -> int:
    """Return the budget that is left of ``budget`` after ``spent`` instructions."""
    return budget if budget == UNBOUNDED else budget - spent


def later(costs: Costs) -> Costs:
    """Return ``costs`` as they are before one more instruction: entry b was entry b - 1.

    The last entry, which has no bound, stays.
    """
    result = costs.copy()
    result[..., 0] = IMPOSSIBLE
    result[..., 1:-1] = costs[..., :-2]
    return result


def weighed(costs: Costs, weight: int | Costs) -> Costs:
    """Return ``costs`` times ``weight``; impossible entries stay so, even at weight 0."""
    result: Costs = costs * weight
    result[costs >= IMPOSSIBLE] = IMPOSSIBLE  # these products may have overflowed
    return result


def least_budget(costs: Costs, budget: int) -> int:
    """Return the smallest budget with the same cost as ``budget``."""
    return int((costs[: budget + 1] == costs[budget]).argmax())


def keeps_word(mask: int, k: int) -> bool:
    """Return True if ``word & mask == k`` is a test of bits, which leaves the accumulator alone."""
    return k == 0 or (k == mask and k & (k - 1) == 0)


def preparations(held: int, needed: int) -> int:
    """Return how many instructions come before a test of ``word & needed``.

    The accumulator holds ``word & held``. The same value needs none, fewer bits of it the mask,
    other bits a load first.
    """
    if held == needed:
        return 0
    return (held & needed != needed) + (needed != U32)


def count_tests(tree: Tree, held: int = U32) -> int:
    """Return the number of instructions of ``tree``, entered with ``word & held``."""
    if isinstance(tree, TreeEnd):
        return 0
    own = 1 + preparations(held, tree.mask)
    return own + count_tests(tree.true, tree.mask) + count_tests(tree.false, tree.mask)


def some_with(first: int, last: int, mask: int) -> bool:
    """Return True if some number from ``first`` to ``last`` has a bit of ``mask``.

    Below the highest bit in which the ends differ, every bit is set in some number.
    """
    return bool((first | (1 << (first ^ last).bit_length()) - 1) & mask)


@lru_cache(maxsize=1 << 16)
def some_without(first: int, last: int, mask: int) -> bool:
    """Return True if some number from ``first`` to ``last`` has no bit of ``mask``.

    Results are kept, since a search for trees asks this of the same few items over and over.
    """
    number = first
    while number <= last:
        clash = number & mask
        if not clash:
            return True
        # Only a carry out of the highest clashing bit can clear it.
        bit = clash.bit_length()
        number = ((number >> bit) + 1) << bit
    return False
