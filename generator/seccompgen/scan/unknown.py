"""Reasons why something could not be determined."""

from __future__ import annotations

from enum import StrEnum


class Why(StrEnum):
    """A reason. Its value is its code, which tools read and which must not change."""

    # Reasons why a number, or the target of an indirect call, could not be followed back.
    MEMORY = "memory"
    NARROW = "narrow"
    """less than a word, from memory"""
    COMPUTED = "computed"
    DECODED = "decoded"
    """by an exclusive or, or a rotation"""
    PART = "part"
    RETURNED = "returned"
    CHANGED = "changed"
    STORED = "stored"
    NO_STACK = "no_stack"
    NOBODY = "nobody"
    """on the stack above the first function"""
    POINTER = "pointer"
    NO_CALLER = "no_caller"
    NO_WAY_HERE = "no_way_here"
    NO_CODE = "no_code"
    TOO_MUCH = "too_much"
    NO_CALL = "no_call"
    FOREIGN = "foreign"
    """by an instruction of another ABI"""

    # Reasons why it is unknown what can run.
    NO_WAY = "no_way"
    SUM = "sum"
    """a jump to a sum that is not from a jump table that is understood"""
    NO_FILE = "no_file"
    """a call of a function that no file defines"""
    NO_INSTRUCTION = "no_instruction"
    RELOCATION = "relocation"
    FRAMES = "frames"
    """tables for exceptions, in an unknown form"""
    WRITABLE = "writable"

    @property
    def leads_on(self) -> bool:
        """True if the code that can run from there is unknown, not a number."""
        return self in _LEADING


_LEADING = frozenset(
    {Why.NO_WAY, Why.SUM, Why.NO_FILE, Why.NO_INSTRUCTION, Why.RELOCATION, Why.FRAMES}
    | {Why.WRITABLE}
)
