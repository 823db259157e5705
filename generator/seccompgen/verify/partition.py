"""The values of one word, divided into classes that no question about it tells apart.

Masks and comparisons are followed bit by bit from the highest, which finds every class there is,
with its least member.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate
from operator import or_
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from seccompgen.core.errors import UndecidedError
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from seccompgen.verify.followers import Question

_Positions: TypeAlias = tuple[tuple[int, int], ...]
"""Where words lie among the constants of each mask: see `Classes._find`."""
_T = TypeVar("_T")
_FEW = 64
"""Words of more classes are not cached: they may take megabytes each."""


class Classes:
    """The classes of one word by the ``questions`` that are asked of it, as bits of an int.

    ``members[n]`` is the least member of class n. Raises UndecidedError where there are more
    than ``most``.
    """

    def __init__(self, questions: Iterable[Question], most: int) -> None:
        self._most = most
        constants: dict[int, set[int]] = {}
        for question in questions:
            constants.setdefault(question.mask, set()).update(question.constants)
        self._masks = list(constants)
        self._constants = [sorted(constants[mask]) for mask in self._masks]
        # For each bit from the highest, how alike beginnings go on with 0 and with 1.
        self._longer: list[dict[_Positions, tuple[_Positions, _Positions]]] = []
        found = self._find()
        self._found = list(found)
        self.members = list(found.values())
        self.all = (1 << len(found)) - 1
        # For each mask and each place among its constants, the classes that lie there.
        self._at: list[list[int]] = [[0] * (2 * len(own) + 1) for own in self._constants]
        for n, places in enumerate(found):
            for at, (first, last) in zip(self._at, places, strict=True):
                at[first + last] |= 1 << n
        self._above = [list(accumulate(reversed(at), or_))[::-1] for at in self._at]
        self._answers: dict[Question, int] = {}

    def _find(self) -> dict[_Positions, int]:
        """Return the least member of each class, by where it lies among the constants of each mask.

        Bit by bit from the highest: beginnings of words are alike if, for every mask, the same
        constants begin as they do; these are ``constants[first:last]``, in the end one or none.
        What lies below ``first`` is less than the word, what lies from ``last`` on is more.
        """
        alike: dict[_Positions, int] = {tuple((0, len(own)) for own in self._constants): 0}
        for place in range(31, -1, -1):
            bit = 1 << place
            longer: dict[_Positions, int] = {}
            ways: dict[_Positions, tuple[_Positions, _Positions]] = {}
            for places, least in alike.items():
                zero, one = ways[places] = self._continued(places, bit)
                longer.setdefault(zero, least)
                longer.setdefault(one, least | bit)
            if len(longer) > self._most:
                text = f"a word falls into more than {self._most} classes"
                raise UndecidedError(text, kind=Problem.TOO_MANY_CASES)
            self._longer.append(ways)
            alike = longer
        return alike

    def _continued(self, places: _Positions, bit: int) -> tuple[_Positions, _Positions]:
        """Return where words lie that begin at ``places`` and go on with 0, and with 1, in ``bit``.

        Under a mask without the bit it counts as 0 in both.
        """
        zero: list[tuple[int, int]] = []
        one: list[tuple[int, int]] = []
        for mask, constants, (first, last) in zip(
            self._masks, self._constants, places, strict=True
        ):
            middle = _first_with(constants, first, last, bit)
            zero.append((first, middle))
            one.append((middle, last) if mask & bit else (first, middle))
        return tuple(zero), tuple(one)

    def fold(self, ends: Sequence[_T], node: Callable[[int, _T, _T], _T]) -> _T:
        """Fold ``ends``, one for each class, into one value, from the lowest bit to the highest.

        ``node`` is called with a place, 0 for the highest bit and 31 for the lowest, and the values
        folded for words with 0 and with 1 there.
        """
        folded = dict(zip(self._found, ends, strict=True))
        for place in range(31, -1, -1):
            folded = {
                begun: node(place, folded[zero], folded[one])
                for begun, (zero, one) in self._longer[place].items()
            }
        (whole,) = folded.values()
        return whole

    def least(self, classes: int) -> int:
        """Return the least member of the first of ``classes``, which must not be empty."""
        return self.members[(classes & -classes).bit_length() - 1]

    def true(self, question: Question) -> int:
        """Return the classes for which the answer is yes."""
        found = self._answers.get(question)
        if found is None:
            group = self._masks.index(question.mask)
            own, at, above = self._constants[group], self._at[group], self._above[group]
            found = 0
            for k in question.constants:
                place = 2 * bisect_left(own, k) + 1
                found |= at[place] if not question.more else above[place + 1]
            self._answers[question] = found
        return found


def classes_of(questions: frozenset[Question], most: int) -> Classes:
    """Return the classes of one word by ``questions``; ``most`` and errors are as for `Classes`.

    Small results are cached: the programs for a policy's ABIs ask the same of most arguments.
    """
    try:
        return _few_classes(questions)
    except UndecidedError:
        return Classes(questions, most)


@lru_cache(maxsize=256)
def _few_classes(questions: frozenset[Question]) -> Classes:
    return Classes(questions, _FEW)


def _first_with(constants: list[int], first: int, last: int, bit: int) -> int:
    """Return the first of ``constants[first:last]``, alike in all higher bits, that has ``bit``."""
    if first == last:
        return first
    return bisect_left(constants, constants[first] & -2 * bit | bit, first, last)
