"""The best tests on one word: on its intervals, and under the masks that the policy has."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from seccompgen.compile.budget import Results, TooManyError
from seccompgen.compile.search import ROUGH, WORD
from seccompgen.compile.tree import IMPOSSIBLE, SCALE, UNBOUNDED, later
from seccompgen.compile.wordtrees import IntervalTree, MaskedTree, OneLabel, Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from seccompgen.compile.budget import Steps
    from seccompgen.compile.decisionlist import ListStep
    from seccompgen.compile.linefacts import Helpful, LineFacts, Seen
    from seccompgen.compile.tree import Costs, Item
    from seccompgen.compile.words import WordId
    from seccompgen.compile.wordtrees import WordTrees

Sample: TypeAlias = tuple[tuple[int, ...], int]
"""Six arguments, and how often they are seen."""

_SIMPLE = 3
"""Words with more intervals are searched for masks as well."""
_MOST_BIT_SEARCHES = 16
_MOST_BIT_STATES = 3_000
"""The limits of searches for tests of bits per word: their number, and their states in all."""
_FEW_AFTER = 16
_MOST_TAILS = 4
"""Lists of masks may end once so few intervals are left; so many such ends are tried."""
_MOST_RUNS = 10_000
"""Words with more intervals are tested by their bits."""
_FEW_RUNS = 64
"""Words with more intervals are not searched by interval if a mask helps."""
_RUNS_OF_A_NODE = 4
"""Words with more intervals per node repeat themselves, as masks make them do; beyond ``_FEW_RUNS``

intervals they are tested by their bits. Listed values have more nodes than that."""
_MOST_MASKS = 3
"""The most masks that are tried: those that leave the fewest intervals."""
_MOST_TRIED = 100
"""After so many functions of a word only the best mask is tried."""
_MOST_NODES = 4_000
"""Words of larger diagrams are not tried with masks where rules can be tested in order; those of
real policies have at most 300 nodes."""
_STEPS_OF_A_STATE = 20
"""The steps for each state of a search for tests of bits."""
_CELLS_OF_A_STEP = 8
"""The entries of a table of costs that take one step."""
_MOST_BY_BITS = 64
"""The most functions of a word that are tested by their highest bit."""


class Care(NamedTuple):
    """The effort that a search may make.

    A ``rough`` one is for programs that have cost much already. A ``stubborn`` one goes on where
    others give up, for rules that cannot be tested one after the other. ``bits`` allows searches
    for bit tests, for words that the policy compares under several masks.
    """

    rough: bool = False
    stubborn: bool = False
    bits: bool = False


class Searched(NamedTuple):
    """The result of a search: ``trees``, their ``costs`` and ``size``, which include the load.

    ``costs`` are per unit of weight; ``size`` is a number of instructions.
    """

    trees: WordTrees
    costs: Costs
    size: int


class WordSearches:
    """The searches on words that are compared under the same masks, each done once.

    ``cells`` counts the 8-byte entries of the tables that they keep.
    """

    def __init__(self, facts: LineFacts) -> None:
        self._facts = facts
        self.cells = 0
        self._known: Results[tuple[WordId, Seen, int, bytes, Care], Searched] = Results()

    def __len__(self) -> int:
        return len(self._known)

    def best(
        self, line: WordId, seen: Seen, rest: int, ends: Costs, care: Care, steps: Steps
    ) -> Searched:
        """Return the best trees for ``line``; the arguments are as in `WordSearch`.

        Raises TooManyError if the trees would be large.
        """

        def make(own: Steps) -> Searched:
            search = WordSearch(self._facts, ends, care, own)
            candidates = search.best(line, seen, rest)
            if candidates is None:
                raise TooManyError
            found = _searched(candidates)
            self.cells += search.cells
            return found

        return self._known.of((line, seen, rest, ends.tobytes(), care), steps, make)


def _searched(candidates: Candidates) -> Searched:
    trees = candidates.cheapest
    costs = trees.costs // trees.weight
    costs[trees.costs >= IMPOSSIBLE] = IMPOSSIBLE
    costs = np.minimum(later(costs) + SCALE, IMPOSSIBLE)
    return Searched(trees, costs, 1 + trees.tests())


class Candidates:
    """Trees for one function of a word, priced only when the cheapest is asked for.

    A search that gives up in the end prices none.
    """

    def __init__(self, makers: Sequence[Callable[[], WordTrees]]) -> None:
        self._makers = makers

    @cached_property
    def cheapest(self) -> WordTrees:
        """The trees that cost least for a unit of weight, the first of several."""
        made = [make() for make in self._makers]
        return min(made, key=lambda trees: int(trees.costs[UNBOUNDED]) * SCALE // trees.weight)


class _Question(NamedTuple):
    """A function of a word, and the number of its intervals: ``runs``; see `WordSearch.best`."""

    line: WordId
    seen: Seen
    rest: int
    runs: int


class WordSearch:
    """The search for one word; ``ends`` are as in ``Search``.

    ``facts`` contain the price of a test, and the masks to try. ``cells`` counts the 8-byte entries
    of the tables kept.
    """

    def __init__(self, facts: LineFacts, ends: Costs, care: Care, steps: Steps) -> None:
        self._facts = facts
        self._words = facts.words
        self._masks = facts.masks
        self._ends = ends
        self._price = facts.price
        self._effort = ROUGH if care.rough else WORD
        self._care = care
        self._steps = steps
        self.cells = 0
        self._tried = self._tested_by_bits = 0
        self._searched_bits = self._states = 0
        self._known: dict[tuple[WordId, Seen, int], Candidates] = {}
        self._interval_trees: dict[tuple[Item, ...], IntervalTree] = {}

    def best(self, line: WordId, seen: Seen, rest: int) -> Candidates | None:
        """Return trees for ``line``, whose outcomes are labels; None if they would be large.

        ``rest`` is the weight of all values that are not ``seen``.
        """
        key = line, seen, rest
        found = self._known.get(key)
        if found is None:
            found = self._best(line, seen, rest)
            if found is not None:
                self._known[key] = found
        return found

    def _best(self, line: WordId, seen: Seen, rest: int) -> Candidates | None:
        label = self._words.outcome(line)
        if label is not None:
            assert isinstance(label, int)
            weight = sum(weight for _, weight in seen) + max(rest, 1)
            return Candidates([partial(OneLabel, label, weight, self._ends)])
        asked = _Question(line, seen, rest, self._words.runs(line))
        found: list[Callable[[], WordTrees]] = []
        if asked.runs > _SIMPLE and not self._is_large(line):
            if self._care.bits:
                found += self._by_few_bits(asked)
            if self._care.bits or len(self._masks) > 1:
                found += self._by_list(asked)
        if not found or asked.runs <= _FEW_RUNS:
            split = self._by_mask(asked)
            if split is None:
                return None
            found += split
        if asked.runs <= _FEW_RUNS or (not found and self._is_listed(asked)):
            found.append(self._intervals(asked.line, asked.seen, asked.rest))
        if not found:
            found += self._by_highest_bit(asked)
        if asked.runs > _SIMPLE:
            found += self._under_mask(asked)
        return Candidates(found) if found else None

    # --- strategies: each returns functions that make trees -----------------------------------

    def _by_few_bits(self, asked: _Question) -> Iterator[Callable[[], WordTrees]]:
        """Yield the best trees of bit tests, if few bits matter."""
        if self._searched_bits < _MOST_BIT_SEARCHES and self._states < _MOST_BIT_STATES:
            self._searched_bits += 1
            search = self._facts.bits(asked.line, asked.seen, asked.rest)
            if search is not None:
                self._steps.spend(_STEPS_OF_A_STATE * search.states)
                self._states += search.states
                if not search.gave_up:
                    yield partial(search.best, self._ends)

    def _by_list(self, asked: _Question) -> Iterator[Callable[[], WordTrees]]:
        """Yield trees that test one mask after the other, until few intervals are left."""
        listed = self._facts.listed(asked.line, asked.seen, self._steps)
        steps = [one.step for one in listed]
        tails = 0
        for length, (_, left, after, runs) in enumerate(listed, 1):
            if runs <= _FEW_AFTER and tails < _MOST_TAILS:
                tails += 1
                tail = self._intervals(after, left, asked.rest // (length + 1))
                yield partial(self._listed, steps[:length], tail, asked.rest)
        if listed and _FEW_AFTER < listed[-1].runs < asked.runs:
            _, left, after, _ = listed[-1]
            other = self.best(after, left, asked.rest // (len(steps) + 1))
            if other is not None:
                yield partial(self._listed, steps, lambda: other.cheapest, asked.rest)

    def _listed(
        self, steps: Sequence[ListStep], tail: Callable[[], WordTrees], rest: int
    ) -> WordTrees:
        share = max(rest // (len(steps) + 1), 1)
        trees = tail()
        for step in reversed(steps):
            weight = sum(weight for _, weight in step.seen) + share
            equal = OneLabel(step.label, weight, self._ends)
            trees = Split(step.mask, step.k, equal, trees, self._price)
        return trees

    def _by_mask(self, asked: _Question) -> list[Callable[[], WordTrees]] | None:
        """Return trees that begin with a mask that makes both sides simpler.

        Values that one side of a test takes are free on the other, and filled in there so as to
        leave few intervals. Return None to give up.
        """
        if asked.runs <= _SIMPLE or self._is_large(asked.line):
            return []
        nodes = len(self._masks) * self._words.size(asked.line)
        self._steps.spend(nodes * len(self._words.outcomes(asked.line)))
        found = []
        for helpful in self._helpful(asked):
            split = self._split(asked, *helpful)
            if split is not None:
                found.append(split)
            elif not self._care.stubborn:
                return None  # else another mask, or no mask, may do
        return found

    def _under_mask(self, asked: _Question) -> Iterator[Callable[[], WordTrees]]:
        """Yield trees on the bits that matter, if these have fewer intervals than the word."""
        found = self._facts.masked_items(asked.line, asked.seen, asked.rest, _FEW_AFTER)
        if found is not None:
            mask, items = found
            yield lambda: MaskedTree(mask, self._interval_tree(items), self._price)

    def _by_highest_bit(self, asked: _Question) -> list[Callable[[], WordTrees]]:
        """Return trees that test the bits from the highest down, if that takes few tests."""
        self._tested_by_bits += 1
        if self._tested_by_bits > _MOST_BY_BITS:
            return []
        bit, zero, one = self._words.highest(asked.line)
        split = self._split(asked, bit, 0, zero, one, asked.rest)
        return [] if split is None else [split]

    # --- parts of them ------------------------------------------------------------------------

    def _split(
        self,
        asked: _Question,
        mask: int,
        k: int,
        equal: WordId,
        other: WordId,
        rest: int | None = None,
    ) -> Callable[[], WordTrees] | None:
        """Return trees that begin with ``word & mask == k`` and go on with both sides, or None.

        ``rest`` is the weight of unseen values on each side, by default half of those here.
        """
        if rest is None:
            rest = asked.rest // 2
        there = tuple(pair for pair in asked.seen if pair[0] & mask == k)
        elsewhere = tuple(pair for pair in asked.seen if pair[0] & mask != k)
        one = self.best(equal, there, rest)
        two = None if one is None else self.best(other, elsewhere, rest)
        if one is None or two is None:
            return None
        return lambda: Split(mask, k, one.cheapest, two.cheapest, self._price)

    def _is_listed(self, asked: _Question) -> bool:
        if asked.runs > _MOST_RUNS:  # the common case, without counting nodes
            return False
        return asked.runs <= _RUNS_OF_A_NODE * self._words.size(asked.line)

    def _is_large(self, line: WordId) -> bool:
        return not self._care.stubborn and self._words.size(line) > _MOST_NODES

    def _helpful(self, asked: _Question) -> list[Helpful]:
        """Return the masks that make both sides simpler, the best first."""
        self._tried += 1
        return self._facts.helpful(asked.line)[: _MOST_MASKS if self._tried < _MOST_TRIED else 1]

    def _intervals(self, line: WordId, seen: Seen, rest: int) -> Callable[[], WordTrees]:
        items = self._facts.items(line, seen, rest)
        if len(items) == 1:
            return partial(OneLabel, items[0].label, items[0].weight, self._ends)
        return partial(self._interval_tree, items)

    def _interval_tree(self, items: tuple[Item, ...]) -> IntervalTree:
        """Return the best tree for ``items``; cached, since many lists of masks leave the same."""
        found = self._interval_trees.get(items)
        if found is None:
            found = IntervalTree(items, self._ends, self._price, self._effort)
            self._interval_trees[items] = found
            self.cells += found.cells
            self._steps.spend(found.cells // _CELLS_OF_A_STEP)
        return found
