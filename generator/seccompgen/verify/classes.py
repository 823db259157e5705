"""Decide by exhaustion whether two filters are the same: every class of calls is tried.

A filter learns of a call only by comparing words of it, under masks, with constants. So each word
is cut into *classes*, the values that all comparisons of both filters take alike: masks and
comparisons are followed bit by bit from the highest, which finds every class there is, with its
least member. Then both filters are run on sets of classes instead of values. A comparison divides
the sets; where both have answered, the answers are those to every call in the sets, and must agree.

This is exact, and says nothing beyond its two limits: a filter that does more with a word than
mask and compare it, and sets that divide too often. Words of the arguments are cut anew for each
pair of places at which the two filters begin to look at them, lest comparisons for different
system calls multiply. If a word of them still falls into too many classes, as many masks make it
do, its sets are followed by their bits instead (`bits`), so that only those count that come about.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from operator import or_
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from seccompgen.core.errors import UndecidedError
from seccompgen.core.problems import Problem
from seccompgen.core.word import ARCH, ARGS, FIELDS, NR, WORDS, Word
from seccompgen.verify.bits import BitSets
from seccompgen.verify.call import Call
from seccompgen.verify.followers import Ask, Question, follower

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from seccompgen.verify.followers import Follower, State
    from seccompgen.verify.stack import FilterSemantics

MOST_STEPS = 10_000_000
"""So many comparisons are followed, some seconds; then z3 is the better way."""
MOST_CLASSES = 100_000
"""So many classes the numbers may fall into,"""
MOST_CLASSES_OF_ARGUMENTS = 5_000
"""and a word of the arguments before it is followed by its bits."""

Box: TypeAlias = tuple[Any, ...]
"""For each word the set of its classes, as bits of an int, or `bits.Values`: their product."""


# --- words in classes ----------------------------------------------------------------------------

_Places: TypeAlias = tuple[tuple[int, int], ...]
"""Where words lie among the constants of each mask: see `Classes._find`."""
_T = TypeVar("_T")


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
        # For each bit from the highest, how what begins alike goes on with 0 and with 1.
        self._longer: list[dict[_Places, tuple[_Places, _Places]]] = []
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

    def _find(self) -> dict[_Places, int]:
        """Return the least member of each class, by where it lies among the constants of each mask.

        Bit by bit from the highest: beginnings of words are alike if, for every mask, the same
        constants begin as they do; these are ``constants[first:last]``, in the end one or none.
        What lies below ``first`` is less than the word, what lies from ``last`` on is more.
        """
        alike: dict[_Places, int] = {tuple((0, len(own)) for own in self._constants): 0}
        for place in range(31, -1, -1):
            bit = 1 << place
            longer: dict[_Places, int] = {}
            ways: dict[_Places, tuple[_Places, _Places]] = {}
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

    def _continued(self, places: _Places, bit: int) -> tuple[_Places, _Places]:
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
        """Return what becomes of ``ends``, one for each class, along the bits of the word.

        ``node`` is given a place, 0 for the highest bit and 31 for the lowest, and what comes of
        words with 0 and with 1 there.
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


def _first_with(constants: list[int], first: int, last: int, bit: int) -> int:
    """Return the first of ``constants[first:last]``, alike in all higher bits, that has ``bit``."""
    if first == last:
        return first
    return bisect_left(constants, constants[first] & -2 * bit | bit, first, last)


# --- filters on sets of calls --------------------------------------------------------------------

_ARCH = Word.low(ARCH)
_NUMBERS = frozenset({Word.low(NR), _ARCH})
"""The words that say which system call it is."""
_IS_ZERO = [Question(Word.high(field)) for field in range(ARGS, FIELDS)]
"""True if the high word of an argument is 0."""


def _with(box: Box, word: int, classes: Any) -> Box:
    return (*box[:word], classes, *box[word + 1 :])


def compare(
    left: FilterSemantics, right: FilterSemantics, zero: frozenset[int] = frozenset()
) -> Call | int:
    """Return a call that the two answer differently, or in how many classes they were compared.

    Under the audit values ``zero`` only calls count with arguments whose high words are 0. Raises
    UndecidedError beyond the limits that the module's docstring names.
    """
    return _Comparison(follower(left), follower(right), zero).result()


class _Comparison:
    def __init__(self, left: Follower, right: Follower, zero: frozenset[int]) -> None:
        self._left = left
        self._right = right
        self._arch_is_zero = Question(_ARCH, among=zero) if zero else None
        self._steps = 0
        self._known: dict[frozenset[Question], Classes | BitSets] = {}
        self._whole = Classes((), most=1)
        self._words: list[Classes | BitSets] = [self._whole] * len(WORDS)
        """The classes of each word, as far as it is divided at present."""

    def result(self) -> Call | int:
        a, b = self._left, self._right
        everywhere = (1,) * len(WORDS)
        asked = self._questions(a, a.start, everywhere) | self._questions(b, b.start, everywhere)
        if self._arch_is_zero:
            asked.add(self._arch_is_zero)
        for word in _NUMBERS:
            self._words[word] = Classes((q for q in asked if q.word == word), MOST_CLASSES)
        calls = tuple(classes.all for classes in self._words)
        count = 0
        for box, in_left in self._followed(a, a.start, calls, pausing=True):
            for inner, in_right in self._followed(b, b.start, box, pausing=True):
                for part, zero in self._parted(inner):
                    found = self._arguments(part, in_left, in_right, zero=zero)
                    if isinstance(found, Call):
                        return found
                    count += found
        return count

    def _parted(self, box: Box) -> Iterator[tuple[Box, bool]]:
        """Yield the parts of ``box`` of which high words of arguments are 0, or may be anything."""
        own = box[_ARCH]
        zero = 0
        if self._arch_is_zero:
            zero = own & self._words[_ARCH].true(self._arch_is_zero)
        for part, is_zero in ((zero, True), (own ^ zero, False)):
            if part:
                yield _with(box, _ARCH, part), is_zero

    def _arguments(
        self, box: Box, in_left: State | int, in_right: State | int, *, zero: bool
    ) -> Call | int:
        """Compare what follows for the numbers of ``box``, on all arguments.

        With ``zero`` on those alone whose high words are 0.
        """
        a, b = self._left, self._right
        asked = self._questions(a, in_left, box) | self._questions(b, in_right, box)
        if zero:
            asked.update(_IS_ZERO)
        for word in set(WORDS) - _NUMBERS:
            self._words[word] = self._classes(frozenset(q for q in asked if q.word == word))
        words = enumerate(self._words)
        calls: Box = tuple(box[n] if n in _NUMBERS else classes.all for n, classes in words)
        if zero:
            for question in _IS_ZERO:
                only = self._words[question.word].true(question)
                calls = _with(calls, question.word, only)
        count = 0
        for outer, answer in self._followed(a, in_left, calls, pausing=False):
            for inner, other in self._followed(b, in_right, outer, pausing=False):
                count += 1
                if answer != other:
                    return self._call(inner)
        return count

    def _classes(self, questions: frozenset[Question]) -> Classes | BitSets:
        found = self._known.get(questions)
        if found is None:
            try:
                found = Classes(questions, MOST_CLASSES_OF_ARGUMENTS)
            except UndecidedError:
                found = BitSets()
            self._known[questions] = found
        return found

    def _call(self, box: Box) -> Call:
        """Return the call in ``box`` whose words are the least."""
        return Call.of_words(lambda word: self._words[word].least(box[word]))

    def _questions(self, side: Follower, state: State | int, box: Box) -> set[Question]:
        """Return all that ``side`` may ask from ``state`` on about calls in ``box``.

        Of the numbers, where words are divided already, only ways that they can go are followed.
        """
        found: set[Question] = set()
        seen = {state}
        waiting = [state]
        while waiting:
            state = waiting.pop()
            step = state if isinstance(state, int) else side.step(state)
            if not isinstance(step, Ask):
                continue
            question = step.question
            found.add(question)
            ways = [step.true, step.false]
            if question.word in _NUMBERS and self._words[question.word] is not self._whole:
                own = box[question.word]
                yes = own & self._words[question.word].true(question)
                ways = [way for way, left in zip(ways, (yes, own ^ yes), strict=True) if left]
            new = [way for way in ways if way not in seen]
            seen.update(new)
            waiting += new
            self._count(1)
        return found

    def _followed(
        self, side: Follower, state: State | int, box: Box, *, pausing: bool
    ) -> Iterator[tuple[Box, State | int]]:
        """Yield parts that make up ``box``, each with the answer of ``side`` to all its calls.

        With ``pausing`` only the numbers are looked at: instead of an answer there may be the
        state in which ``side`` is about to look at something else.
        """
        waiting = [(state, box)]
        while waiting:
            state, box = waiting.pop()
            while True:
                step = state if isinstance(state, int) else side.step(state)
                if not isinstance(step, Ask):
                    yield box, step
                    break
                word = step.question.word
                if pausing and word not in _NUMBERS:
                    yield box, state
                    break
                self._count(1)
                own = box[word]
                yes = own & self._words[word].true(step.question)
                if yes and yes != own:
                    waiting.append((step.false, _with(box, word, own ^ yes)))
                    box = _with(box, word, yes)
                state = step.true if yes else step.false

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MOST_STEPS:
            text = f"more than {MOST_STEPS:,} comparisons to follow"
            raise UndecidedError(text, kind=Problem.TOO_MANY_CASES)
