"""Conditions in numbers, for one ABI.

`Lookup` resolves names: arguments to indices and widths, constants to values. With these, a
condition becomes alternatives, each a conjunction of comparisons (its disjunctive normal form). If
the kernel reads only 8 or 16 bits, the comparisons mask these.

A negative number stands for its bits: ``dfd == AT_FDCWD`` holds for 0xffffff9c if the kernel reads
32 bits. Only ordering such numbers needs ``i32()``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from seccompgen.core.model import U32, U64, All, Comparison, Op
from seccompgen.core.problems import Problem
from seccompgen.policy.expressions import (
    AllOf,
    AnyOf,
    ArgumentTest,
    Cast,
    JoinedValue,
    NamedValue,
    Negated,
    PlainValue,
    tests_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.facts import Facts
    from seccompgen.core.model import Predicate
    from seccompgen.policy.expressions import Expression, ValueExpression

MOST_ALTERNATIVES = 1024
MOST_COMPARISONS = 16_384
"""Limits for the expansion of one condition; lists of hundreds of requests stay below."""

_T = TypeVar("_T")
Alternatives: TypeAlias = "tuple[tuple[_T, ...], ...]"
"""Conjunctions of tests, one of which must hold: () never holds, ((),) always."""
NEVER: Alternatives[Any] = ()
ALWAYS: Alternatives[Any] = ((),)
_Conjunction: TypeAlias = "tuple[Comparison, ...]"
_Alternatives: TypeAlias = "Alternatives[Comparison]"


class Lack(NamedTuple):
    """An error in a condition on one ABI.

    ``name`` is the missing constant or argument, or the part of the condition that is wrong.
    """

    kind: Problem
    name: str
    at: Position


class Oddity(NamedTuple):
    """A part of a condition that is no error, but probably not intended."""

    kind: Problem
    test: ArgumentTest
    bits: int


@dataclass(frozen=True, slots=True)
class NumericTest:
    """A test in numbers: an argument, how many of its bits are compared, and with which value.

    ``signed`` is True for an ordering of signed 32-bit numbers.
    """

    index: int
    bits: int
    op: Op
    value: int
    mask: int | None
    signed: bool = False


class TooLargeError(Exception):
    """The error for a condition that exceeds `MOST_ALTERNATIVES` or `MOST_COMPARISONS`."""


class Lookup:
    """A resolver of names in conditions on one ABI; ``lacks`` and ``oddities`` are its findings."""

    def __init__(self, facts: Facts, abi: Abi) -> None:
        self._facts = facts
        self._abi = abi
        self.lacks: list[Lack] = []
        self.oddities: list[Oddity] = []

    def numbers(self, expression: Expression, call: str) -> tuple[NumericTest, ...] | None:
        """Return the tests of ``expression`` in numbers; None if any has an error."""
        found = [self._test(test, call) for test in tests_of(expression)]
        return None if None in found else tuple(one for one in found if one)

    def _test(self, test: ArgumentTest, call: str) -> NumericTest | None:
        place = self._argument(test, call)
        value = self.value(test.value)
        mask = self.value(test.mask) if test.mask is not None else None
        if place is None or value is None or (test.mask is not None and mask is None):
            return None
        index, bits = place
        match test.reading:
            case Cast.U32 | Cast.I32:
                bits = 32
            case Cast.U64:
                bits = 64
        signed = test.reading is Cast.I32
        order = test.op in {Op.LT, Op.LE, Op.GT, Op.GE}
        if order and value < 0 and not signed:
            self.lacks.append(Lack(Problem.NEGATIVE_ORDER, str(test), test.value_at))
            return None
        return self._fitted(NumericTest(index, bits, test.op, value, mask, signed), test)

    def _argument(self, test: ArgumentTest, call: str) -> tuple[int, int] | None:
        """Return index and width of the argument of ``test``; None if its name is unknown."""
        prototype = self._facts.prototype(call, self._abi)
        argument = test.argument
        if isinstance(argument, int):
            if prototype is None:
                return argument, 64
            if argument >= len(prototype.parameters):
                self.oddities.append(Oddity(Problem.NO_SUCH_ARGUMENT, test, 64))
                return argument, 64
            return argument, prototype.parameters[argument].bits or 64
        index = prototype.index(argument) if prototype else None
        if prototype is None or index is None:
            self.lacks.append(Lack(Problem.UNKNOWN_ARGUMENT, argument, test.at))
            return None
        return index, prototype.parameters[index].bits or 64

    def value(self, value: ValueExpression) -> int | None:
        """Return ``value`` as a number; None if it has an error."""
        match value:
            case PlainValue(number):
                return number
            case NamedValue(name, at):
                found = self._facts.value(name, self._abi)
                if found is None:
                    self.lacks.append(Lack(Problem.UNKNOWN_CONSTANT, name, at))
                return found
            case JoinedValue(operator, left, right, at):
                a, b = self.value(left) if left is not None else 0, self.value(right)
                if a is None or b is None:
                    return None
                result = _joined(operator, a, b)
                if result is None or not -U64 <= result <= U64:
                    self.lacks.append(Lack(Problem.WRONG_VALUE, str(value), at))
                    return None
                return result

    def _fitted(self, test: NumericTest, written: ArgumentTest) -> NumericTest:
        """Return ``test`` with negative numbers as their bits; report values that do not fit."""
        if min(test.value, test.mask or 0) < 0 and self._abi.argument_bits < test.bits:
            test = replace(test, bits=self._abi.argument_bits)
        full = (1 << test.bits) - 1
        least, most = (-(1 << 31), (1 << 31) - 1) if test.signed else (-(full + 1 >> 1), full)
        mask_like = test.op in {Op.ANY_BITS, Op.NO_BITS}
        if not least <= test.value <= most:
            self.oddities.append(Oddity(Problem.VALUE_TOO_WIDE, written, test.bits))
        mask, value = test.mask, test.value
        if mask is not None:
            if not -(full + 1 >> 1) <= mask <= full:
                self.oddities.append(Oddity(Problem.VALUE_TOO_WIDE, written, test.bits))
            mask &= full
        if mask_like or (value < 0 and least <= value and not test.signed):
            value &= full
        if test.op in {Op.MASKED_EQ, Op.NE} and mask is not None and value & ~mask:
            self.oddities.append(Oddity(Problem.MASK_NEVER_MATCHES, written, test.bits))
        fitted = replace(test, mask=mask, value=value)
        if not test.signed and _is_always_true(fitted, full):
            self.oddities.append(Oddity(Problem.ALWAYS_TRUE, written, test.bits))
        return fitted


def _is_always_true(test: NumericTest, full: int) -> bool:
    """Return True for a test that every value satisfies, except ``0 <= argument``.

    That one is common as a part of ``0 <= argument < 5``.
    """
    match test.op:
        case Op.LE:
            return test.value == full
        case Op.MASKED_EQ:
            return test.mask == test.value == 0
        case Op.NO_BITS:
            return test.value == 0
    return False


def _joined(operator: str, a: int, b: int) -> int | None:
    """Return the result of ``operator`` on two numbers; None for a shift outside of 0 to 63."""
    match operator:
        case "|":
            return a | b
        case "&":
            return a & b
        case "^":
            return a ^ b
        case "+":
            return a + b
        case "-":
            return a - b
        case "~":
            return ~b
    if not 0 <= b < 64:
        return None
    return a << b if operator == "<<" else a >> b


def alternatives(
    expression: Expression, tests: tuple[NumericTest, ...]
) -> tuple[Predicate | None, ...]:
    """Return the alternatives of ``expression``: () if it never holds, (None,) if it always does.

    ``tests`` are the tests of ``expression``, in order. Raises TooLargeError.
    """
    numeric = iter(tests)
    found = normal_form(expression, lambda _, positive: _compared(next(numeric), positive=positive))
    return tuple(_predicate(conjunction) for conjunction in found)


def _predicate(conjunction: _Conjunction) -> Predicate | None:
    if len(conjunction) < 2:
        return conjunction[0] if conjunction else None
    return All(conjunction)


def normal_form(
    expression: Expression,
    compared: Callable[[ArgumentTest, bool], Alternatives[_T]],
    *,
    positive: bool = True,
) -> Alternatives[_T]:
    """Return the alternatives of ``expression``, or of its negation unless ``positive``.

    ``compared`` is asked for each test, from left to right, and for its negation if its second
    argument is False. Raises TooLargeError.
    """
    match expression:
        case Negated(part):
            return normal_form(part, compared, positive=not positive)
        case AllOf(parts) | AnyOf(parts):
            every = isinstance(expression, AllOf) is positive
            found = ALWAYS if every else NEVER
            for part in parts:
                own = normal_form(part, compared, positive=positive)
                found = _both(found, own) if every else _either(found, own)
            return found
        case ArgumentTest():
            return compared(expression, positive)


def _either(a: Alternatives[_T], b: Alternatives[_T]) -> Alternatives[_T]:
    if () in a or () in b:
        return ALWAYS
    return _bounded(tuple(dict.fromkeys((*a, *b))))


def _both(a: Alternatives[_T], b: Alternatives[_T]) -> Alternatives[_T]:
    if len(a) * len(b) > MOST_ALTERNATIVES:
        raise TooLargeError
    joined = (tuple(dict.fromkeys((*x, *y))) for x, y in itertools.product(a, b))
    return _bounded(tuple(dict.fromkeys(joined)))


def _bounded(found: Alternatives[_T]) -> Alternatives[_T]:
    if len(found) > MOST_ALTERNATIVES or sum(map(len, found)) > MOST_COMPARISONS:
        raise TooLargeError
    return found


_OPPOSITE = {
    Op.EQ: Op.NE,
    Op.NE: Op.EQ,
    Op.LT: Op.GE,
    Op.LE: Op.GT,
    Op.GT: Op.LE,
    Op.GE: Op.LT,
    Op.ANY_BITS: Op.NO_BITS,
    Op.NO_BITS: Op.ANY_BITS,
    Op.MASKED_EQ: Op.NE,
}


def _compared(test: NumericTest, *, positive: bool) -> _Alternatives:
    """Return ``test`` as comparisons, or its negation unless ``positive``."""
    if not positive:
        op = _OPPOSITE[test.op]
        test = replace(test, op=Op.MASKED_EQ if op is Op.EQ and test.mask is not None else op)
    if test.signed:
        return _signed(test)
    full = (1 << test.bits) - 1
    mask = full if test.mask is None else test.mask
    op, value = test.op, test.value
    if op in {Op.ANY_BITS, Op.NO_BITS}:
        if value == 0:
            return ALWAYS if op is Op.NO_BITS else NEVER
        return _one(test, op, value, U64)
    fits = 0 <= value <= full and (not value & ~mask or op not in {Op.EQ, Op.MASKED_EQ, Op.NE})
    if not fits or (value > mask and op in {Op.LT, Op.LE, Op.GT, Op.GE}):
        above = value > 0
        return ALWAYS if op is Op.NE or (above and op in {Op.LT, Op.LE}) else NEVER
    if mask != full and value == 0 and op in {Op.EQ, Op.MASKED_EQ, Op.NE}:
        bits = Op.ANY_BITS if op is Op.NE else Op.NO_BITS
        return _compared(replace(test, op=bits, value=mask, mask=None), positive=True)
    if (op is Op.GE and value == 0) or (op is Op.LE and value == mask):
        return ALWAYS
    if (op is Op.LT and value == 0) or (op is Op.GT and value == mask):
        return NEVER
    if mask == full and test.bits in {32, 64}:
        return _one(test, Op.EQ if op is Op.MASKED_EQ else op, value, U64)
    return _one(test, Op.MASKED_EQ if op is Op.EQ else op, value, mask)


def _one(test: NumericTest, op: Op, value: int, mask: int) -> _Alternatives:
    """Return one comparison, limited to the low word if it compares no higher bits.

    So ABIs with different word lengths share a rule if the lengths make no difference.
    """
    looked_at = value if op in {Op.ANY_BITS, Op.NO_BITS} else mask
    width = 64 if test.bits == 64 and looked_at > U32 else 32
    return ((Comparison(test.index, op, value, mask, width),),)


def _signed(test: NumericTest) -> _Alternatives:
    """Return a comparison of signed 32-bit numbers as alternatives, each an unsigned range."""
    half, value = 1 << 31, test.value
    ranges = {
        Op.EQ: [(value, value)],
        Op.NE: [(-half, value - 1), (value + 1, half - 1)],
        Op.LT: [(-half, value - 1)],
        Op.LE: [(-half, value)],
        Op.GT: [(value + 1, half - 1)],
        Op.GE: [(value, half - 1)],
    }
    if test.op is Op.NE and -half <= value < half:
        return ((Comparison(test.index, Op.NE, value & U32, U64, 32),),)
    found: _Alternatives = NEVER
    for first, last in ranges[test.op]:
        if first <= -half and last >= half - 1:
            return ALWAYS
        for low, high in ((-half, -1), (0, half - 1)):
            own = max(first, low), min(last, high)
            if own[0] <= own[1]:
                found += (_range(test.index, own[0] & U32, own[1] & U32),)
    return found


def _range(index: int, first: int, last: int) -> _Conjunction:
    """Return comparisons that together hold for the 32-bit numbers from ``first`` to ``last``."""
    if first == last:
        return (Comparison(index, Op.EQ, first, U64, 32),)
    lower = (Comparison(index, Op.GE, first, U64, 32),) if first else ()
    return (*lower, Comparison(index, Op.LE, last, U64, 32)) if last < U32 else lower
