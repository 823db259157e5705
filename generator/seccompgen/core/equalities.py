"""Conditions that compare words for equality: what they fix, and which of them can overlap.

Most conditions of long policies are of that kind, and need no sets of values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.model import U32, U64, Comparison, Op

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ArgumentWord: TypeAlias = tuple[int, int]
"""The index of an argument, and U32 for its low word or U64 for all of it."""

LowWords: TypeAlias = "Mapping[int, int]"
"""The low words of arguments, by the argument's index."""


def word_values(tests: Iterable[Comparison]) -> dict[ArgumentWord, int] | None:
    """Return the values to which ``tests`` compare words; None if they do anything else."""
    values: dict[ArgumentWord, int] = {}
    for test in tests:
        mask = _mask(test)
        equal = test.op in {Op.EQ, Op.MASKED_EQ} and mask in {U32, U64}
        if not equal or test.value > mask or any(test.argument == known for known, _ in values):
            return None
        values[test.argument, mask] = test.value
    return dict(sorted(values.items()))


def low_words(tests: Iterable[Comparison]) -> LowWords:
    """Return the low words of all calls that can satisfy ``tests``, as far as equalities say."""
    return {
        test.argument: test.value & U32
        for test in tests
        if test.op in {Op.EQ, Op.MASKED_EQ} and _mask(test) & U32 == U32
    }


def _mask(test: Comparison) -> int:
    return test.mask & (U64 if test.width == 64 else U32)


class OverlapIndex:
    """An index of conditions, by what they demand of low words."""

    def __init__(self) -> None:
        self._demands: list[LowWords] = []
        self._fixed: dict[tuple[int, int], list[int]] = {}
        self._free: tuple[list[int], ...] = tuple([] for _ in range(6))

    def add(self, words: LowWords) -> None:
        """Add the next condition, which all calls with these low words may satisfy."""
        self._demands.append(words)
        for argument, free in enumerate(self._free):
            place = (
                self._fixed.setdefault((argument, words[argument]), [])
                if argument in words
                else free
            )
            place.append(len(self._demands) - 1)

    def widen(self, index: int, words: LowWords) -> None:
        """Add to a condition those calls that have the low words ``words``."""
        before = self._demands[index]
        self._demands[index] = dict(before.items() & words.items())
        for argument in before.keys() - self._demands[index].keys():
            self._free[argument].append(index)

    def near(self, words: LowWords) -> list[int]:
        """Return the indices, in order, of a few conditions, among them all that overlap another.

        The other one has the low words ``words``.
        """
        if not words:
            return list(range(len(self._demands)))
        few = min(
            ((self._fixed.get(word, ()), self._free[word[0]]) for word in words.items()),
            key=lambda lists: len(lists[0]) + len(lists[1]),
        )
        return sorted({*few[0], *few[1]})
