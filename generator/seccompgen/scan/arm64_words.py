"""aarch64 instructions as text: each word is decoded once, wherever it is in memory.

A program repeats most of its words. The operands that count from an instruction's address are added
to its text for each place, since in other words they would be all that differs.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from seccompgen.scan.ways import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.scan.processor import Instruction

_MOST_WORDS = 1 << 17
_ADDRESS = (1 << 64) - 1
_LARGEST_DIGIT = 9
"""The disassembler prints larger numbers as hexadecimal."""


class _Relative(NamedTuple):
    """A group of words that differ in an offset: ``bits`` from bit ``low`` on, in ``unit`` bytes.

    The offset counts from a multiple of ``page``. If it is ``split``, bits 30:29 are its lowest.
    """

    bits: int
    low: int
    unit: int = 4
    page: int = 1
    split: bool = False

    def without(self, word: int) -> int:
        """Return ``word`` with an offset of 0."""
        return word & ~(((1 << self.bits) - 1 << self.low) | (3 << 29 if self.split else 0))

    def target(self, word: int, address: int) -> int:
        """Return the address to which ``word`` leads from ``address``."""
        offset = word >> self.low & (1 << self.bits) - 1
        offset -= offset >> self.bits - 1 << self.bits
        if self.split:
            offset = offset << 2 | word >> 29 & 3
        return (address // self.page * self.page + offset * self.unit) & _ADDRESS


def _groups() -> list[_Relative | None]:
    """Return the group of words by their highest byte (Arm ARM, C4.1); None if not relative."""
    found: list[_Relative | None] = [None] * 256
    for top in range(256):
        if top & 0x7C == 0x14:  # b, bl
            found[top] = _Relative(26, 0)
        elif top == 0x54 or top & 0x7E == 0x34 or top & 0x3B == 0x18:  # b.cond, cbz, ldr, prfm
            found[top] = _Relative(19, 5)
        elif top & 0x7E == 0x36:  # tbz
            found[top] = _Relative(14, 5)
        elif top & 0x1F == 0x10:  # adr, adrp
            pages = top >> 7
            found[top] = _Relative(19, 5, *((PAGE, PAGE) if pages else (1, 1)), split=True)
    return found


_GROUPS = _groups()


class Words:
    """The texts of words, by ``decoder``, a disassembler."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._known: dict[int, tuple[str, str]] = {}

    def read(self, content: bytes, start: int) -> list[Instruction]:
        """Return the instructions of ``content``, which is at ``start``."""
        words = struct.unpack_from(f"<{len(content) // 4}I", content)
        groups = [_GROUPS[word >> 24] for word in words]
        keys = [
            group.without(word) if group else word
            for word, group in zip(words, groups, strict=True)
        ]
        known = self._known
        if len(known) > _MOST_WORDS:
            known.clear()
        self._learn({key for key in keys if key not in known})
        addresses = range(start, start + 4 * len(words), 4)
        found = []
        for address, word, group, key in zip(addresses, words, groups, keys, strict=True):
            mnemonic, operands = known[key]
            if group and mnemonic == ".byte":
                operands = ", ".join(f"0x{one:02x}" for one in word.to_bytes(4, "little"))
            elif group:
                target = group.target(word, address)
                operands += f"{target:#x}" if target > _LARGEST_DIGIT else f"{target}"
            found.append((address, 4, mnemonic, operands))
        return found

    def _learn(self, words: Iterable[int]) -> None:
        ordered = tuple(words)
        if not ordered:
            return
        content = struct.pack(f"<{len(ordered)}I", *ordered)
        decoded = self._decoder.disasm_lite(content, 0)
        for word, (_, _, mnemonic, operands) in zip(ordered, decoded, strict=True):
            if _GROUPS[word >> 24] and mnemonic != ".byte":
                before, sign, _ = operands.rpartition("#")
                self._known[word] = mnemonic, before + sign
            else:
                self._known[word] = mnemonic, operands
