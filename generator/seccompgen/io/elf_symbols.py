"""Symbol tables of ELF files, of either width and byte order. Source: elf(5).

pyelftools finds the tables, but is too slow to read the entries, of which some files have 100,000.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_STT_FUNC, _STT_GNU_IFUNC, _STT_NOTYPE, _STT_OBJECT, _STT_COMMON = 2, 10, 0, 1, 5
_STB_LOCAL, _STB_WEAK = 0, 2


class ElfSymbol(NamedTuple):
    """An entry of a symbol table; ``section`` is the index of the section where it is defined."""

    name: str
    kind: int
    binding: int
    defined: bool
    value: int
    size: int
    section: int

    @property
    def is_function(self) -> bool:
        """True for functions, including indirect ones (STT_GNU_IFUNC)."""
        return self.kind in {_STT_FUNC, _STT_GNU_IFUNC}

    @property
    def may_be_code(self) -> bool:
        """True for functions and symbols without a type, which assembly code often has."""
        return self.is_function or self.kind == _STT_NOTYPE

    @property
    def is_object(self) -> bool:
        """True for variables."""
        return self.kind == _STT_OBJECT

    @property
    def may_be_data(self) -> bool:
        """True for variables, but thread-local ones, and symbols without a type."""
        return self.kind in {_STT_OBJECT, _STT_COMMON, _STT_NOTYPE}

    @property
    def is_resolver(self) -> bool:
        """True if the value is the address of a resolver, which returns the function to call."""
        return self.kind == _STT_GNU_IFUNC

    @property
    def is_local(self) -> bool:
        """True if other files cannot refer to the symbol."""
        return self.binding == _STB_LOCAL

    @property
    def is_weak(self) -> bool:
        """True if the symbol may stay undefined without an error."""
        return self.binding == _STB_WEAK


def read_symbol_table(
    table: bytes, strings: bytes, *, bits: int, little_endian: bool = True
) -> Iterator[ElfSymbol]:
    """Yield the complete entries of a symbol table, whose names are in ``strings``."""
    form = struct.Struct(("<" if little_endian else ">") + ("IBBHQQ" if bits == 64 else "IIIBBH"))
    for fields in form.iter_unpack(table[: len(table) - len(table) % form.size]):
        if bits == 64:
            name, info, _, index, value, size = fields
        else:
            name, value, size, info, _, index = fields
        end = strings.find(b"\0", name)
        text = strings[name : end if end >= 0 else None].decode("utf-8", "replace")
        yield ElfSymbol(text, info & 15, info >> 4, index != 0, value, size, index)
