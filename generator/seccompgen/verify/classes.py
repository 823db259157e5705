"""Decide by exhaustion how two filters answer: every class of calls is tried.

A filter learns of a call only by comparing words of it, under masks, with constants. So each word
is divided into *classes*, values that no comparison of either filter tells apart (`partition`).
Then both filters are run on sets of classes instead of values. A comparison divides the sets; where
both have answered, the answers are those to every call in the sets, and the relation must hold.

This is exact, but undecided in two cases: a filter does more with a word than mask and compare it,
or sets divide too often. Argument words are divided anew for each pair of places at which the two
filters begin to look at them, so that comparisons for different system calls do not multiply. If an
argument word still falls into too many classes, which many masks cause, its sets are represented by
their bits instead (`bits`), so that only sets that occur count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from seccompgen.core.errors import UndecidedError
from seccompgen.core.problems import Problem
from seccompgen.core.word import ARCH, ARGS, FIELDS, NR, WORDS, Word
from seccompgen.verify.bits import BitSets
from seccompgen.verify.call import Call
from seccompgen.verify.followers import Ask, Question, follower
from seccompgen.verify.induction import Induction
from seccompgen.verify.partition import Classes, classes_of
from seccompgen.verify.relation import SAME, Relation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.verify.followers import Follower, State
    from seccompgen.verify.stack import FilterSemantics

MOST_STEPS = 4_000_000
"""The most comparisons to follow, some seconds; beyond that z3 is the better way. The largest of

115 real policies needs 15,000."""
_MOST_MASKS = 24
"""Words compared under more masks fall into too many classes; finding that out takes long."""
_MANY = 32
"""If the two ask more questions about arguments, `induction` is tried first."""
MOST_CLASSES = 100_000
"""The most classes of the words of numbers."""
MOST_CLASSES_OF_ARGUMENTS = 5_000
"""The most classes of an argument word; beyond that its sets are represented by their bits."""

Box: TypeAlias = tuple[Any, ...]
"""A product of sets, one for each word: classes as bits of an int, or a `bits.ValueSet`."""


_ARCH = Word.low(ARCH)
NUMBERS = frozenset({Word.low(NR), _ARCH})
"""The words that identify the system call."""
_IS_ZERO = [Question(Word.high(field)) for field in range(ARGS, FIELDS)]
"""For each argument, the question whether its high word is 0."""


def _with(box: Box, word: int, classes: Any) -> Box:
    return (*box[:word], classes, *box[word + 1 :])


def compare(
    left: FilterSemantics,
    right: FilterSemantics,
    zero: frozenset[int] = frozenset(),
    relation: Relation = SAME,
) -> Call | int:
    """Return a call for which ``relation`` fails, or the number of classes compared.

    Under the audit values ``zero`` only calls with 0 in the high words of arguments count. Raises
    UndecidedError beyond the limits that the module's docstring names.
    """
    return Exploration(relation).compare(follower(left), follower(right), zero)


class Exploration:
    """Follows filters on sets of calls at once; `compare` is the entry point."""

    def __init__(self, relation: Relation = SAME) -> None:
        self._relation = relation
        self._steps = 0
        self._known: dict[frozenset[Question], Classes | BitSets] = {}
        self._whole = Classes((), most=1)
        self._words: list[Classes | BitSets] = [self._whole] * len(WORDS)
        """The classes of each word, as far as it is divided at present."""

    def compare(self, left: Follower, right: Follower, zero: frozenset[int]) -> Call | int:
        """Return the result of the function `compare`."""
        high_words_are_zero = Question(_ARCH, among=zero)
        count = 0
        divided = self.divided_numbers((left, right), {high_words_are_zero})
        for box, in_left in self.followed(left, left.start, divided, pausing=True):
            for inner, in_right in self.followed(right, right.start, box, pausing=True):
                for part, is_zero in self.halves(inner, high_words_are_zero):
                    sides = ((left, in_left), (right, in_right))
                    found = self.compare_arguments(part, *sides, zero=is_zero)
                    if isinstance(found, Call):
                        return found
                    count += found
        return count

    def divided_numbers(self, sides: Iterable[Follower], asked: set[Question]) -> Box:
        """Divide the words `NUMBERS` by the questions of ``sides`` and by ``asked``.

        Return the box of all calls.
        """
        everywhere = (1,) * len(WORDS)
        asked = asked.union(*(self.questions(side, side.start, everywhere) for side in sides))
        for word in NUMBERS:
            self._words[word] = Classes((q for q in asked if q.word == word), MOST_CLASSES)
        return tuple(classes.all for classes in self._words)

    def halves(self, box: Box, question: Question) -> Iterator[tuple[Box, bool]]:
        """Yield the parts of ``box`` for which the answer is yes, and no; empty ones are left out.

        The word must have been divided by the question.
        """
        own = box[question.word]
        yes = own & self._words[question.word].true(question)
        for part, answer in ((yes, True), (own ^ yes, False)):
            if part:
                yield _with(box, question.word, part), answer

    def compare_arguments(
        self,
        box: Box,
        left: tuple[Follower, State | int],
        right: tuple[Follower, State | int],
        *,
        zero: bool,
    ) -> Call | int:
        """Compare how filters go on from states, for the numbers of ``box`` and all arguments.

        With ``zero`` only arguments with 0 in their high words count.
        """
        asked = self.questions(*left, box) | self.questions(*right, box)
        if zero:
            asked.update(_IS_ZERO)
        for word in set(WORDS) - NUMBERS:
            self._words[word] = self._classes(frozenset(q for q in asked if q.word == word))
        words = enumerate(self._words)
        calls: Box = tuple(box[n] if n in NUMBERS else classes.all for n, classes in words)
        if zero:
            for question in _IS_ZERO:
                only = self._words[question.word].true(question)
                calls = _with(calls, question.word, only)
        if len(asked) > _MANY:
            induction = Induction(left[0], right[0], self._divided, self._holds)
            if induction.proves(left[1], right[1], calls):
                return len(asked)
        count = 0
        for outer, answer in self.followed(*left, calls, pausing=False):
            for inner, other in self.followed(*right, outer, pausing=False):
                count += 1
                if answer != other and not self._holds(answer, other):
                    return self._call(inner)
        return count

    def _divided(self, box: Box, question: Question) -> tuple[Box | None, Box | None]:
        """Return the parts of ``box`` where the answer is yes, and no; None for an empty one."""
        self._count(1)
        word = question.word
        own = box[word]
        yes = own & self._words[word].true(question)
        if not yes or yes == own:
            return (box, None) if yes else (None, box)
        return _with(box, word, yes), _with(box, word, own ^ yes)

    def _holds(self, answer: State | int, other: State | int) -> bool:
        assert isinstance(answer, int)
        assert isinstance(other, int)
        return self._relation.holds(answer, other)

    def _classes(self, questions: frozenset[Question]) -> Classes | BitSets:
        found = self._known.get(questions)
        if found is None:
            try:
                if len({question.mask for question in questions}) > _MOST_MASKS:
                    raise UndecidedError
                found = classes_of(questions, MOST_CLASSES_OF_ARGUMENTS)
            except UndecidedError:
                found = BitSets(self._count)
            self._known[questions] = found
        return found

    def _call(self, box: Box) -> Call:
        """Return the call in ``box`` whose words are the least."""
        return Call.of_words(lambda word: self._words[word].least(box[word]))

    def questions(self, side: Follower, state: State | int, box: Box) -> set[Question]:
        """Return all questions that ``side`` may ask from ``state`` on about calls in ``box``.

        Once the words `NUMBERS` are divided, only ways that the numbers of ``box`` can take are
        followed.
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
            if question.word in NUMBERS and self._words[question.word] is not self._whole:
                own = box[question.word]
                yes = own & self._words[question.word].true(question)
                ways = [way for way, left in zip(ways, (yes, own ^ yes), strict=True) if left]
            new = [way for way in ways if way not in seen]
            seen.update(new)
            waiting += new
            self._count(1)
        return found

    def followed(
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
                if pausing and word not in NUMBERS:
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
