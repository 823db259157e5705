"""Relocations: the values that the loader of a program puts into its data."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.scan.unknown import Why

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.io.elf_symbols import ElfSymbol
    from seccompgen.scan.binary import Binary


class _Relocations(NamedTuple):
    """Relocation types of one machine (its ELF psABI)."""

    absolute: int
    slots: frozenset[int]
    relative: int
    irelative: int
    thread_local: frozenset[int]
    """relocations that store a module, an offset or a descriptor of thread-local data"""
    no_code: frozenset[int]
    """others that store no code address: copies and no-ops"""


_RELOCATIONS = {
    "x86_64": _Relocations(
        *(1, frozenset({6, 7}), 8, 37), frozenset({16, 17, 18, 36}), frozenset({0, 5})
    ),
    "aarch64": _Relocations(
        *(257, frozenset({1025, 1026}), 1027, 1032),
        *(frozenset({1028, 1029, 1030, 1031}), frozenset({0, 1024})),
    ),
    "i386": _Relocations(
        *(1, frozenset({6, 7}), 8, 42), frozenset({14, 35, 36, 37, 41}), frozenset({0, 5})
    ),
}


@dataclass(slots=True)
class Relocated:
    """Values that the loader stores: ``words`` and ``slots`` by address, ``pointers`` to code.

    ``starters`` are pointers in the lists of initialisers.
    ``slots`` maps to names. ``thread_words`` describe thread-local data. ``imported`` maps words of
    data to the names whose addresses it puts there. ``unread`` are the addresses of relocations
    that are not understood, each with the reason and a detail.
    """

    words: dict[int, int] = field(default_factory=dict)
    slots: dict[int, str] = field(default_factory=dict)
    thread_words: set[int] = field(default_factory=set)
    pointers: set[int] = field(default_factory=set)
    imported: dict[int, str] = field(default_factory=dict)
    starters: set[int] = field(default_factory=set)
    unread: list[tuple[int, Why, str]] = field(default_factory=list)


def relocate(binary: Binary, symbols: Sequence[ElfSymbol]) -> Relocated:
    """Return the values that the loader puts into the data of ``binary``.

    ``symbols`` are its dynamic symbols.
    """
    found = Relocated()
    kinds = _RELOCATIONS[binary.abi.name]
    for address, kind, index, addend in _relocations(binary):
        if kind == kinds.relative:
            found.words[address] = addend
        elif kind == kinds.irelative:
            found.pointers.add(addend)
        elif kind in kinds.slots or kind == kinds.absolute:
            if index >= len(symbols):
                raise ValueError(f"a relocation names symbol {index} of {len(symbols)}")
            symbol = symbols[index]
            if kind in kinds.slots:
                found.slots[address] = symbol.name
            elif symbol.name:
                found.imported[address] = symbol.name
            if symbol.defined and (kind == kinds.absolute or not symbol.name):
                found.words[address] = symbol.value + addend
        elif kind in kinds.thread_local:
            found.thread_words.add(address)
        elif kind not in kinds.no_code:
            found.unread.append((address, Why.RELOCATION, str(kind)))
    _relative_words(binary, found.words)
    for tag in ("DT_INIT_ARRAY", "DT_FINI_ARRAY", "DT_PREINIT_ARRAY"):
        if tag in binary.dynamic:
            start, size = binary.dynamic[tag], binary.dynamic.get(f"{tag}SZ", 0)
            for offset in range(0, size, binary.word):
                value = binary.word_at(start + offset)
                (found.pointers if tag == "DT_FINI_ARRAY" else found.starters).add(value)
    return found


def _relocations(binary: Binary) -> Iterator[tuple[int, int, int, int]]:
    """Yield address, type, symbol and addend of each; a missing addend is the relocated word."""
    for data, has_addend in _relocation_tables(binary):
        form = struct.Struct(
            {
                (8, True): "<QQq",
                (8, False): "<QQ",
                (4, True): "<IIi",
                (4, False): "<II",
            }[binary.word, has_addend]
        )
        whole = len(data) - len(data) % form.size
        for fields in form.iter_unpack(data[:whole]):
            address, info = fields[:2]
            kind = info & (0xFFFFFFFF if binary.word == 8 else 0xFF)
            index = info >> (32 if binary.word == 8 else 8)
            addend = fields[2] if has_addend else _addend_in_place(binary, address)
            yield address, kind, index, addend


def _addend_in_place(binary: Binary, address: int) -> int:
    try:
        return binary.word_at(address)
    except ValueError:
        return 0  # in zero-initialised memory


def _relocation_tables(binary: Binary) -> Iterator[tuple[bytes, bool]]:
    if not binary.dynamic:  # a static program may have some that it applies itself
        for section in binary.sections:
            if section["sh_type"] in {"SHT_RELA", "SHT_REL"} and section["sh_flags"] & 2:
                yield section.data(), section["sh_type"] == "SHT_RELA"
        return
    for tag, size in (("DT_RELA", "DT_RELASZ"), ("DT_REL", "DT_RELSZ")):
        if tag in binary.dynamic:
            yield binary.read(binary.dynamic[tag], binary.dynamic[size]), tag == "DT_RELA"
    if "DT_JMPREL" in binary.dynamic:
        table = binary.read(binary.dynamic["DT_JMPREL"], binary.dynamic["DT_PLTRELSZ"])
        yield table, binary.dynamic.get("DT_PLTREL") == 7


def _relative_words(binary: Binary, words: dict[int, int]) -> None:
    """Add the words that DT_RELR relocates; its entries are addresses and bitmaps after these."""
    if "DT_RELR" not in binary.dynamic:
        return
    table = binary.read(binary.dynamic["DT_RELR"], binary.dynamic["DT_RELRSZ"])
    address = 0
    for i in range(0, len(table) - binary.word + 1, binary.word):
        entry = int.from_bytes(table[i : i + binary.word], "little")
        if entry & 1:
            places = [
                address + bit * binary.word
                for bit in range(binary.word * 8 - 1)
                if entry >> (bit + 1) & 1
            ]
            address += (binary.word * 8 - 1) * binary.word
        else:
            places = [entry]
            address = entry + binary.word
        for place in places:
            words[place] = binary.word_at(place)
