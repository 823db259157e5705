"""Reasons why something could not be determined."""

from __future__ import annotations

from enum import StrEnum


class Why(StrEnum):
    """A reason. Its value is its code, which tools read, and which stays."""

    # Why a number, or where an indirect call leads, could not be followed back.
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
    """on the stack of whoever calls the first function"""
    POINTER = "pointer"
    NO_CALLER = "no_caller"
    NO_WAY_HERE = "no_way_here"
    NO_CODE = "no_code"
    TOO_MUCH = "too_much"
    NO_CALL = "no_call"
    FOREIGN = "foreign"
    """by an instruction of another ABI"""

    # Why it is not known what can run.
    NO_WAY = "no_way"
    SUM = "sum"
    """to a sum that comes from no jump table which is understood"""
    NO_FILE = "no_file"
    """of a function that no file has"""
    NO_INSTRUCTION = "no_instruction"
    RELOCATION = "relocation"
    FRAMES = "frames"
    """of what catches exceptions, in an unknown form"""
    WRITABLE = "writable"

    @property
    def leads_on(self) -> bool:
        """True where it is the code that can run from there that is unknown, not a number."""
        return self in _LEADING


_LEADING = frozenset(
    {Why.NO_WAY, Why.SUM, Why.NO_FILE, Why.NO_INSTRUCTION, Why.RELOCATION, Why.FRAMES}
    | {Why.WRITABLE}
)
