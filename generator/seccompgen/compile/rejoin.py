"""The last pass: paths that rejoin, where tests at several places can be one test.

No two paths of a tree meet again before their end. Here they may. Suppose that two places test one
word and lead to the same two nodes::

    for 64 to 71                  for 32 to 39
    jeq 64 -> allow, else         jge 36 -> the next, else kill
    jge 68 -> allow, else kill    jeq 39 -> kill, else allow

Each place can be written as a list: a first test leads some values to one of the nodes, and a last
one divides the rest. A place has many such lists. If each place has a list whose rest the same last
test divides, all of them go on in that one test::

    jeq 64 -> allow, else T       jeq 39 -> kill, else T          T: jset 4 -> allow, else kill

which saves an instruction for each place but one. A single test is a list too, whose first is
missing. Longer lists were tried: they save hardly more, and take ten times as long.

**No answer changes.** ``_Rejoiner`` knows for each test a set of values of its word that includes
all with which it can be entered. For each of these, the new tests at a place end in the node in
which the old ones ended, and load nothing. So a call passes the same places in the same order,
however many are changed at once, and reads the same words. The kernel's bitmap of numbers that are
allowed before any argument is read therefore loses none.

**No path grows.** A place of two tests keeps two. An end that was one test away comes to be two
tests away only if another path to it had two, or if it is an answer; the paths to the other ends
of the place are then no shorter.

**Nothing is dearer.** A list may take other values first than the tree did. The additional
instructions executed must not exceed the objective's price for the instruction saved.

``_STEPS`` bounds the work; once they are spent, the lists found so far are used.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from math import lcm
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.compile.diagram import Leaf, TestNode
from seccompgen.compile.ranges import (
    EVERY,
    WordTest,
    divided,
    joined,
    mask_between,
    parts_taken,
    test_between,
)
from seccompgen.core.model import U32
from seccompgen.core.program import NR_OFFSET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.compile.diagram import Diagram, LoadedWord, NodeId
    from seccompgen.compile.lower import NumberRange
    from seccompgen.compile.ranges import Ranges
    from seccompgen.core.model import Origin

_STEPS = 10_000
"""The most lists that are looked at, plus attempts to put a list into a group."""
_MOST_RANGES = 64
"""A set of more ranges is widened to one range without gaps."""
_MOST_NUMBERS = 64
"""Longer spans are represented by their first number, as in `bounds.cost`."""


class Frequencies:
    """The exact weights of the numbers of one line, on a scale of their own."""

    def __init__(self, spans: Sequence[NumberRange], weights: Sequence[int]) -> None:
        lengths = [span.last - span.first + 1 for span in spans]
        self._lengths = [length if length <= _MOST_NUMBERS else 1 for length in lengths]
        self.scale = lcm(*self._lengths)
        self._each = [w * self.scale // n for w, n in zip(weights, self._lengths, strict=True)]
        self._starts = [span.first for span in spans]
        self._before = [0, *accumulate(w * self.scale for w in weights)]

    def of(self, values: Ranges) -> int:
        """Return the weight of ``values`` together, times ``scale``."""
        return sum(self._below(last + 1) - self._below(first) for first, last in values)

    def _below(self, number: int) -> int:
        at = bisect_right(self._starts, number) - 1
        inside = min(number - self._starts[at], self._lengths[at])
        return self._before[at] + self._each[at] * inside


class _TestList(NamedTuple):
    """A list for ``place``: ``first`` leads to ``to``, a last test divides ``low`` from ``high``.

    The values ``low`` and ``high`` lead to the lower and the higher numbered of the two ends.
    Without ``first`` they are all values. ``inner`` is the test that the list replaces, ``slower``
    the number of additional executed instructions, times weight.
    """

    place: NodeId
    low: Ranges
    high: Ranges
    inner: NodeId | None = None
    first: WordTest | None = None
    to: NodeId = 0
    slower: float = 0

    @property
    def nodes(self) -> set[NodeId]:
        return {self.place} if self.inner is None else {self.place, self.inner}


@dataclass(slots=True)
class _MergedTest:
    """Lists that share their last test, which leads to the nodes ``ends``."""

    ends: tuple[NodeId, NodeId]
    lists: list[_TestList]
    low: Ranges
    high: Ranges


def rejoined(
    graph: Diagram,
    roots: Sequence[NodeId],
    frequencies: Sequence[Frequencies],
    price: float | None,
) -> list[NodeId]:
    """Return roots that do the same as ``roots`` in fewer instructions, or ``roots``.

    Any number may enter a root; ``frequencies`` are those of the numbers that reach each. A saved
    instruction may slow down calls of weight ``price``, or of any weight if that is None.
    """
    places = _Rejoiner(graph, roots, frequencies, price)
    return places.rebuilt(places.groups())


class _Rejoiner:
    """All tests below ``roots``, and the lists that can take their places."""

    def __init__(
        self,
        graph: Diagram,
        roots: Sequence[NodeId],
        frequencies: Sequence[Frequencies],
        price: float | None,
    ) -> None:
        self._graph = graph
        self._roots = roots
        self._frequencies = frequencies
        self._price = price
        self._steps = _STEPS
        self._order = sorted(_reached(graph, roots))
        """Children before their parents."""
        self._users = Counter(roots)
        self._parts: dict[NodeId, tuple[Ranges, Ranges]] = {}
        """For each test of a whole word, the values that it leads each way."""
        self._lines: dict[NodeId, set[int]] = {}
        """For each test of a number, the indices of the roots from which it is reached."""
        self._follow()

    def _follow(self) -> None:
        coming: dict[NodeId, Ranges] = dict.fromkeys(self._roots, EVERY)
        for line, root in enumerate(self._roots):
            self._lines.setdefault(root, set()).add(line)
        for number, node in self._tests(reversed(self._order)):
            parts = EVERY, EVERY
            if node.value.mask == U32:
                parts = divided(coming[number], node.relation, node.k)
                self._parts[number] = parts
            for child, part in zip((node.true, node.false), parts, strict=True):
                self._users[child] += 1
                if self._same_word(node, child):
                    both = joined(coming.get(child, ()), part)
                    coming[child] = both if len(both) <= _MOST_RANGES else _without_gaps(both)
                    self._lines.setdefault(child, set()).update(self._lines.get(number, ()))
                else:
                    coming[child] = EVERY

    def _tests(self, numbers: Iterable[NodeId]) -> Iterator[tuple[NodeId, TestNode]]:
        for number in numbers:
            node = self._graph.nodes[number]
            if isinstance(node, TestNode):
                yield number, node

    def _same_word(self, node: TestNode, child: NodeId) -> bool:
        """Return True if ``child`` tests what ``node`` leaves in the accumulator."""
        below = self._graph.nodes[child]
        return isinstance(below, TestNode) and below.value == node.value

    # --- lists ------------------------------------------------------------------------------

    def groups(self) -> list[_MergedTest]:
        """Return groups of lists that save instructions; a node is in one list at most."""
        found: dict[tuple[LoadedWord, NodeId, NodeId], list[_TestList]] = {}
        for number, node in self._tests(self._order):
            if number in self._parts and all(self._parts[number]):
                for ends, one in self._lists(number, node):
                    found.setdefault((node.value, *ends), []).append(one)
        used: set[NodeId] = set()
        return [
            group
            for (_, *ends), lists in found.items()
            for group in self._grouped((ends[0], ends[1]), lists, used)
        ]

    def _lists(
        self, place: NodeId, node: TestNode
    ) -> Iterator[tuple[tuple[NodeId, NodeId], _TestList]]:
        parts = dict(zip((node.true, node.false), self._parts[place], strict=True))
        (low, lows), (high, highs) = sorted(parts.items())
        yield (low, high), _TestList(place, lows, highs)
        lines = self._lines.get(place, ())
        if self._price is not None and (node.value.offset != NR_OFFSET or len(lines) != 1):
            return  # The frequencies of the values are not known here.
        for near, inner in ((node.true, node.false), (node.false, node.true)):
            if self._users[inner] > 1 or not self._same_word(node, inner):
                continue
            below = self._graph.nodes[inner]
            assert isinstance(below, TestNode)
            sets = {near: parts[near]}
            for end, values in zip((below.true, below.false), self._parts[inner], strict=True):
                sets[end] = joined(sets.get(end, ()), values)
            if all(sets.values()):
                before = self._weight(place, parts[near])
                yield from self._decided(place, inner, near, sets, before)

    def _decided(
        self,
        place: NodeId,
        inner: NodeId,
        near: NodeId,
        sets: dict[NodeId, Ranges],
        before: float,
    ) -> Iterator[tuple[tuple[NodeId, NodeId], _TestList]]:
        """Yield the lists that lead the values ``sets[end]`` to each ``end``.

        The first test of the tree leads values of weight ``before`` to ``near``.
        """
        for to, values in sets.items():
            ends = sorted(end for end in sets if len(sets) == 2 or end != to)
            if len(sets) == 3 and (to == near or not self._answers(near)):
                continue
            others: Ranges = ()
            for end, more in sets.items():
                others = joined(others, more) if end != to else others
            for taken, left, test in parts_taken(values, others):
                self._steps -= 1
                if self._steps < 0:
                    return
                if bool(left) != (to in ends):
                    continue
                low, high = (left if end == to else sets[end] for end in ends)
                slower = before - self._weight(place, taken)
                dear = self._price is not None and slower > self._price
                if not dear and (mask_between(low, high) or mask_between(high, low)):
                    one = _TestList(place, low, high, inner, test, to, slower)
                    yield (ends[0], ends[1]), one

    def _answers(self, number: NodeId) -> bool:
        return isinstance(self._graph.nodes[number], Leaf)

    def _weight(self, place: NodeId, values: Ranges) -> float:
        if self._price is None:
            return 0
        lines = (self._frequencies[line] for line in self._lines.get(place, ()))
        return sum(line.of(values) / line.scale for line in lines)

    # --- groups -----------------------------------------------------------------------------

    def _grouped(
        self, ends: tuple[NodeId, NodeId], lists: list[_TestList], used: set[NodeId]
    ) -> list[_MergedTest]:
        """Put each of ``lists`` into the first group that it fits; add its nodes to ``used``.

        Lists that slow nothing down come first.
        """
        groups: list[_MergedTest] = []
        for one in sorted(lists, key=lambda one: (one.first is not None, one.slower)):
            if used.isdisjoint(one.nodes):
                group = next((group for group in groups if self._fits(one, group, used)), None)
                if group is None:
                    groups.append(_MergedTest(ends, [one], one.low, one.high))
                    continue
                group.lists.append(one)
                group.low = joined(group.low, one.low)
                group.high = joined(group.high, one.high)
                for member in group.lists:
                    used |= member.nodes
        return [group for group in groups if len(group.lists) > 1]

    def _fits(self, one: _TestList, group: _MergedTest, used: set[NodeId]) -> bool:
        slower = one.slower
        if len(group.lists) == 1:
            alone = group.lists[0]
            slower += alone.slower
            if not (used | one.nodes).isdisjoint(alone.nodes):
                return False
        if self._steps <= 0 or (self._price is not None and slower > self._price):
            return False
        self._steps -= 1
        low, high = joined(group.low, one.low), joined(group.high, one.high)
        return test_between(low, high) is not None

    # --- the new diagram --------------------------------------------------------------------

    def rebuilt(self, groups: Iterable[_MergedTest]) -> list[NodeId]:
        """Return the roots, with each list of ``groups`` in its place."""
        graph = self._graph
        placed = {one.place: (one, group) for group in groups for one in group.lists}
        if not placed:
            return list(self._roots)
        gone = {one.inner for one, _ in placed.values()}
        new: dict[NodeId, NodeId] = {}
        for number in self._order:
            node = graph.nodes[number]
            if isinstance(node, Leaf):
                new[number] = number
            elif number in placed:
                one, group = placed[number]
                origins = tuple(o for old in sorted(one.nodes) for o in graph.origins(old))
                between = test_between(group.low, group.high)
                assert between is not None
                low, high = (new[end] for end in group.ends)
                at = self._test(node.value, between, low, high, origins)
                if one.first is not None:
                    at = self._test(node.value, one.first, new[one.to], at, origins)
                new[number] = at
            elif number not in gone:
                branches = new[node.true], new[node.false]
                origins = graph.origins(number)
                new[number] = graph.test(node.value, node.relation, node.k, *branches, origins)
        return [new[root] for root in self._roots]

    def _test(
        self,
        value: LoadedWord,
        test: WordTest,
        meant: NodeId,
        other: NodeId,
        origins: Iterable[Origin],
    ) -> NodeId:
        branches = (meant, other) if test.holds else (other, meant)
        return self._graph.test(value, test.relation, test.k, *branches, origins)


def _reached(graph: Diagram, roots: Iterable[NodeId]) -> set[NodeId]:
    seen: set[NodeId] = set()
    stack = list(roots)
    while stack:
        number = stack.pop()
        if number not in seen:
            seen.add(number)
            node = graph.nodes[number]
            if isinstance(node, TestNode):
                stack += (node.true, node.false)
    return seen


def _without_gaps(values: Ranges) -> Ranges:
    return ((values[0][0], values[-1][1]),)
