"""Fields of ``struct seccomp_data``, and their words: the 32 bits that a filter can load.

A *field* is a member of the structure, regardless of byte order: ``nr``, ``arch``, the instruction
pointer, or one of six arguments. A *word* is the low or the high half of a field. The offset of a
word depends on the byte order. Source: include/uapi/linux/seccomp.h.
"""

from __future__ import annotations

from seccompgen.core.model import U32

NR, ARCH, INSTRUCTION_POINTER, ARGS = 0, 1, 2, 3
"""Fields by number; argument n is ``ARGS + n``. The first two have 32 bits, all others 64."""
FIELDS = ARGS + 6


class Word(int):
    """Half of a field. Words are in the order of the fields, the low one first.

    A word is an int, so that it is as fast to hash and compare, and can index a tuple.
    """

    __slots__ = ()

    @classmethod
    def low(cls, field: int) -> Word:
        """Return the low word of a field."""
        return cls(2 * field)

    @classmethod
    def high(cls, field: int) -> Word:
        """Return the high word of a field."""
        return cls(2 * field + 1)

    @property
    def field(self) -> int:
        """The number of the field."""
        return self // 2

    @property
    def argument(self) -> int:
        """The number of the argument, 0 to 5, that the word is half of."""
        return self // 2 - ARGS

    @property
    def is_high(self) -> bool:
        """True for the high word."""
        return self % 2 == 1

    @property
    def shift(self) -> int:
        """The position of the word's lowest bit in the field: 0 or 32."""
        return 32 * (self % 2)

    def of(self, value: int) -> int:
        """Return the value of the word if the field has ``value``."""
        return value >> self.shift & U32


WORDS = tuple(Word(number) for number in range(2 * FIELDS))
"""All words, in order."""


def argument_words(argument: int) -> tuple[Word, Word]:
    """Return the low and the high word of an argument, 0 to 5."""
    return Word.low(ARGS + argument), Word.high(ARGS + argument)
