"""Integer expressions of C outside of ``#if``: every number has a type, and wraps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from seccompgen.kernel.parse.c_types import CType, Names, starts_type, type_of
from seccompgen.kernel.parse.declarations import closing
from seccompgen.kernel.parse.expressions import ExpressionReader, NoValueError, operate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class CInt:
    """An integer with its type, of 32 or 64 bits; C promotes smaller ones."""

    value: int
    bits: int = 32
    signed: bool = True

    def __bool__(self) -> bool:
        """Return True unless the value is 0."""
        return self.value != 0


def wrapped(value: int, bits: int, *, signed: bool) -> CInt:
    """Return ``value`` converted to a type of ``bits`` bits; 8 and 16 are promoted to int."""
    value &= (1 << bits) - 1
    if signed and value >> (bits - 1):
        value -= 1 << bits
    return CInt(value, 32, True) if bits < 32 else CInt(value, bits, signed)


def number(match: re.Match[str]) -> tuple[int, str, str]:
    """Return the value of a match of `NUMBER`, its digits and its suffix."""
    digits = match[1]
    octal = digits.startswith("0") and digits.isdecimal()
    return int(digits, 8) if octal else int(digits, 0), digits, match[2]


def literal(value: int, digits: str, suffix: str, measure: Callable[[str], int]) -> CInt:
    """Return the typed value of a literal that is written as ``digits`` and ``suffix``."""
    suffix = suffix.lower()
    decimal = not digits.startswith("0")
    if "l" not in suffix:
        if "u" not in suffix and value < 1 << 31:
            return CInt(value)
        if ("u" in suffix or not decimal) and value < 1 << 32:
            return CInt(value, 32, False)
    for bits in (64,) if suffix.count("l") > 1 else (measure("long") * 8, 64):
        if "u" not in suffix and value < 1 << (bits - 1):
            return CInt(value, bits, True)
        if ("u" in suffix or not decimal) and value < 1 << bits:
            return CInt(value, bits, False)
    raise NoValueError("it leaves 64 bits")


class Values(Names, Protocol):
    """The context in which expressions are evaluated."""

    def enumerator(self, name: str) -> CInt | None:
        """Return the value of an enumerator; None if ``name`` is none."""


_CHARACTER = re.compile(r"'(?:[^'\\]|\\.[0-7x0-9a-fA-F]*)+'")
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]+|[0-7]{1,3}|.)")
_ESCAPES = {"n": 10, "t": 9, "r": 13, "0": 0, "\\": 92, "'": 39, '"': 34, "a": 7, "b": 8, "f": 12}


class TypedExpression(ExpressionReader[CInt]):
    """An expression whose macros are already expanded."""

    def __init__(self, tokens: Sequence[str], names: Values) -> None:
        super().__init__(tokens)
        self._names = names

    def _primary(self, *, dead: bool) -> CInt:
        word = self._peek()
        if word == "sizeof":
            return self._sizeof()
        if word == "(":
            if self._peek(1) == "{":
                raise NoValueError("it is a statement")
            if starts_type(self._peek(1), self._names):
                return self._cast(dead=dead)
        elif word.startswith("'"):
            self._next()
            return _character(word)
        elif word.startswith('"'):
            raise NoValueError("it is a string")
        return super()._primary(dead=dead)

    def _sizeof(self) -> CInt:
        self._next()
        if self._peek() != "(" or not self._peek(1):
            raise NoValueError("it is the size of an expression")
        end = closing(self._tokens, self._at)
        inside = self._tokens[self._at + 1 : end]
        if not inside or end == len(self._tokens):
            raise NoValueError("a ')' is missing")
        if all(word.startswith('"') for word in inside):
            self._at = end + 1
            text = "".join(word[1:-1] for word in inside)
            return self._size(len(_ESCAPE.sub(".", text)) + 1)
        if not starts_type(inside[0], self._names):
            text = " ".join(inside)
            known = text.replace(" ", "").isidentifier()
            raise NoValueError(
                f"the type {text} is not known" if known else "it is the size of an expression"
            )
        self._at = end + 1
        return self._size(type_of(inside, self._names).size)

    def _size(self, size: int) -> CInt:
        return CInt(size, self._names.measure("long") * 8, False)

    def _cast(self, *, dead: bool) -> CInt:
        end = closing(self._tokens, self._at)
        ctype: CType = type_of(self._tokens[self._at + 1 : end], self._names)
        self._at = end + 1
        value = self._unary(dead=dead)
        if ctype.kind == "pointer":
            raise NoValueError("it is a pointer")
        if ctype.kind != "integer" or ctype.size not in {1, 2, 4, 8}:
            raise NoValueError("it is no integer")
        return wrapped(value.value, ctype.size * 8, signed=ctype.signed)

    def _chosen(self, one: CInt, other: CInt, *, first: bool) -> CInt:
        bits, signed = _common(one, other)
        return wrapped((one if first else other).value, bits, signed=signed)

    def _truth(self, value: bool) -> CInt:
        return CInt(int(value))

    def _number(self, value: int, digits: str, suffix: str) -> CInt:
        return literal(value, digits, suffix, self._names.measure)

    def _named(self, word: str) -> CInt:
        value = self._names.enumerator(word)
        if value is None:
            raise NoValueError(f"{word} is not defined as a number")
        return value

    def _signed(self, sign: str, value: CInt) -> CInt:
        if sign == "!":
            return CInt(int(not value))
        result = {"~": ~value.value, "-": -value.value, "+": value.value}[sign]
        return wrapped(result, value.bits, signed=value.signed)

    def _apply(self, operator: str, left: CInt, right: CInt) -> CInt:
        if operator in {"<<", ">>"}:
            if right.value >= left.bits:
                raise NoValueError(f"it shifts {left.bits} bits by {right.value}")
            result = operate(operator, left.value, right.value)
            return wrapped(result, left.bits, signed=left.signed)
        bits, signed = _common(left, right)
        one = wrapped(left.value, bits, signed=signed)
        other = wrapped(right.value, bits, signed=signed)
        result = operate(operator, one.value, other.value)
        if operator in {"==", "!=", "<", ">", "<=", ">="}:
            return CInt(result)
        return wrapped(result, bits, signed=signed)


def _common(one: CInt, other: CInt) -> tuple[int, bool]:
    """Return bits and signedness of the common type of two operands."""
    bits = max(one.bits, other.bits)
    unsigned = any(not each.signed and each.bits == bits for each in (one, other))
    return bits, not unsigned


def _character(text: str) -> CInt:
    if not _CHARACTER.fullmatch(text):
        raise NoValueError(f"{text} is no character")
    value, at, inside = 0, 0, text[1:-1]
    while at < len(inside):
        code = ord(inside[at])
        if inside[at] == "\\":
            at += 1
            if inside[at] == "x":
                digits = re.match(r"[0-9a-fA-F]*", inside[at + 1 :])
                code = int(digits[0] or "0", 16) if digits else 0
                at += len(digits[0]) if digits else 0
            elif octal := re.match(r"[0-7]{1,3}", inside[at:]):
                code = int(octal[0], 8)
                at += len(octal[0]) - 1
            else:
                code = _ESCAPES.get(inside[at], ord(inside[at]))
        value = value << 8 | code & 0xFF
        at += 1
    return wrapped(value, 32, signed=True)
