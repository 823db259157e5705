"""The answers of a filter to the calls through one ABI, as exact sets of arguments.

Checks ask for the answer to a call by its name and get disjoint boxes, one set of values for each
argument, that together are everything. What a policy means and what a program does look alike
here, so that a check works on both.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from seccompgen.core.errnos import errno_number
from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import RET_DATA_MAX, U32, U64, ActionKind
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, EVERYTHING, NOTHING, Box, Sets
from seccompgen.core.word import ARCH, ARGS, INSTRUCTION_POINTER, NR
from seccompgen.lint.finding import Witness
from seccompgen.verify import Code, Meaning
from seccompgen.verify.call import Call
from seccompgen.verify.followers import Ask, follower
from seccompgen.verify.oracle import OneOf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Facts, Prototype
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Table
    from seccompgen.verify.followers import Follower, Question, State
    from seccompgen.verify.oracle import Case, FieldTest

_MOST_STEPS = 50_000
"""So many comparisons are followed for one call; real filters need some hundreds."""
_UNKNOWN_NUMBER = 0x3FFF_FF00
"""A number that no ABI has, without the bit that says x32."""
_PERMITTED_BY_DEFAULT = 0.9
"""A filter that permits so many of the calls there are is a list of what it refuses.

Docker's list of what it permits has 0.78 of them.
"""

_PERMITS = {ActionKind.ALLOW.value, ActionKind.LOG.value}
_ASKS = {ActionKind.TRACE.value, ActionKind.USER_NOTIF.value}


def permits(ret: int) -> bool:
    """Return True if a call so answered is made."""
    return ret & ~RET_DATA_MAX in _PERMITS


def refuses(ret: int) -> bool:
    """Return True if a call so answered is not made, whatever a tracer or a supervisor says."""
    return ret & ~RET_DATA_MAX not in _PERMITS | _ASKS


def plain_values(sets: Sets, bits: int) -> int:
    """Return the values that an argument of ``bits`` has once it is extended to 64."""
    if bits >= 64:
        return ALL
    high = U64 >> bits << bits
    return sets.either(sets.masked(high, 0), sets.above(U64, U64 - (1 << (bits - 1))))


@dataclass(frozen=True)
class CallAnswer:
    """The answers to one call: disjoint boxes of arguments, with SECCOMP_RET values."""

    parts: tuple[tuple[Box, int], ...]

    @cached_property
    def permitted(self) -> tuple[Box, ...]:
        """The arguments with which the call is made."""
        return tuple(box for box, ret in self.parts if permits(ret))

    @cached_property
    def refused(self) -> tuple[Box, ...]:
        """The arguments with which it is refused."""
        return tuple(box for box, ret in self.parts if refuses(ret))

    @property
    def only(self) -> int | None:
        """The answer whatever the arguments are, None where these count."""
        answers = {ret for _, ret in self.parts}
        return answers.pop() if len(answers) == 1 else None


class FilterView:
    """The answers of the program for ``program`` to calls that are made through ``abi``.

    ``arch`` is the audit value that it is shown with them; ``table`` names the numbers.
    """

    def __init__(
        self,
        side: Meaning | Code,
        program: Abi,
        table: Table,
        sets: Sets,
        facts: Facts,
        policy: ResolvedPolicy | None = None,
        arch: int | None = None,
    ) -> None:
        self.side = side
        self.program = program
        self.abi = table.abi
        self.table = table
        self.sets = sets
        self.facts = facts
        self.policy = policy
        self.arch = self.abi.audit_arch if arch is None else arch
        self.undecided: dict[str, UndecidedError] = {}
        self._answers: dict[int, CallAnswer] = {}
        self._enosys = ActionKind.ERRNO.value | errno_number("ENOSYS", self.abi)

    # --- answers -----------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Return True if the ABI has a call of that name."""
        return name in self.table.numbers

    def answer(self, name: str) -> CallAnswer | None:
        """Return the answers to a call; None if the ABI has it not, or they cannot be told."""
        number = self.table.numbers.get(name)
        if number is None or name in self.undecided:
            return None
        try:
            return self.answer_to(number)
        except UndecidedError as error:
            self.undecided[name] = error
            return None

    def answer_to(self, number: int) -> CallAnswer:
        """Return the answers to the call ``number``. Raises UndecidedError."""
        found = self._answers.get(number)
        if found is None:
            parts = self._of_cases(number) if isinstance(self.side, Meaning) else None
            found = CallAnswer(tuple(parts or self._followed(number)))
            self._answers[number] = found
        return found

    @cached_property
    def _cases(self) -> list[tuple[Case, frozenset[int] | None]]:
        """The cases that can answer calls under ``arch``, each with the numbers that it names."""
        assert isinstance(self.side, Meaning)
        kept = []
        for case in self.side.cases:
            numbers: frozenset[int] | None = None
            plain = True
            for test in case.tests:
                if isinstance(test, OneOf):
                    numbers = test.values
                elif test.field == ARCH:
                    plain &= test.holds(Call(0, self.arch))
            if plain:
                kept.append((case, numbers))
        return kept

    def _of_cases(self, number: int) -> list[tuple[Box, int]]:
        """Return what the first case that holds says, for every box of arguments."""
        call = Call(number, self.arch)
        found: list[tuple[Box, int]] = []
        left: list[Box] = [EVERYTHING]
        for case, numbers in self._cases:
            if numbers is not None and number not in numbers:
                continue
            box: Box | None = EVERYTHING
            for test in case.tests:
                if isinstance(test, OneOf) or box is None:
                    continue
                if test.field < ARGS:
                    box = box if test.holds(call) else None
                    continue
                n = test.field - ARGS
                box = (*box[:n], self.sets.both(box[n], self._set(test)), *box[n + 1 :])  # type: ignore[assignment] # six
            if box is None or NOTHING in box:
                continue
            rest: list[Box] = []
            for part in left:
                inside = tuple(map(self.sets.both, part, box))
                if NOTHING in inside:
                    rest.append(part)
                    continue
                found.append((inside, case.ret))  # type: ignore[arg-type] # six
                rest += self.sets.without(part, box)
            left = rest
            if len(found) + len(left) > _MOST_STEPS:
                raise UndecidedError("too many cases to tell apart", kind=Problem.TOO_MANY_CASES)
            if not left:
                break
        return found

    def _set(self, test: FieldTest) -> int:
        sets, mask, value = self.sets, test.mask, test.value
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

    @cached_property
    def _machine(self) -> Follower:
        return follower(self.side)

    def _followed(self, number: int) -> list[tuple[Box, int]]:
        """Follow a program for one number and all arguments at once."""
        steps = 0
        machine = self._machine
        found: list[tuple[Box, int]] = []
        waiting: list[tuple[State, Box]] = [(machine.start, EVERYTHING)]
        while waiting:
            state, box = waiting.pop()
            step = machine.step(state)
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
                    holds = question.holds(number if word.field == NR else self.arch)
                    step = machine.step(true if holds else false)
                    continue
                n = word.argument
                inside = self.sets.both(box[n], self._asked(question))
                outside = self.sets.minus(box[n], inside)
                if NOTHING not in (inside, outside):
                    waiting.append((false, (*box[:n], outside, *box[n + 1 :])))  # type: ignore[arg-type] # six
                    box = (*box[:n], inside, *box[n + 1 :])  # type: ignore[assignment] # six
                step = machine.step(true if inside != NOTHING else false)
            found.append((box, step))
        return found

    def _asked(self, question: Question) -> int:
        """Return the 64-bit values of which a word is as ``question`` asks."""
        shift = question.word.shift
        mask, k = question.mask << shift, question.k << shift
        return self.sets.above(mask, k) if question.more else self.sets.masked(mask, k)

    # --- the filter as a whole ---------------------------------------------------------------

    @cached_property
    def default(self) -> int:
        """The answer to calls that the filter does not name.

        Of a program it is guessed: see the constants above.
        """
        if self.policy:
            return self.policy.default_action.ret(self.abi)
        unknown = self._whole(_UNKNOWN_NUMBER)
        if unknown is not None and permits(unknown):
            return unknown
        answers = [self._whole(number) for number in self.table.names]
        counted = Counter(ret for ret in answers if ret is not None)
        most = [ret for ret, _ in counted.most_common()]
        permitted = [ret for ret in most if permits(ret)]
        if permitted and sum(map(counted.__getitem__, permitted)) >= _PERMITTED_BY_DEFAULT * len(
            answers
        ):
            return permitted[0]
        if unknown is not None and unknown != self._enosys:
            return unknown
        return next((ret for ret in most if refuses(ret)), self._enosys)

    def _whole(self, number: int) -> int | None:
        try:
            return self.answer_to(number).only
        except UndecidedError:
            return None

    @property
    def is_allowlist(self) -> bool:
        """True if what the filter does not name is refused."""
        return refuses(self.default)

    def is_enosys(self, ret: int) -> bool:
        """Return True if ``ret`` is the answer of a kernel that has no such call."""
        return ret == self._enosys

    def refused_on_purpose(self, name: str) -> tuple[Box, ...]:
        """Return the arguments with which the filter refuses a call that it names.

        Nothing of a call that falls to the default of an allowlist, nor of one that gets ENOSYS
        whatever its arguments are: that leads libraries to an older call.
        """
        answer = self.answer(name)
        if answer is None or not answer.refused:
            return ()
        if answer.only is not None and self.is_enosys(answer.only):
            return ()
        if answer.permitted or not self.is_allowlist or answer.only is None:
            return answer.refused
        named = self.policy and any(
            rule.name == name and rule.applies_to(self.abi) and refuses(rule.action.ret(self.abi))
            for rule in self.policy.rules
        )
        return answer.refused if named or answer.only != self.default else ()

    # --- arguments ---------------------------------------------------------------------------

    def prototype(self, name: str) -> Prototype | None:
        """Return what the kernel says of the arguments of a call."""
        return self.facts.prototype(name, self.abi)

    def bits(self, name: str, argument: int) -> int:
        """Return how many low bits of an argument the kernel reads, as far as is known."""
        prototype = self.prototype(name)
        if prototype and argument < len(prototype.parameters):
            return min(prototype.parameters[argument].bits or 64, self.abi.argument_bits)
        return self.abi.argument_bits

    def constant(self, name: str, usual: int) -> int:
        """Return a constant of the kernel's headers on the ABI; ``usual`` where nobody knows."""
        value = self.facts.value(name, self.abi)
        return usual if value is None else value

    # --- witnesses ---------------------------------------------------------------------------

    def call(self, name: str, box: Iterable[int]) -> Call:
        """Return a call whose arguments are in ``box``."""
        args = tuple(self.sets.least(part) & U64 for part in box)
        return Call(self.table.numbers[name] & U32, self.arch, args)  # type: ignore[arg-type] # six

    def witness(self, call: Call) -> Witness:
        """Return ``call`` with what the filter answers when it is run on it."""
        return Witness(call, self.side.answer(call))

    def conditional(self) -> Iterator[tuple[str, CallAnswer]]:
        """Yield the calls whose answer hangs on their arguments."""
        numbers = self.table.names
        if isinstance(self.side, Meaning):
            named = [
                set(numbers) if one is None else one for case, one in self._cases if _asks(case)
            ]
            numbers = {nr: numbers[nr] for nr in sorted(set().union(*named)) if nr in numbers}
        for name in numbers.values():
            answer = self.answer(name)
            if answer is not None and answer.only is None:
                yield name, answer


def _asks(case: Case) -> bool:
    return any(test.field >= ARGS for test in case.tests)
