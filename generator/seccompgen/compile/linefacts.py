"""Facts about functions of a word that do not depend on what follows at their ends.

A program needs about a thousand searches of words, for a hundred functions: what follows differs
with the order of words. The facts about each function are cached here.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.compile.bittrees import BitSearch, bit_questions
from seccompgen.compile.budget import Results
from seccompgen.compile.decisionlist import decision_list
from seccompgen.compile.tree import Item
from seccompgen.compile.words import BITS
from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.compile.bittrees import BitQuestions
    from seccompgen.compile.budget import Steps
    from seccompgen.compile.decisionlist import ListStep
    from seccompgen.compile.words import WordDiagrams, WordId

Seen: TypeAlias = "tuple[tuple[int, int], ...]"
"""Values of a word in ascending order, with their weights."""

_MOST_STEPS = 128
"""The length at which lists of masks are cut off."""


class Listed(NamedTuple):
    """A test of a list of masks, the seen values ``left`` after it, and the remaining function.

    ``rest`` is that function, filled in to have few intervals; ``runs`` is their number.
    """

    step: ListStep
    left: Seen
    rest: WordId
    runs: int


class Helpful(NamedTuple):
    """A test ``word & mask == k`` that leaves a simpler function on each side."""

    mask: int
    k: int
    equal: WordId
    other: WordId


class LineFacts:
    """Facts about functions of one word.

    ``masks`` are candidates for tests, (mask, k) for ``word & mask == k``. ``price`` is the fixed
    cost of a test, executed or not.
    """

    def __init__(self, words: WordDiagrams, masks: Sequence[tuple[int, int]], price: int) -> None:
        self.words = words
        self.masks = masks
        self.price = price
        self._bits: dict[WordId, BitQuestions | None] = {}
        self._searches: dict[tuple[WordId, Seen, int], BitSearch | None] = {}
        self._listed: Results[tuple[WordId, Seen], list[Listed]] = Results()
        self._helpful: dict[WordId, list[Helpful]] = {}
        self._items: dict[tuple[WordId, Seen, int], tuple[Item, ...]] = {}
        self._gathered: dict[WordId, tuple[int, WordId]] = {}

    def bits(self, line: WordId, seen: Seen, rest: int) -> BitSearch | None:
        """Return the search for tests of the bits of ``line``, or None if many bits matter."""
        key = line, seen, rest
        if key not in self._searches:
            if line not in self._bits:
                self._bits[line] = bit_questions(self.words, line, self.masks)
            asked = self._bits[line]
            self._searches[key] = asked and BitSearch(asked, seen, rest, self.price)
        return self._searches[key]

    def listed(self, line: WordId, seen: Seen, steps: Steps) -> list[Listed]:
        """Return the decision list for ``line``: masks that decide, one after the other."""
        return self._listed.of((line, seen), steps, lambda own: self._list(line, seen, own))

    def _list(self, line: WordId, seen: Seen, steps: Steps) -> list[Listed]:
        found: list[Listed] = []
        left = seen
        tests = decision_list(self.words, line, self.masks, seen, steps)
        for step in islice(tests, _MOST_STEPS):
            left = tuple(pair for pair in left if pair[0] & step.mask != step.k)
            rest = self._filled(step.rest, step.care)
            found.append(Listed(step, left, rest, self.words.runs(rest)))
        return found

    def _filled(self, line: WordId, care: WordId) -> WordId:
        """Return a function with few intervals that is ``line`` where ``care`` is YES."""
        fills = map(self.words.constant, self.words.outcomes(line))
        filled = [line, *(self.words.where(care, line, fill) for fill in fills)]
        return min(filled, key=self.words.runs)

    def helpful(self, line: WordId) -> list[Helpful]:
        """Return the masks that make both sides of ``line`` simpler, the best first."""
        found = self._helpful.get(line)
        if found is None:
            words, runs = self.words, self.words.runs(line)
            rated = []
            for mask, k in self.masks:
                test = words.masked(mask, k)
                equal = self._simplest(line, test, wanted=True)
                if words.runs(equal) < runs:
                    other = self._simplest(line, test, wanted=False)
                    if words.runs(other) < runs:
                        left = words.runs(equal) + words.runs(other)
                        rated.append((left, Helpful(mask, k, equal, other)))
            rated.sort(key=lambda pair: pair[0])
            found = self._helpful[line] = [one for _, one in rated]
        return found

    def _simplest(self, line: WordId, test: WordId, *, wanted: bool) -> WordId:
        """Return ``line`` where ``test`` is ``wanted``, else the outcome that makes it simplest."""
        words = self.words
        sides = []
        for outcome in words.outcomes(line):
            fill = words.constant(outcome)
            sides.append(words.where(test, *((line, fill) if wanted else (fill, line))))
        return min(sides, key=words.runs)

    def masked_items(
        self, line: WordId, seen: Seen, rest: int, most: int
    ) -> tuple[int, tuple[Item, ...]] | None:
        """Return the bits that ``line`` looks at, and its intervals as values of these bits.

        None if these are more than ``most``, or as many as the word itself has.
        """
        known = self._gathered.get(line)
        if known is None:
            mask = self.words.support(line)
            gathered = line if mask == U32 else self.words.gathered(line, mask)
            known = self._gathered[line] = mask, gathered
        mask, gathered = known
        runs = self.words.runs(line)
        if gathered == line or self.words.runs(gathered) > min(most, runs - 1):
            return None
        bits = [1 << bit for bit in range(BITS) if mask >> bit & 1]
        weights: Counter[int] = Counter()
        for word, weight in seen:
            weights[sum(1 << place for place, bit in enumerate(bits) if word & bit)] += weight
        if runs <= max(rest, most):
            rest = max(rest // runs, 1) * runs  # as much as the word's own intervals weigh
        items = self.items(gathered, tuple(sorted(weights.items())), rest)

        def of_word(gathered: int) -> int:
            return sum(bit for place, bit in enumerate(bits) if gathered >> place & 1)

        return mask, tuple(
            item._replace(first=of_word(item.first), last=of_word(item.last)) for item in items
        )

    def items(self, line: WordId, seen: Seen, rest: int) -> tuple[Item, ...]:
        """Return the weighted intervals of ``line``; ``rest`` is the weight of all not ``seen``."""
        found = self._items.get((line, seen, rest))
        if found is not None:
            return found
        intervals = list(self.words.intervals(line))
        share = max(rest // len(intervals), 1)
        items = []
        at = 0
        for first, last, label in intervals:
            assert isinstance(label, int)
            weight = share
            while at < len(seen) and seen[at][0] <= last:
                weight += seen[at][1]
                at += 1
            items.append(Item(first, last, label, weight))
        found = self._items[line, seen, rest] = tuple(items)
        return found
