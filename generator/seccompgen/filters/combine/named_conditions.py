"""Conditions of foreign policies as an author would write them in our language.

Arguments and numbers get names, and alternatives that differ in one value become ``in {...}``. A
cast is left out if it says what the kernel reads anyway; a name that the author wrote stays. No
comparison changes on the ABI that the text is for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seccompgen.core.model import Comparison, Op
from seccompgen.policy.conditions import Lookup, TooLargeError, alternatives
from seccompgen.policy.expressions import (
    AllOf,
    AnyOf,
    ArgumentTest,
    Cast,
    JoinedValue,
    NamedValue,
    Negated,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Predicate
    from seccompgen.core.tables import Tables
    from seccompgen.policy.expressions import Expression, ValueExpression

_CAST_BITS = {Cast.U64: 64, Cast.U32: 32}


def named_condition(conditions: Sequence[Expression], call: str, abi: Abi, tables: Tables) -> str:
    """Return the text that is true if one of ``conditions`` on arguments of ``call`` is."""
    return _Wording(call, abi, tables).any_of(conditions)


@dataclass(frozen=True, slots=True)
class _Wording:
    """The words for conditions on one call on one ABI."""

    call: str
    abi: Abi
    tables: Tables

    def any_of(self, parts: Iterable[Expression], known: dict[int, int] | None = None) -> str:
        """Return the alternatives; those that compare the same with a value become a list."""
        texts: dict[str, list[str]] = {}
        for part in dict.fromkeys(_flat(parts)):
            text = self.text(part, known or {})
            subject, found, value = text.partition(" == ")
            equal = isinstance(part, ArgumentTest) and part.op in {Op.EQ, Op.MASKED_EQ}
            listed = found and equal
            texts.setdefault(subject if listed else text, []).extend([value] if listed else [])
        return " or ".join(
            f"{subject} in {{{', '.join(values)}}}"
            if len(values) > 1
            else " == ".join((subject, *values))
            for subject, values in texts.items()
        )

    def text(self, condition: Expression, known: dict[int, int]) -> str:
        match condition:
            case ArgumentTest():
                return self._test(condition, known)
            case AnyOf(parts):
                return self.any_of(parts, known)
            case Negated(ArgumentTest(op=Op.ANY_BITS | Op.NO_BITS) as part):
                text = self._test(part, known)
                return text.removeprefix("not ") if part.op is Op.NO_BITS else f"not {text}"
            case Negated(ArgumentTest(op=Op.EQ | Op.NE) as part):
                other = Op.NE if part.op is Op.EQ else Op.EQ
                return self._test(replace(part, op=other), known)
            case Negated(AnyOf() as part):
                text = self.any_of(part.parts, known)
                listed = text.endswith("}") and text.count(" in {") == 1 and " or " not in text
                return text.replace(" in {", " not in {") if listed else f"not ({text})"
            case Negated(part):
                return f"not ({self.text(part, known)})"
        if numbers := self._numbers(condition):
            return self.tables.naming.condition(numbers, self.call, self.abi)
        fixed = known | self._fixed(condition.parts)
        texts = (self.text(part, fixed) for part in condition.parts)
        return " and ".join(f"({one})" if " or " in one else one for one in texts)

    def _fixed(self, parts: Iterable[Expression]) -> dict[int, int]:
        """Return the values that arguments must have, by index."""
        found = (self._comparison(one) for one in parts if isinstance(one, ArgumentTest))
        return {one.argument: one.value for one in found if one and one.op is Op.EQ}

    def _comparison(self, test: ArgumentTest) -> Comparison | None:
        """Return ``test`` in numbers; None if it takes several comparisons, or none."""
        found = self._predicate(test)
        return found if isinstance(found, Comparison) else None

    def _numbers(self, condition: AllOf) -> Predicate | None:
        """Return a conjunction of comparisons in numbers, if its author named no constant."""
        plain = all(isinstance(one, ArgumentTest) and not _names(one) for one in condition.parts)
        return self._predicate(condition) if plain else None

    def _predicate(self, condition: Expression) -> Predicate | None:
        """Return ``condition`` in numbers; None if that is not one conjunction."""
        numbers = Lookup(self.tables.facts, self.abi).numbers(condition, self.call)
        try:
            found = alternatives(condition, numbers) if numbers else ()
        except TooLargeError:
            return None
        return found[0] if len(found) == 1 else None

    def _test(self, test: ArgumentTest, known: dict[int, int]) -> str:
        numbers = self._comparison(test)
        if numbers and not _names(test):
            naming = self.tables.naming
            named = naming.comparison(numbers, self.call, self.abi, known)
            return named or naming.condition(numbers, self.call, self.abi)
        side = self._side(test, numbers)
        if test.op in {Op.ANY_BITS, Op.NO_BITS}:
            return f"{'not ' if test.op is Op.NO_BITS else ''}{side} & {_tight(test.value)}"
        masked = f"{side} & {_tight(test.mask)}" if test.mask is not None else side
        return f"{masked} {'==' if test.op is Op.MASKED_EQ else test.op.value} {_value(test.value)}"

    def _side(self, test: ArgumentTest, numbers: Comparison | None) -> str:
        """Return the argument by name, with its cast unless the kernel reads the same bits."""
        naming, index = self.tables.naming, test.argument
        if isinstance(index, str):
            return test.reading.value.format(index)
        name, most = naming.argument(self.call, index, self.abi), self.abi.argument_bits
        parameter = naming.parameter(self.call, index, self.abi)
        read = min((parameter and parameter.bits) or 64, most)
        same = min(_CAST_BITS.get(test.reading, 0), most) == read
        masked = numbers.value if test.op in {Op.ANY_BITS, Op.NO_BITS} and numbers else None
        if test.op is Op.MASKED_EQ and numbers:
            masked = numbers.mask
        low = test.reading in _CAST_BITS and masked is not None and masked < 1 << min(read, 32)
        return name if same or low else test.reading.value.format(name)


def _flat(parts: Iterable[Expression]) -> Iterable[Expression]:
    for part in parts:
        if isinstance(part, AnyOf):
            yield from _flat(part.parts)
        else:
            yield part


def _names(test: ArgumentTest) -> bool:
    """Return True if the author of ``test`` named a constant."""
    waiting = [test.value, *([test.mask] if test.mask is not None else [])]
    for value in waiting:
        if isinstance(value, NamedValue):
            return True
        waiting += value.operands if isinstance(value, JoinedValue) else ()
    return False


def _value(value: ValueExpression) -> str:
    match value:
        case JoinedValue("|", left, right) if left is not None:
            return f"{_value(left)}|{_value(right)}"
        case JoinedValue(operator, left, right):
            after = f"{operator}{_tight(right)}"
            return after if left is None else f"{_tight(left)} {operator} {_tight(right)}"
    return str(value)


def _tight(value: ValueExpression | None) -> str:
    """Return a value with brackets if it needs them next to an operator."""
    assert value is not None
    match value:
        case JoinedValue("~", None, JoinedValue("~", None, inner)):
            return _tight(inner)
        case JoinedValue(_, left, _) if left is not None:
            return f"({_value(value)})"
    return _value(value)
