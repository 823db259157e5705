"""The spelling of numbers with the constants of a family, for one ABI and one width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.constant_families import ConstantFamily, FamilyValues

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MOST_SPANS = 4


def number(value: int) -> str:
    """Return ``value`` as text, in hexadecimal if greater than 9."""
    return f"{value:#x}" if value > 9 else str(value)


class Spelling:
    """The names of values of ``bits`` bits, and of bits among them."""

    def __init__(self, values: FamilyValues, bits: int) -> None:
        self._full = (1 << bits) - 1
        self._bits = bits
        self._whole = {value & self._full: name for value, name in values.whole.items()}
        # Not masked: a negative number has no place in an order of unsigned numbers.
        self._ordered = values.whole
        self._mask = values.mask & self._full
        self._mask_name = values.mask_name
        self._part = {value & self._full: name for value, name in values.part.items()}
        self._part = {v: name for v, name in self._part.items() if not v & ~self._mask}
        self._part_is_bits = values.family.part_is_bits
        self._octal = values.family.octal
        flags = {
            value & self._full: name
            for value, name in values.flags.items()
            if value & self._full and not value & self._mask and not value & ~self._full
        }
        # Flags of several bits first, such as O_TMPFILE, which includes the bit of O_DIRECTORY.
        self._flags = sorted(flags.items(), key=lambda flag: (-flag[0].bit_count(), flag[0]))

    def exact(self, value: int) -> str:
        """Return a whole value as text: ``O_RDONLY|O_CLOEXEC``, ``PROT_READ|0x1000000``."""
        return self._whole.get(value) or self._joined(self._full, value)

    def single(self, value: int) -> str:
        """Return the name or number of a value that is only compared by size."""
        return self._ordered.get(value) or number(value)

    def under(self, mask: int, value: int) -> str:
        """Return the text of a value of the bits under ``mask``."""
        return self._joined(mask, value) if not value & ~mask else self._number(value)

    def bits(self, mask: int) -> str:
        """Return the text of a mask, in parentheses if it needs them after ``&``."""
        rest = self._full & ~mask
        if mask.bit_count() * 2 > self._bits and rest.bit_count() <= len(self._flags):
            names, unnamed = self._bit_names(rest)
            if unnamed and unnamed == rest & self._mask and unnamed in self._part:
                names, unnamed = [*names, self._part[unnamed]], 0  # all bits but those of SIGCHLD
            if names and not unnamed:
                return f"~{_bracketed(names)}"
        names, unnamed = self._bit_names(mask)
        if unnamed and mask.bit_count() * 2 > self._bits:
            return self._number(mask)
        return _bracketed([*names, *([self._number(unnamed)] if unnamed else [])])

    def names_zero_under(self, mask: int) -> bool:
        """Return True if 0 under ``mask`` has a name, as O_RDONLY is under O_ACCMODE."""
        return bool(mask) and mask == self._mask and 0 in self._part

    def _joined(self, mask: int, value: int) -> str:
        names: list[str] = []
        rest = value
        if self._mask and mask & self._mask == self._mask and value & self._mask in self._part:
            names.append(self._part[value & self._mask])
            rest &= ~self._mask
        flags, rest = self._flag_names(rest)
        if rest and value.bit_count() * 2 >= self._bits:
            return self._number(value)  # probably a negative number, not flags
        names += flags
        if rest or not names:
            names.append(self._number(rest))
        return "|".join(names)

    def _bit_names(self, mask: int) -> tuple[list[str], int]:
        """Return the names of the bits of ``mask``, and the bits without a name."""
        names: list[str] = []
        rest = mask
        if self._mask and mask & self._mask == self._mask and self._mask_name:
            names.append(self._mask_name)
            rest &= ~self._mask
        elif self._part_is_bits:
            for bit in _single_bits(mask & self._mask):
                if bit in self._part:
                    names.append(self._part[bit])
                    rest &= ~bit
        flags, rest = self._flag_names(rest)
        return names + flags, rest

    def _flag_names(self, value: int) -> tuple[list[str], int]:
        """Return the names of the flags in ``value``, and the bits that no flag covers."""
        found: list[tuple[int, str]] = []
        rest = value
        for flag, name in self._flags:
            if flag & rest == flag:
                found.append((flag, name))
                rest &= ~flag
        return [name for _, name in sorted(found)], rest

    def _number(self, value: int) -> str:
        return f"{value:#o}" if self._octal and value > 7 else number(value)


def _single_bits(value: int) -> Iterator[int]:
    while value:
        bit = value & -value
        yield bit
        value ^= bit


def _bracketed(words: list[str]) -> str:
    return f"({'|'.join(words)})" if len(words) > 1 else words[0]


_NOTHING = FamilyValues(ConstantFamily(), {}, {}, {}, 0, "")
PLAIN_NUMBERS = {bits: Spelling(_NOTHING, bits) for bits in (8, 16, 32, 64)}
"""Numbers without names."""


def stretches(spans: Sequence[tuple[int, int]]) -> str:
    """Return ranges (first, last) as text: at most four, and how many more there are."""
    texts = [number(a) if a == b else f"{number(a)}-{number(b)}" for a, b in spans[:_MOST_SPANS]]
    more = len(spans) - _MOST_SPANS
    return ", ".join(texts) + (f" and {more} stretches more" if more > 0 else "")
