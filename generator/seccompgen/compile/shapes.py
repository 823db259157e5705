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
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.compile.diagram import CompareOp
from seccompgen.compile.tree import TreeEnd, TreeTest, some_without
from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.compile.tree import Item, Tree

_MOST_TAKEN = 5
"""The most tests of a chain."""
_MOST_KEPT = 16

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


class _LabelItems(NamedTuple):
    """Items of one label, and the bits of their numbers.

    Some number has each bit of ``some``, numbers of several items have each of ``several``; all
    numbers have those of ``shared``.
    """

    label: int
    items: ItemSet
    places: tuple[int, ...]
    some: int
    several: int
    shared: int


class Found(NamedTuple):
    """The least number of tests that suffice, and some trees with so many; none if too many.

    ``steps`` counts the sets that were looked at, those that were cached as well: so it depends on
    nothing else that was asked.
    """

    tests: int
    trees: list[Tree]
    steps: int


_FirstTest: TypeAlias = "tuple[ItemSet, CompareOp, int, int, bool]"
"""The rest, relation and number, the label at the end, and True if the end is where it is true."""


class Shapes:
    """The small trees for sets of items; budgets are left open."""

    def __init__(self, items: Sequence[ItemShape]) -> None:
        self._items = items
        self._short: dict[tuple[ItemSet, int], Found] = {}
        self._labels: dict[int, ItemSet] = {}
        self._singles: ItemSet = 0
        self._groups: dict[ItemSet, _LabelItems] = {}
        # The bits that some number of an item has, and those that all have.
        self._some: list[int] = []
        self._all: list[int] = []
        for i, item in enumerate(items):
            self._labels[item.label] = self._labels.get(item.label, 0) | only(i)
            if item.first == item.last:
                self._singles |= only(i)
            varying = (1 << (item.first ^ item.last).bit_length()) - 1
            self._some.append(item.first | varying)
            self._all.append(item.first & ~varying)

    def chains(self, left: ItemSet, items: Sequence[Item]) -> Iterator[Tree]:
        """Yield chains that separate the labels of the items ``left``.

        ``items`` are the same items with their weights.
        """
        for label, places in self._labels.items():
            others = left & ~places
            if (
                others != left
                and within(others, self._singles)
                and others.bit_count() <= _MOST_TAKEN
            ):
                yield _chain(label, items)

    def short(self, left: ItemSet, most: int) -> Found:
        """Return the trees of at most ``most`` tests, if there are any."""
        return self._trees(left, most, self._labels)

    def _trees(self, left: ItemSet, most: int, labels: Mapping[int, ItemSet]) -> Found:
        """Return the trees of `short`; ``labels`` have all items ``left``, and may have others."""
        found = self._short.get((left, most))
        if found is None:
            inside = {label: some for label, places in labels.items() if (some := places & left)}
            found = self._short[left, most] = self._shortest(most, inside)
        return found

    def _shortest(self, most: int, labels: Mapping[int, ItemSet]) -> Found:
        least = most + 1
        if len(labels) > least:
            return Found(least, [], 1)
        if len(labels) == 1:
            return Found(0, [TreeEnd(label, 0) for label in labels], 1)
        groups = [self._group(label, items) for label, items in labels.items()]
        if len(groups) == 2 and (cut := self._cut(*groups)):
            return Found(1, [cut], 1)
        trees: list[Tree] = []
        if most == 1:
            return Found(*self._one_test(*groups), 1)
        steps = 1
        for rest, relation, k, label, true in self._first_tests(groups, most):
            count, rests, taken = self._trees(rest, most - 1, labels)
            steps += taken
            if rests and count < least:
                if count + 1 < least:
                    least, trees = count + 1, []
                end = TreeEnd(label, 0)
                for tree in rests:
                    ends = (end, tree) if true else (tree, end)
                    trees.append(TreeTest(relation, k, *ends))
                if least == len(labels) - 1 and len(trees) >= _MOST_KEPT:
                    break  # no tree has fewer
        return Found(least, trees[:_MOST_KEPT], steps)

    def _group(self, label: int, items: ItemSet) -> _LabelItems:
        found = self._groups.get(items)
        if found is None:
            places = members(items)
            some, several, shared = 0, 0, U32
            for place in places:
                several |= some & self._some[place]
                some |= self._some[place]
                shared &= self._all[place]
            found = self._groups[items] = _LabelItems(label, items, places, some, several, shared)
        return found

    def _one_test(self, one: _LabelItems, other: _LabelItems) -> tuple[int, list[Tree]]:
        """Return the trees of one test of bits, or of equality, if there are any."""
        trees: list[Tree] = []
        for a, b in ((one, other), (other, one)):
            ends = TreeEnd(a.label, 0), TreeEnd(b.label, 0)
            if a.some & ~b.some and self._all_hit(a, U32 & ~b.some):
                trees.append(TreeTest(CompareOp.ANY_BITS, U32 & ~b.some, *ends))
            if a.items == a.items & self._singles & -a.items:
                trees.append(TreeTest(CompareOp.EQ, self._items[a.places[0]].first, *ends))
        return (1 if trees else 2), trees

    def _cut(self, one: _LabelItems, other: _LabelItems) -> Tree | None:
        """Return the cut between two groups, or None if neither is below the other."""
        for below, above in ((one, other), (other, one)):
            if below.places[-1] < above.places[0]:
                ends = TreeEnd(above.label, 0), TreeEnd(below.label, 0)
                return TreeTest(CompareOp.GE, self._items[above.places[0]].first, *ends)
        return None

    def _first_tests(self, groups: Sequence[_LabelItems], most: int) -> Iterator[_FirstTest]:
        """Yield the tests with which a tree of at most ``most`` may begin."""
        # With no test to spare, each test must take all of its label.
        tight = len(groups) > most
        for group in groups:
            rest, used, shared = 0, 0, U32 & ~group.shared  # or none of the label is without
            for other in groups:
                if other is not group:
                    rest |= other.items
                    used |= other.some
                    shared &= other.shared
            if group.some & ~used:
                yield from self._one_label_with_bits(group, U32 & ~used, rest, tight=tight)
            others = [other for other in groups if other is not group]
            yield from self._one_label_without(group, others, shared, rest, tight=tight)
            if tight and len(group.places) > 1:
                continue
            for place in group.places:
                if self._singles & only(place):
                    k, left = self._items[place].first, rest | group.items ^ only(place)
                    yield left, CompareOp.EQ, k, group.label, True

    def _one_label_with_bits(
        self, group: _LabelItems, mask: int, rest: ItemSet, *, tight: bool
    ) -> Iterator[_FirstTest]:
        """Yield the test that ends at the label for any bit that none of the others has."""
        left = 0
        for place in group.places:
            if not self._hit(place, mask):
                if tight:
                    return
                left |= only(place)
        if left != group.items:
            yield rest | left, CompareOp.ANY_BITS, mask, group.label, True

    def _one_label_without(
        self,
        group: _LabelItems,
        others: Sequence[_LabelItems],
        shared: int,
        rest: ItemSet,
        *,
        tight: bool,
    ) -> Iterator[_FirstTest]:
        """Yield tests that end at the label for numbers without a bit that all others have.

        Or without any of several bits, if each of the others has one. More bits work better, so
        these are all bits that no number of the label has, or that only one item of it has.
        """
        unused = U32 & ~group.some
        alone = len(group.places) == 1
        widest = unused if alone or tight else U32 & ~group.several
        wide = all(self._all_hit(other, widest) for other in others)
        if not wide and not shared:
            return
        masks: dict[int, ItemSet] = {}
        for bit in _bits(shared):
            masks[bit] = sum(only(n) for n in group.places if self._some[n] & bit)
        masks[unused] = 0
        for place in () if alone else reversed(group.places):
            masks.setdefault(unused | self._some[place] & ~group.several, only(place))
        for mask, left in masks.items():
            if (tight and left) or left == group.items:
                continue
            if mask & shared or (wide and all(self._all_hit(other, mask) for other in others)):
                yield rest | left, CompareOp.ANY_BITS, mask, group.label, False

    def _all_hit(self, group: _LabelItems, mask: int) -> bool:
        """Return True if all numbers of the group have a bit of ``mask``."""
        if group.shared & mask:
            return True
        if not group.some & mask:
            return False
        return all(self._hit(place, mask) for place in group.places)

    def _hit(self, place: int, mask: int) -> bool:
        """Return True if all numbers of the item have a bit of ``mask``."""
        if self._all[place] & mask:
            return True
        if self._singles & only(place):
            return False
        item = self._items[place]
        return not some_without(item.first, item.last, mask)


def _bits(mask: int) -> list[int]:
    found = []
    while mask:
        found.append(mask & -mask)
        mask &= mask - 1
    return found


@lru_cache(maxsize=64)
def shapes_of(items: tuple[ItemShape, ...]) -> Shapes:
    """Return the cached shapes for a line, which is searched with many weights, ends and ABIs."""
    return Shapes(items)


def _chain(label: int, items: Sequence[Item]) -> Tree:
    """Return the tree that takes out all items but those of ``label``, the heaviest first."""
    tree: Tree = TreeEnd(label, 0)
    taken = [item for item in items if item.label != label]
    for item in sorted(taken, key=lambda item: (item.weight, -item.first)):
        tree = TreeTest(CompareOp.EQ, item.first, TreeEnd(item.label, 0), tree)
    return tree
