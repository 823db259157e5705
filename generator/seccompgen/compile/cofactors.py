"""Cofactors: what remains of an argument's sets once one of its words is known.

Thousands of values must not take quadratic time: from one value of the word to the next, few sets
change, and only the nodes above these are rebuilt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.compile.budget import Results
from seccompgen.core.sets import ALL, NOTHING, Sets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.compile.budget import Steps
    from seccompgen.compile.words import WordDiagrams, WordId
    from seccompgen.core.word import Word

_WORD = 32
"""The level of a set at which the low word of its argument begins."""


class Cofactors:
    """The cofactors of all sets of some programs."""

    def __init__(self, sets: Sets, words: WordDiagrams) -> None:
        self._sets = sets
        self._words = words
        self._known: Results[tuple[tuple[int, ...], bool], tuple[WordId, list[dict[int, int]]]] = (
            Results()
        )

    def of(
        self, roots: tuple[int, ...], word: Word, steps: Steps
    ) -> tuple[WordId, list[dict[int, int]]]:
        """Return what remains of ``roots``, sets of one argument, for each value of its ``word``.

        The first result maps each value to an index into the second, whose entries map roots to
        what remains of them; empty ones are omitted.
        """
        top = 0 if word.is_high else _WORD
        return self._known.of((roots, word.is_high), steps, lambda own: self._of(roots, top, own))

    def _of(
        self, roots: tuple[int, ...], top: int, steps: Steps
    ) -> tuple[WordId, list[dict[int, int]]]:
        upper = _Upper(self._sets, roots, top)
        numbers: dict[tuple[tuple[int, int], ...], int] = {}

        def number(outcome: object) -> int:
            assert isinstance(outcome, tuple)
            filled = upper.filled({upper.lower[place]: node for place, node in outcome})
            after = tuple((root, filled[root]) for root in roots if root in filled)
            return numbers.setdefault(after, len(numbers))

        line = self._words.map(self._words.join(self._sets, upper.lower, top, steps), number)
        return line, [dict(after) for after in numbers]


class _Upper:
    """The part of ``roots`` above ``level``, to be filled in once the word below is known.

    ``lower`` are the sets below: what remains of a root for some value of the upper bits.
    """

    def __init__(self, sets: Sets, roots: Sequence[int], level: int) -> None:
        self._sets = sets
        self._parents: dict[int, list[int]] = {}
        self._bare: dict[int, int] = {ALL: ALL}
        """The parts with NOTHING for every lower set, except parts that then are NOTHING."""
        lower: set[int] = set()
        upper: set[int] = set()
        stack = list(roots)
        while stack:
            number = stack.pop()
            if number in (ALL, NOTHING) or number in upper or number in lower:
                continue
            own, *children = sets.nodes[number]
            if own >= level:
                lower.add(number)
                continue
            upper.add(number)
            for child in children:
                self._parents.setdefault(child, []).append(number)
                stack.append(child)
        self.lower = sorted(lower)
        self._fill(upper, self._bare)
        self._bare = {number: left for number, left in self._bare.items() if left != NOTHING}

    def filled(self, left: dict[int, int]) -> dict[int, int]:
        """Return each part with its ``lower`` sets replaced by ``left``.

        Sets that are not in ``left`` become NOTHING. Parts with nothing left are omitted.
        """
        above: set[int] = set()
        stack = list(left)
        while stack:
            for parent in self._parents.get(stack.pop(), ()):
                if parent not in above:
                    above.add(parent)
                    stack.append(parent)
        result = self._bare | left
        self._fill(above, result)
        return result

    def _fill(self, numbers: Iterable[int], into: dict[int, int]) -> None:
        nodes = self._sets.nodes
        for number in sorted(numbers, key=lambda number: (-nodes[number][0], number)):
            level, zero, one = nodes[number]
            into[number] = self._sets.node(level, into.get(zero, NOTHING), into.get(one, NOTHING))
