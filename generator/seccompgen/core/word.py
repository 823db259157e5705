"""Fields of ``struct seccomp_data``, and their words: the 32 bits that a filter can load.

A *field* is a number of the structure whatever its bytes: ``nr``, ``arch``, the instruction
pointer, six arguments. A *word* is its low or its high half. At which offset a word lies is a
matter of the byte order. Source: include/uapi/linux/seccomp.h.
"""

from __future__ import annotations

from seccompgen.core.model import U32

NR, ARCH, INSTRUCTION_POINTER, ARGS = 0, 1, 2, 3
"""Fields by number; argument n is ``ARGS + n``. The first two have 32 bits, all others 64."""
FIELDS = ARGS + 6


class Word(int):
    """Half of a field. Words are in the order of the fields, the low one first.

    An int, so that words are hashed and compared as fast, and can be places in a tuple.
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
        """The place of the word's lowest bit in the field: 0 or 32."""
        return 32 * (self % 2)

    def of(self, value: int) -> int:
        """Return the word where the field has ``value``."""
        return value >> self.shift & U32


WORDS = tuple(Word(number) for number in range(2 * FIELDS))
"""All words, in order."""


def argument_words(argument: int) -> tuple[Word, Word]:
    """Return the low and the high word of an argument, 0 to 5."""
    return Word.low(ARGS + argument), Word.high(ARGS + argument)
