"""The best tests on one word: on its intervals, and under the masks that the policy has."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from seccompgen.compile.linefacts import LineFacts
from seccompgen.compile.search import ROUGH, WORD
from seccompgen.compile.tree import IMPOSSIBLE, SCALE, UNBOUNDED, count_tests, later
from seccompgen.compile.words import NO, YES, Words
from seccompgen.compile.wordtrees import Known, Line, Split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.compile.decisionlist import Step
    from seccompgen.compile.linefacts import Helpful, Seen
    from seccompgen.compile.search import Effort
    from seccompgen.compile.tree import Costs
    from seccompgen.compile.words import WordId
    from seccompgen.compile.wordtrees import WordTrees

Sample: TypeAlias = tuple[tuple[int, ...], int]
"""Six arguments, and how often they are seen."""

_MOST_SEARCHES = 1 << 12
_MOST_NODES = 1 << 20
"""More is not kept from program to program."""
_SIMPLE = 3
"""Words with more intervals are searched for masks as well."""
_MOST_BIT_SEARCHES = 16
"""So many functions of a word are searched for tests of bits."""
_FEW_AFTER = 16
_MOST_TAILS = 4
"""Lists of masks may end where so few intervals are left; so many ends are tried."""
_MOST_RUNS = 10_000
"""Words with more intervals are tested by their bits."""
_FEW_RUNS = 64
"""Words with more intervals are not searched as such where a mask helps."""
_RUNS_OF_A_NODE = 4
"""Words with more intervals than so many times their nodes repeat themselves, as masks make them
do; beyond ``_FEW_RUNS`` they are tested by their bits. Listed values have more nodes than that."""
_MOST_MASKS = 3
"""So many masks are tried, those that leave the fewest intervals."""
_MOST_TRIED = 100
"""After so many functions of a word only the best mask is tried."""
_MOST_BY_BITS = 64
"""So many functions of a word are tested by their highest bit."""
_MOST_RESTRICTIONS = 8
"""After that has failed, a mask is tried so often by what it leaves to ask."""


class TooManyError(Exception):
    """The rules have no diagram of reasonable size."""


class Searched(NamedTuple):
    """The result of a search: ``trees``, what they cost from before the load on, and their tests.

    ``costs`` are for a unit of weight, ``size`` counts the load too; ``intervals`` were searched.
    """

    trees: WordTrees
    costs: Costs
    size: int
    intervals: int


class WordSearches:
    """The searches on words that are asked under the same masks, each done once."""

    def __init__(self, facts: LineFacts) -> None:
        self._facts = facts
        self._known: dict[tuple[WordId, Seen, int, bytes, bool, bool], Searched | None] = {}

    def __len__(self) -> int:
        return len(self._known)

    def best(
        self, line: WordId, seen: Seen, rest: int, ends: Costs, *, rough: bool, stubborn: bool
    ) -> Searched:
        """Return the best trees for ``line`` and raise TooManyError, as `WordSearch.best`."""
        key = line, seen, rest, ends.tobytes(), rough, stubborn
        if key not in self._known:
            try:
                self._known[key] = self._searched(line, seen, rest, ends, rough, stubborn)
            except TooManyError:
                self._known[key] = None
        found = self._known[key]
        if found is None:
            raise TooManyError
        return found

    def _searched(
        self, line: WordId, seen: Seen, rest: int, ends: Costs, rough: bool, stubborn: bool
    ) -> Searched:
        search = WordSearch(self._facts, ends, ROUGH if rough else WORD, stubborn=stubborn)
        trees = search.best(line, seen, rest)
        costs = np.where(trees.costs >= IMPOSSIBLE, IMPOSSIBLE, trees.costs // trees.weight)
        costs = np.minimum(later(costs) + SCALE, IMPOSSIBLE)
        size = 1 + count_tests(trees.tree(UNBOUNDED))
        return Searched(trees, costs, size, search.searched)


class SharedWords:
    """Functions of words, and the searches on them, for all programs that use them.

    A result depends on the question alone, not on what was asked before. So the ABIs of a policy,
    which ask their words nearly the same, share them, and none shows which ones came first.
    """

    def __init__(self) -> None:
        self.words = Words()
        self._searches: dict[tuple[tuple[tuple[int, int], ...], int], WordSearches] = {}

    def searches(self, masks: tuple[tuple[int, int], ...], price: int) -> WordSearches:
        """Return the searches with ``masks`` and ``price`` as in `LineFacts`."""
        found = self._searches.get((masks, price))
        if found is None:
            found = WordSearches(LineFacts(self.words, masks, price))
            self._searches[masks, price] = found
        return found

    @property
    def is_full(self) -> bool:
        """True if so much is kept that it would better be forgotten."""
        kept = sum(map(len, self._searches.values()))
        return kept > _MOST_SEARCHES or len(self.words) > _MOST_NODES


_shared = SharedWords()


def shared_words() -> SharedWords:
    """Return those of this process; they are only replaced between two programs."""
    global _shared  # noqa: PLW0603 - a cache, which no result depends on
    if _shared.is_full:
        _shared = SharedWords()
    return _shared


class WordSearch:
    """The search for one word; ``ends`` and ``effort`` are as in ``Search``.

    ``facts`` come with the price of a test, and the masks to try. A ``stubborn`` search goes on
    where others give up, for rules that cannot be tested one after the other. ``searched`` counts
    the intervals that were searched.
    """

    def __init__(
        self,
        facts: LineFacts,
        ends: Costs,
        effort: Effort,
        *,
        stubborn: bool = False,
    ) -> None:
        self._facts = facts
        self._words = facts.words
        self._masks = facts.masks
        self._ends = ends
        self._price = facts.price
        self._effort = effort
        self._stubborn = stubborn
        self.searched = 0
        self._tried = self._tested_by_bits = self._restrictions = self._searched_bits = 0
        self._known: dict[tuple[WordId, Seen, int], WordTrees] = {}

    def best(self, line: WordId, seen: Seen, rest: int) -> WordTrees:
        """Return the best trees for ``line``, whose outcomes are labels.

        ``rest`` is the weight of values that are not among those ``seen``. A mask is tried where
        it makes both sides simpler; what the other side of a test decides is free on this one,
        and filled in so as to leave few intervals. Where there are too many intervals and no
        mask helps, the bits are tested from the highest down.

        Raises TooManyError where that would make a large tree.
        """
        key = line, seen, rest
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._best(line, seen, rest)
        return known

    def _best(self, line: WordId, seen: Seen, rest: int) -> WordTrees:
        label = self._words.outcome(line)
        if label is not None:
            assert isinstance(label, int)
            return Known(label, sum(weight for _, weight in seen) + max(rest, 1), self._ends)
        runs = self._words.runs(line)
        found: list[WordTrees] = []
        if len(self._masks) > 1 and runs > _SIMPLE:
            found += self._by_few_bits(line, seen, rest)
            found += self._by_list(line, seen, rest)
        if not found or runs <= _FEW_RUNS:
            found += self._split(line, seen, rest)
        if runs <= _FEW_RUNS or (not found and self._is_listed(line, runs)):
            found.append(self._line(line, seen, rest))
        if found:
            return min(found, key=lambda trees: int(trees.costs[UNBOUNDED]) * SCALE // trees.weight)
        outermost = self._stubborn and self._tested_by_bits == 0
        try:
            return self._by_bits(line, seen, rest)
        except TooManyError:
            split = self._restricted(line, seen, rest) if outermost else None
            if split is None:
                raise
            return split

    def _by_few_bits(self, line: WordId, seen: Seen, rest: int) -> Iterator[WordTrees]:
        """Yield the best trees of tests of bits, where few of these matter."""
        if self._searched_bits < _MOST_BIT_SEARCHES:
            self._searched_bits += 1
            search = self._facts.bits(line, seen, rest)
            if search is not None:
                yield search.best(self._ends)

    def _by_list(self, line: WordId, seen: Seen, rest: int) -> Iterator[WordTrees]:
        """Yield trees that test one mask after the other, until few intervals are left."""
        listed = self._facts.listed(line, seen)
        steps = [one.step for one in listed]
        tails = 0
        for length, (_, left, after, runs) in enumerate(listed, 1):
            if runs <= _FEW_AFTER and tails < _MOST_TAILS:
                tails += 1
                tail = self._line(after, left, rest // (length + 1))
                yield self._listed(steps[:length], tail, rest)
        if listed and _FEW_AFTER < listed[-1].runs < self._words.runs(line):
            _, left, after, _ = listed[-1]
            with contextlib.suppress(TooManyError):
                yield self._listed(steps, self.best(after, left, rest // (len(steps) + 1)), rest)

    def _listed(self, steps: Sequence[Step], tail: WordTrees, rest: int) -> WordTrees:
        share = max(rest // (len(steps) + 1), 1)
        for step in reversed(steps):
            weight = sum(weight for _, weight in step.seen) + share
            equal = Known(step.label, weight, self._ends)
            tail = Split(step.mask, step.k, equal, tail, self._price)
        return tail

    def _split(self, line: WordId, seen: Seen, rest: int) -> Iterator[WordTrees]:
        """Yield trees that begin with a mask that makes both sides simpler."""
        for mask, k, yes, no in self._helpful(line):
            there, elsewhere = _parted(seen, mask, k)
            try:
                equal = self.best(yes, there, rest // 2)
                other = self.best(no, elsewhere, rest // 2)
            except TooManyError:
                if not self._stubborn:
                    raise
                continue  # another mask, or no mask, may do
            yield Split(mask, k, equal, other, self._price)

    def _restricted(self, line: WordId, seen: Seen, rest: int) -> WordTrees | None:
        """Return trees that begin with the mask that leaves least to ask, if one leaves less.

        Here what the other side of a test decides is filled in bit by bit, so that masks come apart
        whose combination has no fewer intervals for any one of them.
        """
        words, best = self._words, None
        self._restrictions += 1
        if self._restrictions > _MOST_RESTRICTIONS:
            return None
        for mask, k in self._masks:
            equal = words.masked(mask, k)
            sides = [words.restricted(line, equal, outcome) for outcome in (YES, NO)]
            sizes = [words.size(side) for side in sides]
            if max(sizes) < words.size(line) and (best is None or sum(sizes) < best[0]):
                best = sum(sizes), mask, k, sides
        if best is None:
            return None
        _, mask, k, (yes, no) = best
        self._tested_by_bits = 0
        there, elsewhere = _parted(seen, mask, k)
        with contextlib.suppress(TooManyError):
            equal_trees = self.best(yes, there, rest // 2)
            return Split(mask, k, equal_trees, self.best(no, elsewhere, rest // 2), self._price)
        return None

    def _is_listed(self, line: WordId, runs: int) -> bool:
        return runs <= min(_MOST_RUNS, _RUNS_OF_A_NODE * self._words.size(line))

    def _helpful(self, line: WordId) -> list[Helpful]:
        """Return the masks that make both sides simpler, the best first."""
        if self._words.runs(line) <= _SIMPLE:
            return []
        self._tried += 1
        return self._facts.helpful(line)[: _MOST_MASKS if self._tried < _MOST_TRIED else 1]

    def _by_bits(self, line: WordId, seen: Seen, rest: int) -> WordTrees:
        self._tested_by_bits += 1
        if self._tested_by_bits > _MOST_BY_BITS:
            raise TooManyError
        bit, zero, one = self._words.highest(line)
        below, above = _parted(seen, bit, 0)
        without = self.best(zero, below, rest)
        having = self.best(one, above, rest)
        return Split(bit, 0, without, having, self._price)

    def _line(self, line: WordId, seen: Seen, rest: int) -> Known | Line:
        items = self._facts.items(line, seen, rest)
        self.searched += len(items)
        if len(items) == 1:
            return Known(items[0].label, items[0].weight, self._ends)
        return Line(items, self._ends, self._price, self._effort)


def _parted(seen: Seen, mask: int, k: int) -> tuple[Seen, Seen]:
    """Return the values of which ``k`` is left under ``mask``, and the others."""
    there = tuple(pair for pair in seen if pair[0] & mask == k)
    return there, tuple(pair for pair in seen if pair[0] & mask != k)
