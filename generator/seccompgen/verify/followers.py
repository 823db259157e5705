"""Filters as state machines, which compare one word of a call after the other.

A policy, a program or a stack of them is followed from state to state. Each step is a question
about one word, with a next state for each outcome, or the answer to the call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import U32
from seccompgen.core.problems import Problem
from seccompgen.core.word import ARCH, NR, Word
from seccompgen.verify import machine
from seccompgen.verify.machine import Branch, Code, Registers, Return, ValueDomain, step
from seccompgen.verify.oracle import Meaning, OneOf

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from seccompgen.verify.stack import FilterSemantics, Stack


class Question(NamedTuple):
    """A question: ``word & mask`` is ``k``, or ``more`` than it; or the word is in ``among``."""

    word: Word
    mask: int = U32
    k: int = 0
    more: bool = False
    among: frozenset[int] | None = None

    @property
    def constants(self) -> Iterable[int]:
        """The constants with which the word is compared."""
        return (self.k,) if self.among is None else self.among

    def holds(self, value: int) -> bool:
        """Return the answer for a ``value`` of the word."""
        if self.among is not None:
            return value in self.among
        return value & self.mask > self.k if self.more else value & self.mask == self.k


class Ask(NamedTuple):
    """A filter's next step: a question, and the next state for each outcome."""

    question: Question
    true: State
    false: State


class State:
    """The position of a filter; the content of ``value`` depends on the kind of filter.

    A follower has one object for each value, so that states are compared by identity: values are
    nested tuples, and hashing them at every step took as long as the steps.
    """

    __slots__ = ("value",)

    def __init__(self, value: Hashable) -> None:
        self.value = value


Step: TypeAlias = Ask | int
"""A question, or the answer to the call."""


class Follower(ABC):
    """Takes a filter from state to state; every step is worked out once."""

    def __init__(self, start: Hashable) -> None:
        self._states: dict[Hashable, State] = {}
        self._steps: dict[State, Step] = {}
        self.start = self._state(start)

    def step(self, state: State) -> Step:
        """Return what the filter does in ``state``, which is ``start`` or comes from a step."""
        found = self._steps.get(state)
        if found is None:
            found = self._steps[state] = self._next(state.value)
        return found

    def case(self, state: State) -> int | None:
        """Return the index of the case to which ``state`` of a policy belongs, else None."""
        del state
        return None

    def _state(self, value: Hashable) -> State:
        found = self._states.get(value)
        if found is None:
            found = self._states[value] = State(value)
        return found

    @abstractmethod
    def _next(self, state: Any) -> Step:
        """Work out the filter's step from the state with the value ``state``."""


class _InCase(NamedTuple):
    """A test of a case, and the next question about its field.

    Of a field of 64 bits, ``stage`` 0 compares the high word with the test's value, stage 1 asks
    if it is equal to that, and stage 2 compares the low word.
    """

    case: int = 0
    test: int = 0
    stage: int = 0


class _MeaningFollower(Follower):
    def __init__(self, meaning: Meaning) -> None:
        super().__init__(_InCase())
        self._cases = meaning.cases

    def case(self, state: State) -> int:
        """Return the index of the case to which ``state`` belongs."""
        assert isinstance(state.value, _InCase)
        return state.value.case

    def _next(self, state: _InCase) -> Step:
        case = self._cases[state.case]
        if state.test == len(case.tests):
            return case.ret
        holds = self._state(_InCase(state.case, state.test + 1))
        fails = self._state(_InCase(state.case + 1))
        test = case.tests[state.test]
        if isinstance(test, OneOf):
            return Ask(Question(Word.low(test.field), among=test.values), holds, fails)
        value, relation = test.value, test.relation
        # Only == and > are asked: other relations negate these, or compare with ``value - 1``.
        if relation in {"!=", "<=", "<"}:
            holds, fails = fails, holds
        if relation in {"<", ">="}:
            if value == 0:
                return self.step(holds)
            value -= 1
        more = relation not in {"==", "!="}
        low = Question(Word.low(test.field), test.mask & U32, value & U32, more)
        if test.field in {NR, ARCH} or state.stage == 2:
            return Ask(low, holds, fails)
        high = Question(
            Word.high(test.field), test.mask >> 32, value >> 32, more and not state.stage
        )
        if high.more:
            return Ask(high, holds, self._state(state._replace(stage=1)))
        return Ask(high, self._state(state._replace(stage=2)), fails)


class _MaskedWord(NamedTuple):
    """A word under a mask."""

    word: Word
    mask: int


_Value: TypeAlias = int | _MaskedWord


class _CodeFollower(Follower):
    """Runs a program on all calls at once: a value is a number, or a word under a mask."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._at = 0
        self._values: ValueDomain[_Value] = ValueDomain(
            int, lambda word: _MaskedWord(word, U32), self._computed
        )
        super().__init__(self._values.start)

    def _next(self, state: Registers[_Value] | Return[_Value]) -> Step:
        here: Registers[_Value] | Branch[_Value] | Return[_Value] = state
        while not isinstance(here, Return):
            if isinstance(here, Branch):
                asked = self._asked(here.operation, here.a, here.operand)
                if not isinstance(asked, bool):
                    # The question for JSET is the opposite: whether all of the bits are 0.
                    turned = here.operation == machine.JSET
                    ways = (here.false, here.true) if turned else (here.true, here.false)
                    return Ask(asked, *map(self._state, ways))
                here = here.true if asked else here.false
            else:
                self._at = here.at
                here = step(self._code, here, self._values)
        answer: _Value = here.value
        if isinstance(answer, _MaskedWord):
            raise self._mixed("answers with a part of the call")
        return answer

    def _mixed(self, what: str) -> UndecidedError:
        """Return the error for the last instruction, which cannot be followed."""
        return UndecidedError(f"instruction {self._at} {what}", kind=Problem.MIXED_WORDS)

    def _computed(self, operation: int, a: _Value, operand: _Value) -> _Value:
        """Return what an ALU instruction leaves in A."""
        if isinstance(a, int) and isinstance(operand, int):
            return machine.ARITHMETIC[operation](a, operand) & U32
        if operation == machine.AND and isinstance(a, _MaskedWord) and isinstance(operand, int):
            return _MaskedWord(a.word, a.mask & operand)
        raise self._mixed("computes with a part of the call")

    def _asked(self, operation: int, a: _Value, operand: _Value) -> Question | bool:
        """Return the question a jump asks, or its outcome if no call can change it.

        For JSET the question is the opposite.
        """
        if isinstance(a, int) and isinstance(operand, int):
            return machine.JUMPS[operation](a, operand)
        if isinstance(a, int) or not isinstance(operand, int):
            raise self._mixed("compares two parts of the call, or one with itself")
        if operation == machine.JSET:
            return Question(a.word, a.mask & operand, 0)
        if operation == machine.JGE:
            return operand == 0 or Question(a.word, a.mask, operand - 1, more=True)
        return Question(a.word, a.mask, operand, operation == machine.JGT)


class _InPart(NamedTuple):
    """The state of one part of a stack, and the common answer of the parts before it."""

    part: int
    before: int | None
    state: State


class _StackFollower(Follower):
    """Follows one part after the other; all that counts of a part is the answer so far."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._parts = [follower(part) for part in stack.different]
        super().__init__(_InPart(0, None, self._parts[0].start))

    def _next(self, state: _InPart) -> Step:
        number, before, inner = state
        step = self._parts[number].step(inner)
        while not isinstance(step, Ask):
            before = step if before is None else self._stack.combine((before, step))
            number += 1
            if number == len(self._parts):
                return before
            part = self._parts[number]
            step = part.step(part.start)
        question, true, false = step
        ways = _InPart(number, before, true), _InPart(number, before, false)
        return Ask(question, *map(self._state, ways))


def follower(side: FilterSemantics) -> Follower:
    """Return a follower of ``side``."""
    if isinstance(side, Meaning):
        return _MeaningFollower(side)
    return _CodeFollower(side) if isinstance(side, Code) else _StackFollower(side)
