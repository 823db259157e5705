"""The answers to one call, of a policy or of a program, as disjoint boxes of arguments.

A box has a set of values for each argument; together the boxes cover all arguments. Checks work on
a policy's meaning (`MeaningAnswers`) and on a program's behaviour (`CodeAnswers`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, EVERYTHING, NOTHING, Box, Sets
from seccompgen.core.word import ARCH, ARGS, INSTRUCTION_POINTER, NR
from seccompgen.verify.call import Call
from seccompgen.verify.followers import Ask, follower
from seccompgen.verify.oracle import OneOf

if TYPE_CHECKING:
    from seccompgen.verify import Code, Meaning
    from seccompgen.verify.followers import Question, State
    from seccompgen.verify.oracle import Case, FieldTest

_MOST_STEPS = 50_000
"""The most comparisons that are followed for one call; real filters need some hundreds."""
_MOST_NODES = 20_000
_NODES_OF_A_TEST = 200
"""The most nodes of the sets for one call, and how many more per case or instruction."""

Parts: TypeAlias = list[tuple[Box, int]]
"""Disjoint boxes of arguments, each with the SECCOMP_RET value of its calls."""

_PERMITS = {ActionKind.ALLOW.value, ActionKind.LOG.value}
_ASKS = {ActionKind.TRACE.value, ActionKind.USER_NOTIF.value}


def permits(ret: int) -> bool:
    """Return True if the kernel executes a call with this answer."""
    return ret & ~RET_DATA_MAX in _PERMITS


def refuses(ret: int) -> bool:
    """Return True if a call with this answer is never executed, whatever a supervisor decides."""
    return ret & ~RET_DATA_MAX not in _PERMITS | _ASKS


def asks(ret: int) -> bool:
    """Return True if a supervisor or a tracer decides on a call with this answer."""
    return ret & ~RET_DATA_MAX in _ASKS


def errno_of(ret: int) -> int | None:
    """Return the errno of an answer; None if it is another action."""
    action = ActionKind(ret & ~RET_DATA_MAX)
    return ret & RET_DATA_MAX if action is ActionKind.ERRNO else None


@dataclass(frozen=True)
class BoxedAnswer:
    """The answers to one call: disjoint boxes of arguments, with SECCOMP_RET values."""

    parts: tuple[tuple[Box, int], ...]

    @cached_property
    def permitted(self) -> tuple[Box, ...]:
        """The arguments with which the call is executed."""
        return tuple(box for box, ret in self.parts if permits(ret))

    @cached_property
    def refused(self) -> tuple[Box, ...]:
        """The arguments with which the call is refused."""
        return tuple(box for box, ret in self.parts if refuses(ret))

    @cached_property
    def asked(self) -> tuple[Box, ...]:
        """The arguments with which a supervisor or a tracer decides."""
        return tuple(box for box, ret in self.parts if asks(ret))

    @property
    def only(self) -> int | None:
        """The answer if it is the same for all arguments; otherwise None."""
        answers = {ret for _, ret in self.parts}
        return answers.pop() if len(answers) == 1 else None


class MeaningAnswers:
    """The answers of a policy's meaning to calls under one audit value."""

    def __init__(self, meaning: Meaning, arch: int, sets: Sets) -> None:
        self._arch = arch
        self._sets = sets
        self._cases: list[tuple[Case, frozenset[int] | None]] = []
        for case in meaning.cases:
            holds = (test.field != ARCH or test.holds(Call(0, arch)) for test in case.tests)
            if all(holds):
                named = (test.values for test in case.tests if isinstance(test, OneOf))
                self._cases.append((case, next(named, None)))

    @property
    def conditional(self) -> frozenset[int]:
        """The numbers of calls whose arguments some case tests."""
        asking = (named for case, named in self._cases if named and _asks(case))
        return frozenset().union(*asking)

    def to(self, number: int) -> Parts:
        """Return the answer of the first matching case, for every box of arguments.

        Raises UndecidedError if that takes too many steps.
        """
        with self._sets.attempt(_MOST_NODES + _NODES_OF_A_TEST * len(self._cases)):
            return self._to(number)

    def _to(self, number: int) -> Parts:
        steps = 0
        found: Parts = []
        left: list[Box] = [EVERYTHING]
        for case, numbers in self._cases:
            if numbers is not None and number not in numbers:
                continue
            box = self._box(case, number)
            if box == EVERYTHING:
                return found + [(part, case.ret) for part in left]
            rest: list[Box] = []
            for part in left:
                inside: Box = tuple(map(self._sets.both, part, box))  # type: ignore[assignment] # six
                if NOTHING in inside:
                    rest.append(part)
                else:
                    found.append((inside, case.ret))
                    rest += self._sets.without(part, box)
            left = rest
            steps += len(left)
            if len(found) + steps > _MOST_STEPS:
                raise UndecidedError("too many cases to tell apart", kind=Problem.TOO_MANY_CASES)
            if not left:
                break
        return found

    def _box(self, case: Case, number: int) -> Box:
        """Return the arguments of the call ``number`` for which all tests of ``case`` are true."""
        call = Call(number, self._arch)
        box: Box = EVERYTHING
        for test in case.tests:
            if isinstance(test, OneOf):
                continue
            if test.field >= ARGS:
                n = test.field - ARGS
                box = _with(box, n, self._sets.both(box[n], self._set(test)))
            elif not test.holds(call):
                return (NOTHING,) * 6
        return box

    def _set(self, test: FieldTest) -> int:
        sets, mask, value = self._sets, test.mask, test.value
        match test.relation:
            case "==":
                return sets.masked(mask, value)
            case "!=":
                return sets.minus(ALL, sets.masked(mask, value))
            case ">":
                return sets.above(mask, value)
            case ">=":
                return sets.above(mask, value - 1) if value else ALL
            case "<=":
                return sets.minus(ALL, sets.above(mask, value))
            case "<":
                return sets.minus(ALL, sets.above(mask, value - 1)) if value else NOTHING
        raise AssertionError(f"no such relation: {test.relation}")


class CodeAnswers:
    """The answers of a program to calls under one audit value."""

    def __init__(self, code: Code, arch: int, sets: Sets) -> None:
        self._arch = arch
        self._sets = sets
        self._machine = follower(code)
        self._length = len(code.instructions)

    def to(self, number: int) -> Parts:
        """Follow the program for one number and all arguments at once. Raises UndecidedError."""
        with self._sets.attempt(_MOST_NODES + _NODES_OF_A_TEST * self._length):
            return self._to(number)

    def _to(self, number: int) -> Parts:
        steps = 0
        found: Parts = []
        waiting: list[tuple[State, Box]] = [(self._machine.start, EVERYTHING)]
        while waiting:
            state, box = waiting.pop()
            step = self._machine.step(state)
            while isinstance(step, Ask):
                steps += 1
                if steps > _MOST_STEPS:
                    text = "too many cases to tell apart"
                    raise UndecidedError(text, kind=Problem.TOO_MANY_CASES)
                question, true, false = step
                word = question.word
                if word.field == INSTRUCTION_POINTER:
                    text = "it looks at the instruction pointer"
                    raise UndecidedError(text, kind=Problem.POINTER_COMPARED)
                if word.field in {NR, ARCH}:
                    holds = question.holds(number if word.field == NR else self._arch)
                    step = self._machine.step(true if holds else false)
                    continue
                n = word.argument
                inside = self._sets.both(box[n], self._set(question))
                outside = self._sets.minus(box[n], inside)
                if NOTHING not in {inside, outside}:
                    waiting.append((false, _with(box, n, outside)))
                    box = _with(box, n, inside)
                step = self._machine.step(true if inside != NOTHING else false)
            found.append((box, step))
        return found

    def _set(self, question: Question) -> int:
        """Return the 64-bit values for which ``question`` is true."""
        shift = question.word.shift
        mask, k = question.mask << shift, question.k << shift
        return self._sets.above(mask, k) if question.more else self._sets.masked(mask, k)


def _with(box: Box, n: int, values: int) -> Box:
    return (*box[:n], values, *box[n + 1 :])  # type: ignore[return-value] # six


def _asks(case: Case) -> bool:
    return any(test.field >= ARGS for test in case.tests)
