"""Reasons why something could not be determined, each with the sentence that says it."""

from __future__ import annotations

from enum import Enum


class Why(Enum):
    """A reason; its value is the sentence that users read, and nothing else reads."""

    # Why a number, or where an indirect call leads, could not be followed back.
    MEMORY = "it is loaded from memory"
    NARROW = "it is loaded from memory, as less than a word"
    COMPUTED = "it is computed"
    DECODED = "it is computed by an exclusive or, or a rotation"
    PART = "a part of it is set alone"
    RETURNED = "it is what a call returned"
    CHANGED = "a call may have changed it"
    STORED = "it may have been changed on the stack"
    NO_STACK = "the stack pointer is computed"
    NOBODY = "it is on the stack of nobody"
    POINTER = "it is handed to a function that is called by a pointer"
    NO_CALLER = "it is handed to a function without known callers"
    NO_WAY_HERE = "it is not known how control gets there"
    NO_CODE = "the code around it is not understood"
    TOO_MUCH = "too many ways lead here"
    NO_CALL = "it is no call of this kernel"
    FOREIGN = "it enters the kernel by another ABI, which the policy does not allow"

    # Why it is not known what can run.
    NO_WAY = "it is not understood where this leads"
    SUM = "where it goes is computed, and not from a jump table that is understood"
    NO_FILE = "no file that is read has the function"
    NO_INSTRUCTION = "control runs into bytes that are no instruction known here"
    RELOCATION = "its relocation is of a type that is not understood"
    FRAMES = "what catches exceptions is written in a form that is not understood"
    WRITABLE = "this code can be written, so that it may be other code when it runs"

    @property
    def leads_on(self) -> bool:
        """True where it is the code that can run from there that is unknown, not a number."""
        return self in _LEADING


_LEADING = frozenset(
    {Why.NO_WAY, Why.SUM, Why.NO_FILE, Why.NO_INSTRUCTION, Why.RELOCATION, Why.FRAMES}
    | {Why.WRITABLE}
)
