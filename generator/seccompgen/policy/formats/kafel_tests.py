"""Conditions of kafel's language as ours: each bit of a side is 0, 1 or the argument's.

A comparison counts 64 bits if its argument has as many, or one of its numbers needs them, and 32
otherwise (``is_64bit`` of kafel's codegen.c). All are unsigned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from seccompgen.core.model import U32, U64


@dataclass(frozen=True, slots=True)
class Side:
    """A side of a comparison: ``(argument & mask) | ones``, ``argument`` None if it is a number.

    ``mask`` and ``ones`` have no bit in common. ``wide`` is True if 64 bits of it count.
    """

    argument: int | None
    mask: int
    ones: int
    wide: bool

    @classmethod
    def of_number(cls, number: int) -> Side:
        """Return a number."""
        return cls(None, 0, number, number > U32)

    @classmethod
    def of_argument(cls, index: int, *, wide: bool) -> Side:
        """Return an argument as it is."""
        return cls(index, U64, 0, wide)

    def joined(self, operator: str, other: Side) -> Side | None:
        """Return ``self & other`` or ``self | other``; None if they are different arguments."""
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
"""An expression of ours, or whether it is always so."""
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def compared(left: Side, operator: str, right: Side) -> Condition | None:
    """Return the condition that a comparison is; None where it has an argument on both sides."""
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
    """Return the opposite."""
    return f"not ({part})" if isinstance(part, str) else not part


def both(a: Condition, b: Condition) -> Condition:
    """Return that both hold."""
    if isinstance(a, bool):
        return b if a else False
    if isinstance(b, bool):
        return a if b else False
    return f"{_grouped(a)} and {_grouped(b)}"


def either(a: Condition, b: Condition) -> Condition:
    """Return that one of both holds."""
    if isinstance(a, bool):
        return True if a else b
    if isinstance(b, bool):
        return True if b else a
    return f"{a} or {b}"


def _grouped(part: str) -> str:
    return f"({part})" if " or " in part else part
