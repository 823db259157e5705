"""Decision lists: masks tested one after the other; each decides for some values.

A test ``word & mask == k`` decides if all values that it takes, and no earlier test has taken, have
one outcome. Such tests can be made in any order, and none makes a later one worse. So a list is no
longer than the number of masks, however many intervals they make together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.compile.tree import keeps_word, preparations
from seccompgen.compile.words import NO, YES
from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.compile.budget import Steps
    from seccompgen.compile.words import WordDiagrams, WordId

Test = tuple[int, int]
"""(mask, k) for ``word & mask == k``."""


class ListStep(NamedTuple):
    """A test that decides for ``label``, the ``seen`` values that it takes, and the rest.

    ``care`` is YES for the values that remain; ``rest`` is any function that is right for these.
    """

    mask: int
    k: int
    label: int
    seen: list[tuple[int, int]]
    rest: WordId
    care: WordId


def decision_list(
    words: WordDiagrams,
    line: WordId,
    masks: Sequence[Test],
    seen: Iterable[tuple[int, int]],
    steps: Steps,
) -> Iterator[ListStep]:
    """Yield steps until one outcome is left, or no mask decides.

    Values under one mask come together, since they share it. The masks come first that take most
    seen weight per instruction, then those that need no other bits than the accumulator's, then
    those with most values.
    """
    no = words.constant(NO)
    care = words.constant(YES)
    # For each test the values that it takes and no earlier one has, and its label if it decides.
    inside = {test: cube for test in masks if (cube := words.masked(*test)) != no}
    deciding: dict[Test, int] = {}
    asked = list(inside)
    left = list(seen)
    held = U32
    while words.outcome(line) is None:
        for test in asked:
            label = words.outcome_where(inside[test], line, steps)
            if label is not None:
                assert isinstance(label, int)
                deciding[test] = label
        if not deciding:
            return
        mask, values = _next(_largest(deciding), left, held)
        changed: set[Test] = set()
        for k in values:
            cube = words.masked(mask, k)
            care = words.where(cube, no, care)
            taken = [pair for pair in left if pair[0] & mask == k]
            left = [pair for pair in left if pair[0] & mask != k]
            line = words.restricted(line, care, YES)
            yield ListStep(mask, k, deciding.pop((mask, k)), taken, line, care)
            if words.outcome(line) is not None:
                return
            del inside[mask, k]
            for test, values_inside in inside.items():
                if not (test[1] ^ k) & test[0] & mask:  # else the two have no value in common
                    inside[test] = words.where(cube, no, values_inside)
                    changed.add(test)
        for test in changed & inside.keys():
            if inside[test] == no:
                del inside[test]
                deciding.pop(test, None)
        asked = [test for test in inside if test in changed and test not in deciding]
        held = U32 if keeps_word(mask, values[-1]) else mask


def _largest(deciding: dict[Test, int]) -> list[Test]:
    """Return the tests, except those whose values another test of the same label takes too."""
    return [
        (mask, k)
        for (mask, k), label in deciding.items()
        if not any(
            other == label and m & mask == m and k & m == j and (m, j) != (mask, k)
            for (m, j), other in deciding.items()
        )
    ]


def _next(
    tests: Sequence[Test], left: Sequence[tuple[int, int]], held: int
) -> tuple[int, list[int]]:
    """Return the mask to test next, and its values; 0 first, which needs no mask instruction."""
    groups: dict[int, list[int]] = {}
    for mask, k in tests:
        groups.setdefault(mask, []).append(k)
        groups[mask].sort()

    def rating(mask: int) -> tuple[int, int, int]:
        values = groups[mask]
        length = len(values) + preparations(held, U32 if keeps_word(mask, values[-1]) else mask)
        weight = sum(weight for value, weight in left if value & mask in values)
        return weight * 64 // length, -preparations(held, mask), len(values)

    best = max(groups, key=rating)
    return best, groups[best]
