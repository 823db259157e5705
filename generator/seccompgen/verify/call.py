"""One system call as a filter sees it: ``struct seccomp_data``, in fields and in words.

An operation of a ring counts as a call without number and architecture: the five 64-bit words of
``struct io_uring_bpf_ctx`` are its first arguments.

`word_at` alone decides for every proof which word lies at which offset: the compiler's own
`word_offset` is not used. Sources: include/uapi/linux/seccomp.h, .../io_uring/bpf_filter.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

from seccompgen.core.abis import ABIS, HighWords
from seccompgen.core.model import U32
from seccompgen.core.word import ARCH, ARGS, FIELDS, INSTRUCTION_POINTER, NR, Word

if TYPE_CHECKING:
    from collections.abc import Callable


class Structure(Enum):
    """The structure that a program reads; its value is its size in bytes."""

    SECCOMP_DATA = 64
    IO_URING_CONTEXT = 40


DATA_SIZE = Structure.SECCOMP_DATA.value
"""sizeof(struct seccomp_data) in bytes."""

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
    def of_words(cls, word: Callable[[Word], int]) -> Call:
        """Return the call with the words that ``word`` returns."""
        fields = [word(Word.low(n)) | word(Word.high(n)) << 32 for n in range(FIELDS)]
        a, b, c, d, e, f = fields[ARGS:]
        return cls(
            fields[NR] & U32, fields[ARCH] & U32, (a, b, c, d, e, f), fields[INSTRUCTION_POINTER]
        )

    @property
    def exists(self) -> bool:
        """False if no kernel shows such a call: a high word that is always 0 is not 0."""
        return self.arch not in ZERO_HIGH_WORDS or not any(arg >> 32 for arg in self.args)

    def word(self, word: Word) -> int:
        """Return the value of a word."""
        return word.of(self.fields[word.field])


def word_at(
    offset: int,
    byte_order: Literal["little", "big"],
    structure: Structure = Structure.SECCOMP_DATA,
) -> Word:
    """Return the word at ``offset``, a multiple of 4 below the size of ``structure``."""
    if structure is Structure.IO_URING_CONTEXT:
        field = ARGS + offset // 8
    elif offset < 8:
        return Word.low(NR if offset < 4 else ARCH)
    else:
        field = INSTRUCTION_POINTER + offset // 8 - 1
    high = (offset % 8 == 4) == (byte_order == "little")
    return (Word.high if high else Word.low)(field)
