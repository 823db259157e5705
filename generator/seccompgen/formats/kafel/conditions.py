"""Translate kafel's conditions into ours: each bit of a side is 0, 1 or the argument's.

A comparison is 64 bits wide if its argument is, or if one of its numbers needs 64 bits, and 32 bits
wide otherwise (``is_64bit`` of kafel's codegen.c). All comparisons are unsigned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.errors import Diagnostic, did_you_mean
from seccompgen.core.model import U32, U64
from seccompgen.core.problems import Problem
from seccompgen.formats.kafel.text import KafelCursor

if TYPE_CHECKING:
    from seccompgen.core.errors import Position
    from seccompgen.formats.kafel.text import KafelWord

_RELATIONS = {"==", "!=", "<", "<=", ">", ">="}
_MOST_NESTED = 100


@dataclass(frozen=True, slots=True)
class Side:
    """A side of a comparison: ``(argument & mask) | ones``; for a number, ``argument`` is None.

    ``mask`` and ``ones`` have no bit in common. ``wide`` is True if the side has 64 bits, not 32.
    """

    argument: int | None
    mask: int
    ones: int
    wide: bool

    @classmethod
    def of_number(cls, number: int) -> Side:
        """Return the side for a number."""
        return cls(None, 0, number, number > U32)

    @classmethod
    def of_argument(cls, index: int, *, wide: bool) -> Side:
        """Return the side for an unmasked argument."""
        return cls(index, U64, 0, wide)

    def joined(self, operator: str, other: Side) -> Side | None:
        """Return ``self & other`` or ``self | other``; None if they use different arguments."""
        if None not in {self.argument, other.argument} and self.argument != other.argument:
            return None
        a, b = self, other
        if operator == "|":
            ones = a.ones | b.ones
            mask = (a.mask | b.mask) & ~ones
        else:
            ones = a.ones & b.ones
            mask = (a.mask | a.ones) & (b.mask | b.ones) & ~ones
        argument = a.argument if a.argument is not None else b.argument
        return Side(argument, mask, ones, a.wide or b.wide)


Condition: TypeAlias = bool | str
"""An expression in our language, or a truth value for a condition that is constant."""
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def compared(left: Side, operator: str, right: Side) -> Condition | None:
    """Return a comparison as a condition; None if both sides have an argument."""
    if right.mask:
        if left.mask:
            return None
        left, operator, right = right, _MIRRORED.get(operator, operator), left
    full = U64 if left.wide or right.wide else U32
    mask, ones, value = left.mask & full, left.ones & full, right.ones & full
    if not mask:
        return _holds(ones, operator, value)
    # (x & mask) | ones is their sum, since they have no bit in common.
    value -= ones
    if value < 0:
        return operator in {">", ">=", "!="}
    if value & ~mask and operator in {"==", "!="}:
        return operator == "!="
    if value > mask:
        return operator in {"<", "<="}
    if (value, operator) in {(0, "<"), (mask, ">")}:
        return False
    if (value, operator) in {(0, ">="), (mask, "<=")}:
        return True
    argument = f"u{full.bit_length()}(arg{left.argument})"
    return f"{argument}{'' if mask == full else f' & {mask:#x}'} {operator} {_shown(value)}"


def _shown(value: int) -> str:
    return str(value) if value < 10 else f"{value:#x}"


def _holds(a: int, operator: str, b: int) -> bool:
    return {
        "==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b,
    }[operator]  # fmt: skip


def negated(part: Condition) -> Condition:
    """Return the negation of a condition."""
    return f"not ({part})" if isinstance(part, str) else not part


def both(a: Condition, b: Condition) -> Condition:
    """Return the conjunction of two conditions."""
    if isinstance(a, bool):
        return b if a else False
    if isinstance(b, bool):
        return a if b else False
    return f"{_grouped(a)} and {_grouped(b)}"


def either(a: Condition, b: Condition) -> Condition:
    """Return the disjunction of two conditions."""
    if isinstance(a, bool):
        return True if a else b
    if isinstance(b, bool):
        return True if b else a
    return f"{a} or {b}"


def _grouped(part: str) -> str:
    return f"({part})" if " or " in part else part


_CROSS = (
    "the rule compares arguments with each other: our policies compare each argument with numbers"
)


class KafelSyntaxError(Exception):
    """Raised to abandon a malformed part of a policy, after its diagnostic was added."""


class ConditionReader(KafelCursor):
    """Reads a condition from ``words``; ``arguments`` are the call's arguments by name."""

    def __init__(
        self, words: tuple[KafelWord, ...], arguments: dict[str, Side], errors: list[Diagnostic]
    ) -> None:
        super().__init__(words)
        self._arguments = arguments
        self._errors = errors
        self._depth = 0

    def whole(self) -> Condition:
        """Return the condition that all words express."""
        found = self._any()
        if self._word.kind != "end":
            raise self._fail(f"unexpected {self._word.text!r}")
        return found

    def _fail(self, text: str, at: Position | None = None) -> KafelSyntaxError:
        kind = Problem.WRONG_EXPRESSION
        self._errors.append(Diagnostic(text, at or self._word.at, kind))
        return KafelSyntaxError(text)

    def _any(self) -> Condition:
        """Read alternatives, with ``,`` or ``||`` between them."""
        found = self._all()
        while self._take(",", "||"):
            found = either(found, self._all())
        return found

    def _all(self) -> Condition:
        found = self._primary()
        while self._take("&&"):
            found = both(found, self._primary())
        return found

    def _primary(self) -> Condition:
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise self._fail("nested too deeply: split it")
        if self._take("!"):
            found = negated(self._primary())
        elif self._word.text == "(" and self._is_condition():
            self._next += 1
            found = self._any()
            if not self._take(")"):
                raise self._fail("')' is missing here")
        else:
            found = self._comparison()
        self._depth -= 1
        return found

    def _is_condition(self) -> bool:
        """Return True if the bracket here encloses a condition, rather than part of a side."""
        depth = 0
        for word in self._words[self._next :]:
            depth += {"(": 1, ")": -1}.get(word.text, 0) if word.kind == "sign" else 0
            if depth == 0:
                return False
            if word.kind == "sign" and word.text in {*_RELATIONS, "!", "&&", "||", ","}:
                return True
        return False

    def _comparison(self) -> Condition:
        left = self._side()
        relation = self._take(*_RELATIONS)
        if relation is None:
            raise self._fail("expected a comparison here, such as fd == 1")
        right = self._side()
        found = compared(left, relation.text, right)
        if found is None:
            raise self._fail(_CROSS, relation.at)
        return found

    def _side(self) -> Side:
        found = self._masked()
        while sign := self._take("|"):
            found = self._joined(found, sign, self._masked())
        return found

    def _masked(self) -> Side:
        found = self._operand()
        while sign := self._take("&"):
            found = self._joined(found, sign, self._operand())
        return found

    def _joined(self, left: Side, sign: KafelWord, right: Side) -> Side:
        found = left.joined(sign.text, right)
        if found is None:
            raise self._fail(_CROSS, sign.at)
        return found

    def _operand(self) -> Side:
        word = self._word
        if self._take("("):
            self._depth += 1
            if self._depth > _MOST_NESTED:
                raise self._fail("nested too deeply: split it")
            found = self._side()
            if not self._take(")"):
                raise self._fail("')' is missing here")
            self._depth -= 1
            return found
        if word.kind == "number":
            self._next += 1
            return Side.of_number(word.number)
        if word.kind != "name":
            raise self._fail("expected an argument or a number here")
        self._next += 1
        if word.text not in self._arguments:
            known = ", ".join(self._arguments) or "none"
            hint = did_you_mean(word.text, self._arguments)
            text = f"neither an argument nor a #define: {word.text!r}{hint}; the arguments are "
            raise self._fail(f"{text}{known}; declare others as in read(fd, buf)", word.at)
        return self._arguments[word.text]
