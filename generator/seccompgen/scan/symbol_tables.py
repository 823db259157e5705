"""The symbol tables of an ELF file: the names that it defines and imports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.text import printable
from seccompgen.io.elf_symbols import read_symbol_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.io.elf_symbols import ElfSymbol
    from seccompgen.scan.binary import Binary


def read_symbols(binary: Binary) -> tuple[list[ElfSymbol], list[ElfSymbol]]:
    """Return the dynamic symbols, in the order of relocations' indices, and all others."""
    others: list[ElfSymbol] = []
    dynamic: list[ElfSymbol] = []
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


def read_debug_symbols(binary: Binary) -> list[ElfSymbol]:
    """Return the static symbols that only a debug file has."""
    return list(_symbol_table(binary, *binary.debug)) if binary.debug else []


def _dynamic_symbol_count(binary: Binary) -> int:
    """Return the number of dynamic symbols, from the hash tables: for files without sections."""
    for segment in binary.elf.iter_segments():
        if segment.header["p_type"] == "PT_DYNAMIC":
            count: int = segment.num_symbols()
            return count
    return 0


def _symbol_table(binary: Binary, table: bytes, strings: bytes) -> Iterator[ElfSymbol]:
    for symbol in read_symbol_table(table, strings, bits=binary.abi.bits):
        plain = symbol.name.isprintable()
        yield symbol if plain else symbol._replace(name=printable(symbol.name))
