"""Numbers back to names: conditions and arguments as text of the policy language.

A condition is written in the syntax of ``when`` and means the same there: ``cmd == FIONREAD``,
``not prot & PROT_EXEC``. A value that no name fits exactly stays a number, as in
``PROT_READ|0x1000000``, so that no name is ever wrong. Names and values are those of one ABI.
"""

from __future__ import annotations

import re
from dataclasses import replace
from keyword import iskeyword
from typing import TYPE_CHECKING

from seccompgen.core.argument_families import dependent_families, family_of
from seccompgen.core.model import U32, U64, Op, comparisons
from seccompgen.core.spelling import PLAIN_NUMBERS, Spelling, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.constant_families import ConstantFamily
    from seccompgen.core.facts import Facts, Parameter
    from seccompgen.core.model import Comparison, Predicate

_SIGN = 0x80000000
_NAME = re.compile("[a-z_][a-z0-9_]*")
_NUMBERED = re.compile("arg[0-9]")
_ORDERED = {Op.GT: ">", Op.LT: "<", Op.GE: ">=", Op.LE: "<="}
_BOUNDS = {Op.GE: "<=", Op.GT: "<"}


class Naming:
    """A translator of arguments and their values to the names in ``facts``."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._spellings: dict[tuple[ConstantFamily, str, int], Spelling] = {}

    def __reduce__(self) -> tuple[type[Naming], tuple[Facts]]:
        """Pickle only the facts; the cached spellings can be computed again."""
        return type(self), (self._facts,)

    def condition(self, condition: Predicate | None, call: str, abi: Abi) -> str:
        """Return ``condition`` on arguments of ``call`` as an expression; empty if there is none.

        On ``abi`` the expression holds for the same arguments.
        """
        return _ConditionText(self, call, abi, tuple(comparisons(condition))).text()

    def alternatives(self, conditions: Sequence[Predicate], call: str, abi: Abi) -> str:
        """Return an expression that is true if one of ``conditions`` is.

        Conditions that differ only in the value of one argument become a list: ``cmd in {TCGETS,
        FIONREAD}``.
        """
        known = list(dict.fromkeys(tuple(comparisons(condition)) for condition in conditions))
        if abi.argument_bits == 32:  # no argument equals more than 32 bits
            known = [
                one
                for one in known
                if not any(test.op is Op.EQ and test.value > U32 for test in one)
            ] or known
        texts = []
        for group, place in _alike(known):
            listed = (place, tuple(one[place].value for one in group)) if len(group) > 1 else None
            texts.append(_ConditionText(self, call, abi, group[0], listed).text())
        return " or ".join(texts)

    def comparison(
        self, test: Comparison, call: str, abi: Abi, known: Mapping[int, int] | None = None
    ) -> str:
        """Return ``test`` as an expression that names a constant, or "" if it names none.

        ``known`` are the values of other arguments, by index.
        """
        named = _ConditionText(self, call, abi, (test,), known=known)
        if named.family_of(test) is None:
            return ""
        plain = _ConditionText(self, call, abi, (test,), plain=True)
        return text if (text := named.text()) != plain.text() else ""

    def argument(self, call: str, index: int, abi: Abi) -> str:
        """Return the name of an argument, such as ``flags``, or ``arg2`` if that is unusable."""
        parameter = self.parameter(call, index, abi)
        name = parameter.name if parameter else ""
        prototype = self._facts.prototype(call, abi)
        # In a policy, arg2 is the third argument; the kernel gives this name to prctl's second.
        usable = _NAME.fullmatch(name) and not iskeyword(name) and not _NUMBERED.fullmatch(name)
        alone = prototype is not None and prototype.index(name) == index
        return name if usable and alone else f"arg{index}"

    def value(self, call: str, index: int, args: Sequence[int], abi: Abi) -> str:
        """Return argument ``index`` of a call with the 64-bit ``args`` as a C expression.

        Bits that the kernel does not read are included if any of them is set.
        """
        value, parameter = args[index], self.parameter(call, index, abi)
        bits = (parameter.bits if parameter else None) or 64
        read = value & _ones(bits)
        extra = value ^ read
        family = self.family(call, index, abi, dict(enumerate(args)))
        spelling = self.spelling(family, abi, bits)
        if parameter and parameter.signed and read >> (bits - 1) and value == read | _above(bits):
            extra = 0  # a C compiler sign-extends a negative number
        if not extra:
            named = spelling.exact(read)
            return named if named != number(read) else number(value)
        named = spelling.exact(read)
        return f"{named}|{extra:#x}" if named != number(read) else number(value)

    def parameter(self, call: str, index: int, abi: Abi) -> Parameter | None:
        """Return the kernel's declaration of an argument; None if it is unknown."""
        prototype = self._facts.prototype(call, abi)
        known = prototype and index < len(prototype.parameters)
        return prototype.parameters[index] if prototype and known else None

    def family(
        self, call: str, index: int, abi: Abi, others: Mapping[int, int]
    ) -> ConstantFamily | None:
        """Return an argument's family of constants, given the values of ``others``, or None."""
        prototype, parameter = self._facts.prototype(call, abi), self.parameter(call, index, abi)
        if prototype is None or parameter is None:
            return None
        found = family_of(call, parameter.name)
        names, families = dependent_families(call, parameter.name)
        if found or not families:
            return found
        at = next((i for i in map(prototype.index, names) if i is not None), None)
        if at is None or at not in others:
            return None
        bits = _ones(prototype.parameters[at].bits or 64)
        for name, family in families.items():
            value = self._facts.value(name, abi)
            if value is not None and value & bits == others[at] & bits:
                return family
        return None

    def spelling(self, family: ConstantFamily | None, abi: Abi, bits: int) -> Spelling:
        """Return the spelling of values of ``bits`` bits with the constants of ``family``."""
        if family is None:
            return PLAIN_NUMBERS[bits]
        key = (family, abi.name, bits)
        if key not in self._spellings:
            self._spellings[key] = Spelling(family.on(self._facts, abi), bits)
        return self._spellings[key]


class _ConditionText:
    """A conjunction of ``tests``, to be written as an expression.

    ``listed`` is the index of a test, and the values that it accepts. If ``plain``, values
    are written as numbers.
    """

    def __init__(
        self,
        naming: Naming,
        call: str,
        abi: Abi,
        tests: tuple[Comparison, ...],
        listed: tuple[int, tuple[int, ...]] | None = None,
        *,
        known: Mapping[int, int] | None = None,
        plain: bool = False,
    ) -> None:
        self._naming, self._call, self._abi, self._plain = naming, call, abi, plain
        self._tests = tuple(map(self.lowered, tests))
        self._listed = listed
        fixed = (one for n, one in enumerate(tests) if not listed or n != listed[0])
        self._known = {one.argument: one.value for one in fixed if one.op is Op.EQ}
        self._known |= known or {}

    def text(self) -> str:
        parts: list[str] = []
        done: set[int] = set()
        for n, test in enumerate(self._tests):
            if n in done:
                continue
            partner = self._partner(n) if n not in done else None
            if partner is not None:
                done.add(partner)
                parts.append(self._chain(test, self._tests[partner]))
            elif excluded := self._excluded(n):
                done |= excluded
                values = {self._tests[i].value for i in excluded}
                parts.append(self._one_of(test, sorted(values), "not in"))
            elif self._listed and n == self._listed[0]:
                parts.append(self._one_of(test, self._listed[1], "in"))
            else:
                parts.append(_Test(self, test).text())
        return " and ".join(parts)

    def _partner(self, n: int) -> int | None:
        """Return the upper bound of the value for which test ``n`` is a lower bound, or None."""
        test = self._tests[n]
        if test.op not in _BOUNDS:
            return None
        for i, other in enumerate(self._tests):
            above = replace(test, op=other.op, value=other.value)
            if other.op in {Op.LE, Op.LT} and other == above and other.value > test.value:
                return i if i > n else None
        return None

    def _excluded(self, n: int) -> set[int]:
        """Return the tests that, like test ``n``, each exclude a value of one argument.

        The set is empty if there is only one such test, or ``n`` is not the first of them.
        """
        test = self._tests[n]
        same = {i for i, one in enumerate(self._tests) if replace(one, value=test.value) == test}
        return same if test.op is Op.NE and len(same) > 1 and min(same) == n else set()

    def _chain(self, below: Comparison, above: Comparison) -> str:
        first, last = _Test(self, below), _Test(self, above)
        middle = f"{first.value()} {_BOUNDS[below.op]} {first.subject()}"
        return f"{middle} {_ORDERED[above.op]} {last.value()}"

    def _one_of(self, test: Comparison, values: Sequence[int], operator: str) -> str:
        texts = [_Test(self, replace(test, value=value)).value() for value in values]
        return f"{_Test(self, test).subject()} {operator} {{{', '.join(texts)}}}"

    def lowered(self, test: Comparison) -> Comparison:
        """Return ``test``, limited to the low word if system calls get only that."""
        low = self._abi.argument_bits == 32 and test.width == 64
        return test.of_low_word() if low else test

    def bits_of(self, test: Comparison) -> int:
        """Return the number of bits that the kernel reads of the argument of ``test``."""
        parameter = self._naming.parameter(self._call, test.argument, self._abi)
        if parameter and parameter.bits:
            return min(parameter.bits, self._abi.argument_bits)
        # If that is unknown, the text shows the test's width unless it is the ABI's own.
        return self.lowered(test).width if test.width == 64 else 64

    def name_of(self, test: Comparison) -> str:
        return self._naming.argument(self._call, test.argument, self._abi)

    def family_of(self, test: Comparison) -> ConstantFamily | None:
        """Return the family of the constants that ``test`` may name; None if unknown."""
        return self._naming.family(self._call, test.argument, self._abi, self._known)

    def spelling_of(self, test: Comparison, bits: int) -> Spelling:
        family = None if self._plain else self.family_of(test)
        return self._naming.spelling(family, self._abi, bits)

    def is_signed(self, test: Comparison) -> bool:
        parameter = self._naming.parameter(self._call, test.argument, self._abi)
        return parameter is not None and parameter.signed


class _Test:
    """One comparison of an argument, or of some of its bits, with a value."""

    def __init__(self, condition: _ConditionText, test: Comparison) -> None:
        self._bits = condition.bits_of(test)
        self._test = test = condition.lowered(test)
        self._name = condition.name_of(test)
        full = _ones(test.width)
        self._mask = test.mask & full
        if test.op in {Op.ANY_BITS, Op.NO_BITS}:
            self._mask = test.value & full
        # The bits that the text compares, and its name for them.
        self._read, self._shown = self._bits, self._name
        if self._mask == U32 and self._bits != 32:
            self._read, self._shown = 32, f"u32({self._name})"
        elif self._mask & ~_ones(self._bits):
            self._read, self._shown = 64, f"u64({self._name})"
        self._spelling = condition.spelling_of(test, self._read)
        self._signed = condition.is_signed(test)

    @property
    def _whole(self) -> bool:
        return self._mask == _ones(self._read)

    def subject(self) -> str:
        """Return the left side of the comparison: the argument, or some of its bits."""
        return self._shown if self._whole else f"{self._shown} & {self._spelling.bits(self._mask)}"

    def value(self) -> str:
        """Return the right side of the comparison."""
        if self._test.op in _ORDERED:
            return self._spelling.single(self._test.value)
        if self._whole:
            return self._spelling.exact(self._test.value)
        return self._spelling.under(self._mask, self._test.value)

    def text(self) -> str:
        test = self._test
        if test.op in _ORDERED:
            return f"{self.subject()} {_ORDERED[test.op]} {self.value()}"
        bitwise = test.op in {Op.ANY_BITS, Op.NO_BITS}
        value = 0 if bitwise else test.value
        negative = test.op in {Op.NE, Op.ANY_BITS}
        operator = "!=" if negative else "=="
        if self._whole:
            return f"{self.subject()} {operator} {self._spelling.exact(value)}"
        if not self._mask:
            return f"{self._shown} & 0 {operator} {number(value)}"
        one_bit = value == self._mask and not value & (value - 1)
        if self._mask == _SIGN and self._bits == 32 and self._signed and (one_bit or not value):
            below = negative if not value else not negative
            return f"i32({self._name}) {'<' if below else '>='} 0"
        if one_bit or (not value and not self._spelling.names_zero_under(self._mask)):
            holds = negative if not value else not negative
            return self.subject() if holds else f"not {self.subject()}"
        shown = self._spelling.under(self._mask, value)
        return f"{self.subject()} {operator} {shown}"


def _alike(
    known: Sequence[tuple[Comparison, ...]],
) -> list[tuple[list[tuple[Comparison, ...]], int]]:
    """Return groups of conjunctions, each with the index of the only comparison that differs.

    The index is 0 for a group of one.
    """
    groups: list[tuple[list[tuple[Comparison, ...]], int]] = []
    for tests in known:
        for n, (group, place) in enumerate(groups):
            differs = _only_difference(group[0], tests)
            if differs is not None and (len(group) == 1 or differs == place):
                groups[n] = [*group, tests], differs
                break
        else:
            groups.append(([tests], 0))
    return groups


def _only_difference(a: tuple[Comparison, ...], b: tuple[Comparison, ...]) -> int | None:
    """Return the index of the only comparison that differs between ``a`` and ``b``.

    None unless exactly one differs, and only in the value of an equality.
    """
    if len(a) != len(b):
        return None
    places = [n for n, (one, other) in enumerate(zip(a, b, strict=True)) if one != other]
    if len(places) != 1:
        return None
    one, other = a[places[0]], b[places[0]]
    equal = one.op in {Op.EQ, Op.MASKED_EQ}
    return places[0] if equal and replace(one, value=other.value) == other else None


def _ones(bits: int) -> int:
    return (1 << bits) - 1


def _above(bits: int) -> int:
    return U64 ^ _ones(bits)
