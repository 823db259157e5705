"""Small trees that separate the labels of a few items, however often each comes.

A chain takes single numbers out until one label is left. A short tree has up to three tests, and
each leaves only one side open: a hole, or bits that end in one label.

The bits are not searched for. If the numbers with a bit of the mask are to have one label, the best
mask is all bits that no number of another label has. If the numbers without any are, every number
of another label must have one of the bits, and more bits work better: all that no number of the
label has; or all that only one of its numbers has, which then goes the other way; or one bit that
all numbers of other labels share. Masks between these are not tried.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.compile.diagram import CompareOp
from seccompgen.compile.tree import TreeEnd, TreeTest, some_without
from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.compile.tree import Item, Tree

_MOST_TAKEN = 5
"""The most tests of a chain."""
_MOST_KEPT = 4

ItemSet: TypeAlias = int
"""A set of items, bit i for the i-th. Sets are united by ``|``, ``a & ~b`` is a without b."""


def only(place: int) -> ItemSet:
    """Return the set of one item."""
    return 1 << place


def between(first: int, stop: int) -> ItemSet:
    """Return the items from ``first`` to before ``stop``."""
    return (1 << stop) - (1 << first)


def lowest(places: ItemSet) -> int:
    """Return the first place of a set."""
    return (places & -places).bit_length() - 1


def highest(places: ItemSet) -> int:
    """Return the last place of a set."""
    return places.bit_length() - 1


def within(some: ItemSet, places: ItemSet) -> bool:
    """Return True if ``places`` contains all of ``some``."""
    return not some & ~places


@lru_cache(maxsize=1 << 16)
def members(places: ItemSet) -> tuple[int, ...]:
    """Return the places in a set, in ascending order."""
    found = []
    while places:
        place = lowest(places)
        found.append(place)
        places &= ~only(place)
    return tuple(found)


class ItemShape(NamedTuple):
    """An item without its weight."""

    first: int
    last: int
    label: int


class Shapes:
    """The small trees for sets of items; budgets are left open."""

    def __init__(self, items: Sequence[ItemShape], deepest: int) -> None:
        self._items = items
        self._deepest = deepest
        self._short: dict[tuple[ItemSet, int], tuple[int, list[Tree]]] = {}
        self._labels: dict[int, ItemSet] = {}
        self._singles: ItemSet = 0
        self._unused_by: dict[ItemSet, int] = {}
        # The bits that some number of an item has, and those that all have.
        self._some: list[int] = []
        self._all: list[int] = []
        # For each bit the items of which some number has it; for items the bits that all share.
        self._some_have: dict[int, ItemSet] = {}
        self._shared_by: dict[ItemSet, int] = {}
        for i, item in enumerate(items):
            self._labels[item.label] = self._labels.get(item.label, 0) | only(i)
            if item.first == item.last:
                self._singles |= only(i)
            varying = (1 << (item.first ^ item.last).bit_length()) - 1
            self._some.append(item.first | varying)
            self._all.append(item.first & ~varying)
            for bit in _bits(self._some[i]):
                self._some_have[bit] = self._some_have.get(bit, 0) | only(i)

    def of(self, left: ItemSet, items: Sequence[Item]) -> Iterator[Tree]:
        """Yield trees that separate the labels of the items ``left``; none for one label.

        ``items`` are the same items with their weights.
        """
        labels = [label for label, places in self._labels.items() if places & left]
        if len(labels) < 2:
            return
        for label in labels:
            others = left & ~self._labels[label]
            if within(others, self._singles) and others.bit_count() <= _MOST_TAKEN:
                yield _chain(label, items)
        # Cuts and holes need at least one test for every two changes of the label.
        changes = sum(a.label != b.label for a, b in pairwise(items))
        yield from self.short(left, min(self._deepest, (changes + 1) // 2))[1]

    def short(self, left: ItemSet, most: int) -> tuple[int, list[Tree]]:
        """Return the least number of tests that suffice, and some trees with so many.

        There are no trees if that is more than ``most``.
        """
        found = self._short.get((left, most))
        if found is None:
            found = self._short[left, most] = self._shortest(left, most)
        return found

    def _shortest(self, left: ItemSet, most: int) -> tuple[int, list[Tree]]:
        labels = [label for label, places in self._labels.items() if places & left]
        if len(labels) == 1:
            return 0, [TreeEnd(labels[0], 0)]
        least = most + 1
        trees: list[Tree] = []
        if len(labels) <= least:
            for count, tree in self._steps(left, labels, most):
                if count < least:
                    least, trees = count, []
                if count == least:
                    trees.append(tree)
                    if least == len(labels) - 1 and len(trees) == _MOST_KEPT:
                        break  # no tree has fewer
        return least, trees[:_MOST_KEPT]

    def _steps(self, left: ItemSet, labels: Sequence[int], most: int) -> Iterator[tuple[int, Tree]]:
        items = self._items
        if len(labels) == 2:
            a, b = (self._labels[label] & left for label in labels)
            for below, above in ((a, b), (b, a)):
                if highest(below) < lowest(above):
                    under, over = items[highest(below)], items[lowest(above)]
                    ends = TreeEnd(over.label, 0), TreeEnd(under.label, 0)
                    yield 1, TreeTest(CompareOp.GE, over.first, *ends)
                    return
        for label in labels:
            same = left & self._labels[label]
            # With no test to spare, each test must take all of its label.
            due = same if len(labels) > most else 0
            yield from self._one_label_with_bits(label, same, left & ~same, most, due)
            if most > 1:  # else it is the other label's turn to have the bits
                yield from self._one_label_without(label, same, left & ~same, most, due)
            for place in members(same & self._singles):
                rest = left & ~only(place)
                if not rest & due:
                    for count, tree in self._rest(rest, most):
                        yield (
                            count,
                            TreeTest(CompareOp.EQ, items[place].first, TreeEnd(label, 0), tree),
                        )

    def _one_label_with_bits(
        self, label: int, same: ItemSet, others: ItemSet, most: int, due: ItemSet
    ) -> Iterator[tuple[int, Tree]]:
        """Yield trees that end at ``label`` for any bit that none of the others has."""
        mask = self._unused(others)
        if not mask & ~self._unused(same):
            return  # none of the label has such a bit
        rest = others
        for place in members(same):
            if not self._hit(place, mask):
                rest |= only(place)
        if rest != same | others and not rest & due:
            for count, tree in self._rest(rest, most):
                yield count, TreeTest(CompareOp.ANY_BITS, mask, TreeEnd(label, 0), tree)

    def _one_label_without(
        self, label: int, same: ItemSet, others: ItemSet, most: int, due: ItemSet
    ) -> Iterator[tuple[int, Tree]]:
        """Yield trees that end at ``label`` for numbers without a bit that all others have.

        Or without any of several bits, if each of the others has one. More bits work better, so
        these are all bits that no number of the label has, or that only one item of it has.
        """
        shared = self._shared(others)
        masks = {bit: others | same & self._some_have[bit] for bit in _bits(shared)}
        masks[self._unused(same)] = others
        own = members(same)
        for place in reversed(own if len(own) > 1 else ()):
            masks[self._unused(same ^ (1 << place))] = others | 1 << place
        rivals = members(others)
        for mask, rest in masks.items():
            if rest & due or rest == same | others:
                continue
            if mask & shared or all(self._hit(place, mask) for place in rivals):
                for count, tree in self._rest(rest, most):
                    yield count, TreeTest(CompareOp.ANY_BITS, mask, tree, TreeEnd(label, 0))

    def _shared(self, places: ItemSet) -> int:
        """Return the bits that all numbers of the items have."""
        found = self._shared_by.get(places)
        if found is None:
            found = U32
            for place in members(places):
                found &= self._all[place]
            self._shared_by[places] = found
        return found

    def _unused(self, places: ItemSet) -> int:
        """Return the bits that no number of the items has."""
        found = self._unused_by.get(places)
        if found is None:
            used = 0
            for place in members(places):
                used |= self._some[place]
            found = self._unused_by[places] = U32 & ~used
        return found

    def _hit(self, place: int, mask: int) -> bool:
        """Return True if all numbers of the item have a bit of ``mask``."""
        if self._all[place] & mask:
            return True
        if self._singles & only(place):
            return False
        item = self._items[place]
        return not some_without(item.first, item.last, mask)

    def _rest(self, rest: ItemSet, most: int) -> Iterator[tuple[int, Tree]]:
        """Yield the trees of ``short`` after one of ``most`` tests, which is added to the count."""
        count, trees = self.short(rest, most - 1)
        for tree in trees:
            yield count + 1, tree


def _bits(mask: int) -> list[int]:
    found = []
    while mask:
        found.append(mask & -mask)
        mask &= mask - 1
    return found


@lru_cache(maxsize=64)
def shapes_of(items: tuple[ItemShape, ...], deepest: int) -> Shapes:
    """Return the cached shapes for a line, which is searched with many weights, ends and ABIs."""
    return Shapes(items, deepest)


def _chain(label: int, items: Sequence[Item]) -> Tree:
    """Return the tree that takes out all items but those of ``label``, the heaviest first."""
    tree: Tree = TreeEnd(label, 0)
    taken = [item for item in items if item.label != label]
    for item in sorted(taken, key=lambda item: (item.weight, -item.first)):
        tree = TreeTest(CompareOp.EQ, item.first, TreeEnd(item.label, 0), tree)
    return tree
