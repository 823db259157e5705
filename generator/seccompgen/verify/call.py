"""One system call as a filter sees it: ``struct seccomp_data``, in fields and in words.

A *field* is a number of the structure whatever its bytes: ``nr``, ``arch``, the instruction
pointer, six arguments. A *word* is what a program can load: 32 bits of a field, its low or its
high half. Which of the two lies at which offset is a matter of the byte order, and decided in
`word_at` alone. Source: include/uapi/linux/seccomp.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from seccompgen.core.abis import ABIS, HighWords
from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Callable

NR, ARCH, INSTRUCTION_POINTER, ARGS = 0, 1, 2, 3
"""Fields by number; argument n is ``ARGS + n``. The first two have 32 bits, all others 64."""
FIELDS = ARGS + 6

DATA_SIZE = 64
"""sizeof(struct seccomp_data) in bytes."""
WORDS = 2 * FIELDS
"""Words by number: twice that of the field, and one more for its high half."""

ZERO_HIGH_WORDS = {
    abi.audit_arch: abi.name for abi in ABIS.values() if abi.high_words is HighWords.ZERO
}
"""The audit values under which a kernel shows the high words of arguments as 0, and the ABIs."""


@dataclass(frozen=True, slots=True)
class Call:
    """The values of one ``struct seccomp_data``; ``nr`` is taken as unsigned."""

    nr: int
    arch: int
    args: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0)
    instruction_pointer: int = 0

    @property
    def fields(self) -> tuple[int, ...]:
        """The fields in the order of their numbers."""
        return (self.nr, self.arch, self.instruction_pointer, *self.args)

    @classmethod
    def of_words(cls, word: Callable[[int], int]) -> Call:
        """Return the call whose word number n is ``word(n)``."""
        fields = [word(2 * n) | word(2 * n + 1) << 32 for n in range(FIELDS)]
        a, b, c, d, e, f = fields[ARGS:]
        return cls(
            fields[NR] & U32, fields[ARCH] & U32, (a, b, c, d, e, f), fields[INSTRUCTION_POINTER]
        )

    @property
    def exists(self) -> bool:
        """False if no kernel makes it: if what is always 0 is not."""
        return self.arch not in ZERO_HIGH_WORDS or not any(arg >> 32 for arg in self.args)

    def word(self, number: int) -> int:
        """Return a word, 32 bits."""
        return self.fields[number // 2] >> 32 * (number % 2) & U32


def word_at(offset: int, byte_order: Literal["little", "big"]) -> int:
    """Return the number of the word at ``offset``, a multiple of 4 below DATA_SIZE."""
    if offset < 8:
        return 2 * (offset // 4)
    field, second = divmod(offset - 8, 8)
    high = (second == 4) == (byte_order == "little")
    return 2 * (INSTRUCTION_POINTER + field) + high
