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

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Hashable
from itertools import accumulate
from operator import or_
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from seccompgen.errors import UndecidedError
from seccompgen.model import U32
from seccompgen.verify import machine
from seccompgen.verify.bits import BitSets
from seccompgen.verify.call import ARCH, NR, WORDS, Call, word_at
from seccompgen.verify.machine import Code
from seccompgen.verify.oracle import Meaning, OneOf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from seccompgen.verify.stack import Side, Stack

MOST_STEPS = 10_000_000
"""So many comparisons are followed, some seconds; then z3 is the better way."""
MOST_CLASSES = 100_000
"""So many classes the numbers may fall into,"""
MOST_CLASSES_OF_ARGUMENTS = 5_000
"""and a word of the arguments before it is followed by its bits."""


class Question(NamedTuple):
    """Whether ``word & mask`` is ``k``, or ``more`` than it; or the word is one of ``among``."""

    word: int
    mask: int = U32
    k: int = 0
    more: bool = False
    among: frozenset[int] | None = None

    @property
    def constants(self) -> Iterable[int]:
        """What the word is compared with."""
        return (self.k,) if self.among is None else self.among

    def holds(self, value: int) -> bool:
        """Return the answer for a ``value`` of the word."""
        if self.among is not None:
            return value in self.among
        return value & self.mask > self.k if self.more else value & self.mask == self.k


class Ask(NamedTuple):
    """A filter's next step: a question, and where it goes on by the answer."""

    question: Question
    true: State
    false: State


State: TypeAlias = Hashable
"""Where a filter stands; what it consists of is up to its kind."""
Step: TypeAlias = Ask | int
"""A question, or the answer to the call."""
Box: TypeAlias = tuple[Any, ...]
"""For each word the set of its classes, as bits of an int, or `bits.Values`: their product."""


# --- filters as machines that ask ----------------------------------------------------------------


class Follower(ABC):
    """Takes a filter from state to state; every step is worked out once."""

    def __init__(self, start: State) -> None:
        self.start = start
        self._steps: dict[State, Step] = {}

    def step(self, state: Any) -> Step:
        """Return what the filter does in ``state``, which is ``start`` or comes from a step."""
        found = self._steps.get(state)
        if found is None:
            found = self._steps[state] = self._next(state)
        return found

    @abstractmethod
    def _next(self, state: Any) -> Step: ...


class _InCase(NamedTuple):
    """A test of a case, and what is asked next of its field.

    ``stage`` is 0: whether the high word is more; 1: whether that is equal; 2: of the low word.
    """

    case: int = 0
    test: int = 0
    stage: int = 0


class _MeaningFollower(Follower):
    def __init__(self, meaning: Meaning) -> None:
        super().__init__(_InCase())
        self._cases = meaning.cases

    def _next(self, state: _InCase) -> Step:
        case = self._cases[state.case]
        if state.test == len(case.tests):
            return case.ret
        holds, fails = _InCase(state.case, state.test + 1), _InCase(state.case + 1)
        test = case.tests[state.test]
        if isinstance(test, OneOf):
            return Ask(Question(2 * test.field, among=test.values), holds, fails)
        value, relation = test.value, test.relation
        # Only == and > are asked: the others are one of these, of the number before, or refuted.
        if relation in {"!=", "<=", "<"}:
            holds, fails = fails, holds
        if relation in {"<", ">="}:
            if value == 0:
                return self.step(holds)
            value -= 1
        more = relation not in {"==", "!="}
        low = Question(2 * test.field, test.mask & U32, value & U32, more)
        if test.field in {NR, ARCH} or state.stage == 2:
            return Ask(low, holds, fails)
        high = Question(2 * test.field + 1, test.mask >> 32, value >> 32, more and not state.stage)
        if high.more:
            return Ask(high, holds, state._replace(stage=1))
        return Ask(high, state._replace(stage=2), fails)


class _Masked(NamedTuple):
    """What a register holds: a word under a mask."""

    word: int
    mask: int


_Register: TypeAlias = int | _Masked


class _Registers(NamedTuple):
    """What a program has before instruction ``at``."""

    at: int = 0
    a: _Register = 0
    x: _Register = 0
    memory: tuple[_Register, ...] = (0,) * 16


class _CodeFollower(Follower):
    def __init__(self, code: Code) -> None:
        super().__init__(_Registers())
        self._code = code

    def _next(self, state: _Registers) -> Step:
        at, a, x, memory = state
        while True:
            one = self._code.instructions[at]
            code, k = one.code, one.k
            mode, operation = code & 0xE0, code & 0xF0
            operand = x if code & machine.SOURCE_X else k
            match code & 0x07:
                case machine.LD if mode == machine.ABS:
                    a = _Masked(word_at(k, self._code.byte_order), U32)
                case machine.LD:
                    a = machine.loaded(mode, k, memory)
                case machine.LDX:
                    x = machine.loaded(mode, k, memory)
                case machine.ST:
                    memory = (*memory[:k], a, *memory[k + 1 :])
                case machine.STX:
                    memory = (*memory[:k], x, *memory[k + 1 :])
                case machine.ALU:
                    if operation == machine.DIV and operand == 0:
                        return 0
                    a = _computed(at, operation, a, operand)
                case machine.JMP if operation == machine.JA:
                    at += k
                case machine.JMP:
                    asked = _asked(at, operation, a, operand)
                    if not isinstance(asked, bool):
                        true, false = (
                            _Registers(at + 1 + way, a, x, memory) for way in (one.jt, one.jf)
                        )
                        # JSET is asked the other way round: whether all of the bits are 0.
                        turned = operation == machine.JSET
                        return Ask(asked, *((false, true) if turned else (true, false)))
                    at += one.jt if asked else one.jf
                case machine.RET:
                    ret = a if code & machine.RET_A else k
                    if isinstance(ret, _Masked):
                        raise UndecidedError(f"instruction {at} answers with a part of the call")
                    return ret
                case machine.MISC:
                    a, x = (x, x) if code & machine.TXA else (a, a)
            at += 1


def _computed(at: int, operation: int, a: _Register, operand: _Register) -> _Register:
    """Return what an ALU instruction leaves in A."""
    if isinstance(a, int) and isinstance(operand, int):
        return machine.ARITHMETIC[operation](a, operand) & U32
    if operation == machine.AND and isinstance(a, _Masked) and isinstance(operand, int):
        return _Masked(a.word, a.mask & operand)
    raise UndecidedError(f"instruction {at} computes with a part of the call")


def _asked(at: int, operation: int, a: _Register, operand: _Register) -> Question | bool:
    """Return what a conditional jump asks, or what it finds where that does not hang on the call.

    Of JSET the opposite is asked.
    """
    if isinstance(a, int) and isinstance(operand, int):
        return machine.JUMPS[operation](a, operand)
    if isinstance(a, int) or not isinstance(operand, int):
        raise UndecidedError(f"instruction {at} compares two parts of the call, or one with itself")
    if operation == machine.JSET:
        return Question(a.word, a.mask & operand, 0)
    if operation == machine.JGE:
        return operand == 0 or Question(a.word, a.mask, operand - 1, more=True)
    return Question(a.word, a.mask, operand, operation == machine.JGT)


class _InPart(NamedTuple):
    """Where a part of a stack stands, after the parts before it have answered."""

    answers: tuple[int, ...]
    state: State


class _StackFollower(Follower):
    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._parts = [follower(part) for part in stack.parts]
        super().__init__(_InPart((), self._parts[0].start))

    def _next(self, state: _InPart) -> Step:
        answers = state.answers
        step = self._parts[len(answers)].step(state.state)
        while not isinstance(step, Ask):
            answers = (*answers, step)
            if len(answers) == len(self._parts):
                return self._stack.combine(answers)
            part = self._parts[len(answers)]
            step = part.step(part.start)
        question, true, false = step
        return Ask(question, _InPart(answers, true), _InPart(answers, false))


def follower(side: Side) -> Follower:
    """Return the machine that asks what ``side`` asks."""
    if isinstance(side, Meaning):
        return _MeaningFollower(side)
    return _CodeFollower(side) if isinstance(side, Code) else _StackFollower(side)


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
            for places, begun in alike.items():
                halves = [
                    (first, _first_with(own, first, last, bit), last)
                    for own, (first, last) in zip(self._constants, places, strict=True)
                ]
                zero = tuple((first, middle) for first, middle, _ in halves)
                longer.setdefault(zero, begun)
                one = tuple(
                    (middle, last) if mask & bit else (first, middle)
                    for mask, (first, middle, last) in zip(self._masks, halves, strict=True)
                )
                longer.setdefault(one, begun | bit)
                ways[places] = zero, one
            if len(longer) > self._most:
                raise UndecidedError(f"a word falls into more than {self._most} classes")
            self._longer.append(ways)
            alike = longer
        return alike

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

_NUMBERS = frozenset({2 * NR, 2 * ARCH})
"""The words that say which system call it is."""


def compare(left: Side, right: Side) -> Call | int:
    """Return a call that the two answer differently, or in how many classes they were compared.

    Raises UndecidedError beyond the limits that the module's docstring names.
    """
    return _Comparison(follower(left), follower(right)).result()


class _Comparison:
    def __init__(self, left: Follower, right: Follower) -> None:
        self._left = left
        self._right = right
        self._steps = 0
        self._known: dict[frozenset[Question], Classes | BitSets] = {}
        self._whole = Classes((), most=1)
        self._words: list[Classes | BitSets] = [self._whole] * WORDS
        """The classes of each word, as far as it is divided at present."""

    def result(self) -> Call | int:
        a, b = self._left, self._right
        everywhere = (1,) * WORDS
        asked = self._questions(a, a.start, everywhere) | self._questions(b, b.start, everywhere)
        for word in _NUMBERS:
            self._words[word] = Classes((q for q in asked if q.word == word), MOST_CLASSES)
        calls = tuple(classes.all for classes in self._words)
        count = 0
        for box, in_left in self._followed(a, a.start, calls, pausing=True):
            for inner, in_right in self._followed(b, b.start, box, pausing=True):
                found = self._arguments(inner, in_left, in_right)
                if isinstance(found, Call):
                    return found
                count += found
        return count

    def _arguments(self, box: Box, in_left: State | int, in_right: State | int) -> Call | int:
        """Compare what follows for the numbers of ``box``, on all arguments."""
        a, b = self._left, self._right
        asked = self._questions(a, in_left, box) | self._questions(b, in_right, box)
        for word in set(range(WORDS)) - _NUMBERS:
            self._words[word] = self._classes(frozenset(q for q in asked if q.word == word))
        parts = zip(range(WORDS), self._words, box, strict=True)
        calls = tuple(own if word in _NUMBERS else classes.all for word, classes, own in parts)
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
                    waiting.append((step.false, (*box[:word], own ^ yes, *box[word + 1 :])))
                    box = (*box[:word], yes, *box[word + 1 :])
                state = step.true if yes else step.false

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise UndecidedError(f"more than {MOST_STEPS:,} comparisons to follow")
