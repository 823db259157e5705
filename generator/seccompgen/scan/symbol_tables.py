"""The symbol tables of an ELF file: what it names, and what it takes from others."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.scan.binary import Binary

_STT_FUNC, _STT_GNU_IFUNC, _STT_NOTYPE = 2, 10, 0
_STB_LOCAL, _STB_WEAK = 0, 2


class Symbol(NamedTuple):
    """An entry of a symbol table."""

    name: str
    kind: int
    binding: int
    defined: bool
    value: int
    size: int

    @property
    def may_be_code(self) -> bool:
        """True for functions; code written in assembly often has symbols of no type."""
        return self.kind in {_STT_FUNC, _STT_GNU_IFUNC, _STT_NOTYPE}

    @property
    def is_resolver(self) -> bool:
        """True where the value is a function that says which function is meant."""
        return self.kind == _STT_GNU_IFUNC

    @property
    def is_local(self) -> bool:
        """True where other files do not see it."""
        return self.binding == _STB_LOCAL

    @property
    def is_weak(self) -> bool:
        """True where nothing is wrong if it is nowhere."""
        return self.binding == _STB_WEAK


def read_symbols(binary: Binary) -> tuple[list[Symbol], list[Symbol]]:
    """Return the dynamic symbols, in the order that relocations count, and all others."""
    others: list[Symbol] = []
    dynamic: list[Symbol] = []
    for section in binary.sections:
        if section["sh_type"] in {"SHT_SYMTAB", "SHT_DYNSYM"}:
            strings = section.stringtable.data()
            found = list(_symbol_table(binary, section.data(), strings))
            if section["sh_type"] == "SHT_SYMTAB":
                others = found
            else:
                dynamic = found
    if not dynamic and "DT_SYMTAB" in binary.dynamic:
        size = _dynamic_symbol_count(binary) * (24 if binary.word == 8 else 16)
        strings = binary.read(binary.dynamic["DT_STRTAB"], binary.dynamic["DT_STRSZ"])
        table = binary.read(binary.dynamic["DT_SYMTAB"], size)
        dynamic = list(_symbol_table(binary, table, strings))
    return dynamic, others


def _dynamic_symbol_count(binary: Binary) -> int:
    """Without sections nothing says it but the hash tables, which pyelftools can count."""
    for segment in binary.elf.iter_segments():
        if segment.header["p_type"] == "PT_DYNAMIC":
            count: int = segment.num_symbols()
            return count
    return 0


def _symbol_table(binary: Binary, table: bytes, strings: bytes) -> Iterator[Symbol]:
    form = struct.Struct("<IBBHQQ" if binary.word == 8 else "<IIIBBH")
    whole = len(table) - len(table) % form.size
    for fields in form.iter_unpack(table[:whole]):
        if binary.word == 8:
            name, info, _, index, value, size = fields
        else:
            name, value, size, info, _, index = fields
        end = strings.find(b"\0", name)
        text = strings[name : end if end >= 0 else None].decode("utf-8", "replace")
        yield Symbol(printable(text), info & 15, info >> 4, index != 0, value, size)
