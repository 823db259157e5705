"""Small trees that finish a range: chains of equality tests, and a few bit tests.

The search proper knows cuts and heavy holes; at the ends of its trees stand these. A chain takes
single numbers out until one label is left, the heaviest first. A short tree has up to three
tests, each of which leaves only one side open: a hole, or bits that end in one label.

Which bits is not searched for. Where the numbers with a bit of the mask are to have one label,
the best mask is all bits that no number of another label has. Where those without are, every
number of another label must have one of the bits, and the more bits the better that works: all
that no number of the label has; or all that none has but one, which then goes the other way; or
one bit that all numbers of other labels share. Masks between these are not tried.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from operator import or_
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from seccompgen.compile.tree import (
    IMPOSSIBLE,
    SCALE,
    Bits,
    Cut,
    End,
    Hole,
    later,
    least_budget,
    less,
    some_without,
)
from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from seccompgen.compile.tree import Costs, Item, Tree

_LONGEST = 12
"""Patterns finish ranges of at most so many intervals."""
_MOST_TAKEN = 5
"""Chains have at most so many tests."""
_MOST_KEPT = 4
_FOLLOWED = 1024


Places: TypeAlias = int
"""A set of items, bit i for the i-th."""


class Pattern(NamedTuple):
    """A tree for the items from ``first``, where the number of holes taken is in ``states``.

    The budgets in ``shape`` mean nothing yet; ``number`` is its place in `Patterns.costs`.
    """

    first: int
    states: slice
    shape: Tree
    number: int

    def tree(self, budget: int, ends: Costs) -> Tree:
        """Return the tree of at most ``budget`` instructions to the end of any path."""
        return _budgeted(self.shape, budget, ends)


def _budgeted(shape: Tree, budget: int, ends: Costs) -> Tree:
    rest = less(budget, 1)
    match shape:
        case Cut(k, below, above):
            return Cut(k, _budgeted(below, rest, ends), _budgeted(above, rest, ends))
        case Hole(k, equal, other):
            return Hole(k, _budgeted(equal, rest, ends), _budgeted(other, rest, ends))
        case Bits(mask, some, none):
            return Bits(mask, _budgeted(some, rest, ends), _budgeted(none, rest, ends))
        case End(label):
            return End(label, least_budget(ends[label], budget))
    raise AssertionError(shape)


class Patterns:
    """The patterns that may finish a range of ``items``, by the length of the range.

    Trees with bit tests have at most ``deepest`` tests. ``price`` is as in `search.Search`.
    """

    def __init__(
        self, items: Sequence[Item], holes: Sequence[int], price: int, deepest: int
    ) -> None:
        self._pricing = _Pricing(price)
        self.of: dict[int, list[Pattern]] = {}
        shapes = _shapes(tuple(_Span(item.first, item.last, item.label) for item in items), deepest)
        known: dict[Places, list[tuple[Tree, int]]] = {}
        order = {hole: t for t, hole in enumerate(holes)}
        for first in range(len(items)):
            if items[first].mask:
                continue
            for stop in range(first + 2, min(first + _LONGEST, len(items)) + 1):
                if items[stop - 1].mask:
                    break
                if not holes and items[first].label != items[stop - 1].label:
                    continue  # a cut next to one end does as well
                inside = sorted((order[i], i) for i in range(first, stop) if i in order)
                left = (1 << stop) - (1 << first)
                low = 0
                for t, i in [*inside, (len(holes), None)]:
                    if left not in known:
                        members = [items[place] for place in _places(left)]
                        trees = list(shapes.of(left, members))
                        numbers = self._pricing.add(trees, members)
                        known[left] = list(zip(trees, numbers, strict=True))
                    for shape, number in known[left]:
                        self.of.setdefault(stop - first, []).append(
                            Pattern(first, slice(low, t + 1), shape, number)
                        )
                    if i is not None:
                        left ^= 1 << i
                        low = t + 1

    def costs(self, ends: Costs) -> Costs:
        """Return what each pattern costs where labels end as ``ends`` say, by its number."""
        return self._pricing.costs(ends)


class _Span(NamedTuple):
    """What an item is but for its weight."""

    first: int
    last: int
    label: int


class _Shapes:
    """The small trees for sets of items; budgets are left open."""

    def __init__(self, items: Sequence[_Span], deepest: int) -> None:
        self._items = items
        self._deepest = deepest
        self._short: dict[tuple[Places, int], tuple[int, list[Tree]]] = {}
        self._labels: dict[int, Places] = {}
        self._singles: Places = 0
        # The bits that some number of an item has, and those that all have.
        self._some: list[int] = []
        self._all: list[int] = []
        for i, item in enumerate(items):
            self._labels[item.label] = self._labels.get(item.label, 0) | 1 << i
            if item.first == item.last:
                self._singles |= 1 << i
            varying = (1 << (item.first ^ item.last).bit_length()) - 1
            self._some.append(item.first | varying)
            self._all.append(item.first & ~varying)

    def of(self, left: Places, members: Sequence[Item]) -> Iterator[Tree]:
        """Yield trees that tell the labels of the items ``left`` apart; none for one label.

        ``members`` are these items with their weights.
        """
        labels = [label for label, places in self._labels.items() if places & left]
        if len(labels) < 2:
            return
        for label in labels:
            others = left & ~self._labels[label]
            if not others & ~self._singles and others.bit_count() <= _MOST_TAKEN:
                yield _chain(label, members)
        # Cuts and holes need at least one test for every two changes of the label.
        changes = sum(a.label != b.label for a, b in pairwise(members))
        yield from self.short(left, min(self._deepest, (changes + 1) // 2))[1]

    def short(self, left: Places, most: int) -> tuple[int, list[Tree]]:
        """Return the least number of tests that will do, and some trees of so many.

        There are none if that is more than ``most``.
        """
        found = self._short.get((left, most))
        if found is None:
            found = self._short[left, most] = self._shortest(left, most)
        return found

    def _shortest(self, left: Places, most: int) -> tuple[int, list[Tree]]:
        labels = [label for label, places in self._labels.items() if places & left]
        if len(labels) == 1:
            return 0, [End(labels[0], 0)]
        least = most + 1
        trees: list[Tree] = []
        if len(labels) <= least:
            for count, tree in self._steps(left, labels, most):
                if count < least:
                    least, trees = count, []
                if count == least and len(trees) < _MOST_KEPT:
                    trees.append(tree)
        return least, trees

    def _steps(self, left: Places, labels: Sequence[int], most: int) -> Iterator[tuple[int, Tree]]:
        items = self._items
        if len(labels) == 2:
            a, b = (self._labels[label] & left for label in labels)
            for below, above in ((a, b), (b, a)):
                if below < above & -above:
                    lowest = items[(above & -above).bit_length() - 1]
                    highest = items[below.bit_length() - 1]
                    yield 1, Cut(lowest.first, End(highest.label, 0), End(lowest.label, 0))
                    return
        for label in labels:
            same = left & self._labels[label]
            # With no test to spare, each has to leave nothing of its label to the rest.
            due = same if len(labels) > most else 0
            yield from self._one_label_with_bits(label, same, left ^ same, most, due)
            if most > 1:  # else it is the other label's turn to have the bits
                yield from self._one_label_without(label, same, left ^ same, most, due)
            for place in _places(same & self._singles):
                rest = left ^ 1 << place
                if not rest & due:
                    for count, tree in self._rest(rest, most):
                        yield count, Hole(items[place].first, End(label, 0), tree)

    def _one_label_with_bits(
        self, label: int, same: Places, others: Places, most: int, due: Places
    ) -> Iterator[tuple[int, Tree]]:
        """Yield trees that end at ``label`` with all bits that none of the others has."""
        used = 0
        for place in _places(others):
            used |= self._some[place]
        mask = U32 & ~used
        rest = others
        for place in _places(same):
            if not self._hit(place, mask):
                rest |= 1 << place
        if rest != same | others and not rest & due:
            for count, tree in self._rest(rest, most):
                yield count, Bits(mask, End(label, 0), tree)

    def _one_label_without(
        self, label: int, same: Places, others: Places, most: int, due: Places
    ) -> Iterator[tuple[int, Tree]]:
        """Yield trees that end at ``label`` without a bit that all others have.

        Or without any of several bits, of which each of the others has one: the more, the better
        that works, so all that no number of the label has, or all but one number of it.
        """
        shared = U32
        rivals = _places(others)
        for place in rivals:
            shared &= self._all[place]
        members = _places(same)
        masks: dict[int, Places] = {}
        while shared:
            bit = shared & -shared
            shared ^= bit
            masks[bit] = others
            for place in members:
                if self._some[place] & bit:
                    masks[bit] |= 1 << place
        before = [0, *accumulate((self._some[place] for place in members), or_)]
        behind = 0
        masks[U32 & ~before[-1]] = others
        for at in reversed(range(len(members) if len(members) > 1 else 0)):
            masks[U32 & ~(before[at] | behind)] = others | 1 << members[at]
            behind |= self._some[members[at]]
        for mask, rest in masks.items():
            if rest & due or rest == same | others:
                continue
            if all(self._hit(place, mask) for place in rivals):
                for count, tree in self._rest(rest, most):
                    yield count, Bits(mask, tree, End(label, 0))

    def _hit(self, place: int, mask: int) -> bool:
        """Return True if all numbers of the item have a bit of ``mask``."""
        if self._all[place] & mask:
            return True
        if self._singles >> place & 1:
            return False
        item = self._items[place]
        return not some_without(item.first, item.last, mask)

    def _rest(self, rest: Places, most: int) -> Iterator[tuple[int, Tree]]:
        """Yield what ``short`` finds where one of ``most`` tests is spent, and counts it."""
        count, trees = self.short(rest, most - 1)
        for tree in trees:
            yield count + 1, tree


@lru_cache(maxsize=64)
def _shapes(items: tuple[_Span, ...], deepest: int) -> _Shapes:
    """Return the shapes for a line: the same list is searched with many weights, ends and ABIs."""
    return _Shapes(items, deepest)


def _chain(label: int, members: Sequence[Item]) -> Tree:
    """Return the tree that takes all but ``label`` out, the heaviest first."""
    tree: Tree = End(label, 0)
    taken = [item for item in members if item.label != label]
    for item in sorted(taken, key=lambda item: (item.weight, -item.first)):
        tree = Hole(item.first, End(item.label, 0), tree)
    return tree


@lru_cache(maxsize=1 << 16)
def _places(places: Places) -> tuple[int, ...]:
    """Return the places in a set, in ascending order."""
    found = []
    while places:
        low = places & -places
        found.append(low.bit_length() - 1)
        places ^= low
    return tuple(found)


class _Part(NamedTuple):
    """Some of an item's numbers: bit n of ``numbers`` for n, or 0 where they stay together.

    Only short intervals of small numbers are followed that closely, since only there is the
    weight of one part worth knowing.
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
    """The costs of small trees, once it is known what follows at their ends."""

    def __init__(self, price: int) -> None:
        self._price = price
        self._ends: list[tuple[int, int, int]] = []
        self._starts: list[int] = []
        self._spent: list[int] = []

    def add(self, shapes: Sequence[Tree], items: Sequence[Item]) -> range:
        """Take ``shapes`` for ``items`` in; return their places in ``costs``."""
        parts = [_Part.of(item) for item in items]
        first = len(self._starts)
        for shape in shapes:
            self._starts.append(len(self._ends))
            self._spent.append(self._walk(shape, parts, 0, self._ends))
        return range(first, len(self._starts))

    def costs(self, ends: Costs) -> Costs:
        """Return the cost of each tree, by budget, where labels end as ``ends`` say."""
        if not self._starts:
            return ends[:0]
        shifted = [ends]
        for _ in range(_MOST_TAKEN):
            shifted.append(later(shifted[-1]))
        behind = np.array(shifted)  # by the number of tests before, label and budget
        impossible = behind >= IMPOSSIBLE
        behind[impossible] = 0
        # All at once: to call numpy takes longer than what it does here.
        depths, labels, weights = self._arrays
        weighed = behind[depths, labels] * weights
        costs: Costs = np.add.reduceat(weighed, self._starts) + self._all_spent
        costs[np.logical_or.reduceat(impossible[depths, labels], self._starts)] = IMPOSSIBLE
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
        """Return what the tests of ``shape`` cost, and add its ends: depth, label, weight."""
        weight = 0
        for part in parts:
            weight += part.weight
        yes: list[_Part] = []
        no: list[_Part] = []
        match shape:
            case End(label):
                ends.append((depth, label, weight))
                return 0
            case Cut(k, above=one, below=other):
                for part in parts:
                    (yes if part.item.first >= k else no).append(part)
            case Hole(k, equal=one, rest=other):
                for part in parts:
                    (yes if part.item.first == k == part.item.last else no).append(part)
            case Bits(mask, any=one, none=other):
                for part in parts:
                    some, none = part.halved(mask)
                    yes += some
                    no += none
            case _:
                raise AssertionError(shape)
        below = self._walk(one, yes, depth + 1, ends) + self._walk(other, no, depth + 1, ends)
        return below + weight * SCALE + self._price
