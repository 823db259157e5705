"""Divide the data of a file into objects, by the sizes of its symbols.

The pointers in an object count only if code that can run, or another object that counts, refers to
it. That is sound if compilers reach an object by an address in it, and keep to it. C says so of
pointers, and gcc and clang for x86_64 make the address of each object anew. The exceptions:

- Code may make an address that lies outside: the end of an object, or, as a loop that adds to the
  address first, or a table whose indices do not begin at 0, one before it. So an address that code
  makes refers to an object that ends there, and to those that begin soon after it. Loads and stores
  at a fixed address are exact.
- On other machines compilers reach several objects by one address (gcc's section anchors, LLVM's
  merged globals), so files for these are not divided.
- Linkers gather the pieces of sections whose names are words of C, and code walks through all of
  them. Only sections that compilers use for variables are divided.
- Assembly code may leave sizes out. A section with a symbol without a size is not divided, but for
  symbols of the linker's own.
- Unwinders find personality routines by words named DW.ref.*. These count always.

What no symbol covers, between two objects, is an object, too: compilers put constants there that
have no name.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from seccompgen.io.elf_symbols import ElfSymbol
    from seccompgen.scan.binary import Binary
    from seccompgen.scan.relocations import Relocated

_BEFORE = 256
_BEFORE_FROM_START = 64
"""The most bytes before an object at which code may make its address.

The second is for addresses at which another object starts.
"""
_VARIABLES = frozenset(
    {".data", ".data.rel", ".data.rel.local", ".data.rel.ro", ".data.rel.ro.local"}
)
_OF_LINKER = frozenset(
    {"_edata", "edata", "__bss_start", "__data_start", "data_start", "__dso_handle", "__TMC_END__"}
    | {"_DYNAMIC", "_GLOBAL_OFFSET_TABLE_", "_end", "end", "__rela_iplt_start", "__rela_iplt_end"}
)
_UNWINDING = "DW.ref."


class DataObject(NamedTuple):
    """An object from ``start`` up to ``end``, with what it contains.

    ``pointers`` are code addresses, ``imported`` names whose addresses the loader puts there,
    ``leads`` the starts of objects that it points to.
    """

    start: int
    end: int
    pointers: tuple[int, ...] = ()
    imported: tuple[str, ...] = ()
    leads: tuple[int, ...] = ()


class DataMap:
    """Objects by address. ``starts`` are those of all objects, these and others."""

    def __init__(self, objects: Iterable[DataObject], starts: frozenset[int]) -> None:
        self._objects = sorted(objects)
        self._firsts = [one.start for one in self._objects]
        self._starts = starts

    def __bool__(self) -> bool:
        """Return True if there are any."""
        return bool(self._objects)

    def __iter__(self) -> Iterator[DataObject]:
        """Iterate over the objects, sorted by address."""
        return iter(self._objects)

    def at(self, address: int) -> Iterator[DataObject]:
        """Yield the object that contains ``address``, and one that ends there."""
        return self.between(address, address)

    def near(self, address: int) -> Iterator[DataObject]:
        """Yield all objects that code may reach by ``address``, which it makes."""
        far = _BEFORE_FROM_START if address in self._starts else _BEFORE
        return self.between(address, address + far)

    def between(self, low: int, high: int) -> Iterator[DataObject]:
        """Yield the objects with a part, or their end, from ``low`` to ``high``."""
        first = max(bisect_left(self._firsts, low) - 1, 0)
        found = self._objects[first : bisect_right(self._firsts, high)]
        return (one for one in found if one.end >= low)

    def holder(self, address: int) -> DataObject | None:
        """Return the object that contains ``address``; None if there is none."""
        return next((one for one in self.at(address) if one.start <= address < one.end), None)


def divided(
    binary: Binary, symbols: Sequence[ElfSymbol], relocated: Relocated, own: Container[int]
) -> DataMap:
    """Return the objects of ``binary`` that contain pointers, or lead to such objects.

    ``symbols`` are its static ones, which divide its data; ``own`` the words in its tables of
    slots.
    """
    spans = _spans(binary, symbols)
    starts = frozenset(one.start for one in spans)
    whole = DataMap(spans, starts)
    pointers: dict[int, set[int]] = defaultdict(set)
    words: dict[int, set[int]] = defaultdict(set)
    imported: dict[int, set[str]] = defaultdict(set)
    for place, value in relocated.words.items():
        holder = whole.holder(place)
        if holder and place not in own:
            (pointers if binary.in_code(value) else words)[holder.start].add(value)
    for place, name in relocated.imported.items():
        holder = whole.holder(place)
        if holder:
            imported[holder.start].add(name)
    leads = {
        start: {found.start for value in values for found in whole.at(value)}
        for start, values in words.items()
    }
    bearing = {*pointers, *imported}
    while more := {start for start, led in leads.items() if led & bearing} - bearing:
        bearing |= more
    found = (
        DataObject(
            *(one.start, one.end),
            tuple(sorted(pointers[one.start])),
            tuple(sorted(imported[one.start])),
            tuple(sorted(leads.get(one.start, set()) & bearing)),
        )
        for one in spans
        if one.start in bearing
    )
    return DataMap(found, starts)


def _spans(binary: Binary, symbols: Sequence[ElfSymbol]) -> list[DataObject]:
    """Return the objects, without what they contain."""
    if binary.abi.name != "x86_64" or not binary.relocatable:
        return []
    data = [one for one in symbols if one.defined and one.may_be_data]
    found: list[DataObject] = []
    for section in binary.sections:
        low, high = section["sh_addr"], section["sh_addr"] + section["sh_size"]
        inside = [one for one in data if low <= one.value < high]
        is_sized = all(one.size or one.name in _OF_LINKER for one in inside)
        if section.name in _VARIABLES and is_sized and any(one.size for one in inside):
            unwinding = [one.value for one in inside if one.name.startswith(_UNWINDING)]
            found += [
                one
                for one in _in_section(low, high, inside)
                if not any(one.start <= place < one.end for place in unwinding)
            ]
    return found


def _in_section(low: int, high: int, symbols: Sequence[ElfSymbol]) -> Iterator[DataObject]:
    """Yield the objects of a section, and the gaps between them; what overlaps is one."""
    at = low
    spans = sorted((one.value, min(one.value + one.size, high)) for one in symbols if one.size)
    while spans:
        start, end = spans.pop(0)
        while spans and spans[0][0] < end:
            end = max(end, spans.pop(0)[1])
        if at < start:
            yield DataObject(at, start)
        yield DataObject(start, end)
        at = end
    if at < high:
        yield DataObject(at, high)
