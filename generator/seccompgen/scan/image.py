"""An ELF file as a value: its code, its names, and the addresses in its data."""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from seccompgen.core.abis import Abi
    from seccompgen.scan.objects import DataMap
    from seccompgen.scan.unknown import Why


_NAME = re.compile(rb"(\w{2,250})\0", re.ASCII)
"""A name that may be looked up; functions with longer names are not expected."""
_TABLE_BYTES = 4096
_OPERANDS = frozenset({"x86_64", "i386"})
"""ABIs whose code has addresses in operands of instructions, which are read, and not nearby."""


class AddressRange(NamedTuple):
    """Addresses from ``start`` up to but not ``end``."""

    start: int
    end: int

    def contains(self, address: int) -> bool:
        """Return True if ``address`` is in the range."""
        return self.start <= address < self.end


class Landing(NamedTuple):
    """The place ``pad`` where code goes on after exceptions of calls from ``start`` to ``end``."""

    start: int
    end: int
    pad: int


@dataclass(frozen=True)
class Segment:
    """A mapped part of the file; zeros beyond ``data`` are left out."""

    address: int
    data: bytes
    executable: bool
    writable: bool

    @cached_property
    def end(self) -> int:
        """The address after the last byte of ``data``."""
        return self.address + len(self.data)


class FunctionSymbol(NamedTuple):
    """A named piece of code; ``size`` is 0 if the file does not specify it."""

    address: int
    size: int
    name: str


@dataclass(frozen=True, eq=False)
class Image:
    """One ELF file, as far as a scan needs it. Addresses are the file's own, before loading.

    ``code`` are the ranges of instructions. ``functions`` are sorted by address; these and
    ``frames`` are all if ``lists_functions``, by Go's table. ``exports`` are
    the functions that others can import, by name, in every version. ``slots`` are words that the
    loader fills with the address of the named function, ``own_slots`` those that contain a code
    address of the file itself; both are in ``slot_tables``. ``thread_words`` are words there that
    describe thread-local data. ``weak`` are names that the file can do
    without. ``unread`` are locations that `scan` does not understand, with the reason and a detail.
    ``pointers`` are code addresses in other data, ``imported_pointers`` names whose addresses the
    loader puts there. ``objects`` are pieces of the data that count only if something refers to
    them; ``standing`` and ``standing_imports`` are the pointers and names elsewhere, which count
    always, ``standing_words`` other addresses there. ``roots`` are the addresses at which the file
    is started: the entry point, initialisers and finalisers. ``frames`` are the starts of the
    pieces in .eh_frame, each a function or a separate part of one; ``landings`` are the places
    where these go on after exceptions. ``names`` is the range of the names of dynamic symbols.
    ``pointed_texts`` are the words of text to which pointers in data lead. ``named_objects`` are
    the starts of the ``objects`` that others can import, by name. ``key`` is a hash of all that
    determines the image.
    ``starters`` are the initialisers to which nothing else in the data points. ``lost_calls`` are
    the addresses of calls that never return, which the linker replaced, as it found no function.
    ``data_marks`` are addresses at which symbols of Arm's say that some data begins.
    """

    path: str
    abi: Abi
    sha256: str
    is_go: bool
    lists_functions: bool
    relocatable: bool
    segments: tuple[Segment, ...]
    code: tuple[AddressRange, ...]
    functions: tuple[FunctionSymbol, ...]
    exports: Mapping[str, tuple[int, ...]]
    slots: Mapping[int, str]
    own_slots: Mapping[int, int]
    slot_tables: tuple[AddressRange, ...]
    thread_words: frozenset[int]
    weak: frozenset[str]
    unread: tuple[tuple[int, Why, str], ...]
    pointers: frozenset[int]
    imported_pointers: frozenset[str]
    standing: frozenset[int]
    standing_words: frozenset[int]
    standing_imports: frozenset[str]
    objects: DataMap
    named_objects: Mapping[str, frozenset[int]]
    roots: tuple[int, ...]
    frames: frozenset[int]
    landings: Mapping[int, tuple[Landing, ...]]
    names: AddressRange
    pointed_texts: frozenset[str]
    interpreter: str
    key: str
    starters: frozenset[int] = frozenset()
    lost_calls: frozenset[int] = frozenset()
    data_marks: tuple[int, ...] = ()

    @property
    def is_only_go(self) -> bool:
        """True for a Go program without C code, which would have brought an .eh_frame."""
        return self.is_go and not self.frames

    @cached_property
    def imports(self) -> frozenset[str]:
        """The names that the file imports."""
        return frozenset(self.slots.values()) | self.imported_pointers

    def in_code(self, address: int) -> bool:
        """Return True if ``address`` is in a range of instructions."""
        for start, end in self.code:  # noqa: SIM110 - any() takes twice the time, and it is often
            if start <= address < end:
                return True
        return False

    def read(self, address: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``address``: fewer at the end of a segment."""
        for segment in self.segments:
            if segment.address <= address < segment.end:
                offset = address - segment.address
                return segment.data[offset : offset + size]
        return b""

    def mentions(self, text: bytes) -> bool:
        """Return True if the mapped parts contain ``text``."""
        return any(text in segment.data for segment in self.segments)

    def function_at(self, address: int) -> str:
        """Return the name of the function that contains ``address``; "" if there is none."""
        i = bisect_right(self._addresses, address) - 1
        if i >= 0:
            found = self.functions[i]
            if not found.size or address < found.address + found.size:
                return found.name
        return ""

    def name_before(self, address: int) -> tuple[str, int]:
        """Return the nearest name at or before ``address``, and the distance; "" if none."""
        i = bisect_right(self._addresses, address) - 1
        return (self.functions[i].name, address - self._addresses[i]) if i >= 0 else ("", 0)

    def starts_function(self, address: int) -> bool:
        """Return True if a function, not merely a label, starts at ``address``."""
        if address in self.frames:
            return True
        i = bisect_right(self._addresses, address) - 1
        found = self.functions[i] if i >= 0 else None
        return bool(found and found.address == address and (found.size or self.is_go))

    def is_sized(self, span: AddressRange) -> bool:
        """Return True if a symbol says that ``span`` is a function, and perhaps padding."""
        i = bisect_left(self._addresses, span.start)
        address, size, _ = self.functions[i] if i < len(self.functions) else (span.end, 0, "")
        return size > 0 and address == span.start and address + size <= span.end

    def starts_between(self, low: int, high: int) -> list[int]:
        """Return the starts of functions from ``low`` up to but not including ``high``."""
        starts = self._starts
        return starts[bisect_left(starts, low) : bisect_left(starts, high)]

    @cached_property
    def starts(self) -> frozenset[int]:
        """The starts of functions."""
        return frozenset(self._starts)

    @cached_property
    def _starts(self) -> list[int]:
        return sorted({one for one in (*self._addresses, *self.frames) if self.in_code(one)})

    def landings_in(self, span: AddressRange) -> Iterator[Landing]:
        """Yield where the pieces that begin in ``span`` go on after exceptions."""
        starts = self._landing_starts
        for start in starts[bisect_left(starts, span.start) : bisect_left(starts, span.end)]:
            yield from self.landings[start]

    @cached_property
    def pads(self) -> frozenset[int]:
        """All addresses at which code goes on after exceptions."""
        return frozenset(pad for found in self.landings.values() for _, _, pad in found)

    @cached_property
    def _landing_starts(self) -> list[int]:
        return sorted(self.landings)

    def text_at(self, address: int) -> str:
        """Return the NUL-terminated word that begins at ``address``; "" if there is none."""
        return name_in(self.segments, address)

    def texts_in(self, span: AddressRange) -> Iterator[str]:
        """Yield all that `text_at` returns for the addresses of ``span``."""
        return filter(None, map(self.text_at, range(span.start, span.end)))

    def texts_by_distance(self, table: int) -> Iterator[str]:
        """Yield the words to which a table of four-byte offsets leads, as LLVM makes of strings."""
        first = self.read(table, 4)  # enough for most
        if not self.read(table + int.from_bytes(first, "little", signed=True), 1).isalnum():
            return
        data = self.read(table, _TABLE_BYTES)
        for i in range(0, len(data) - 3, 4):
            target = table + int.from_bytes(data[i : i + 4], "little", signed=True)
            if not self.read(target, 1).isalnum():
                return
            yield self.text_at(target)

    def texts_among(self, names: AbstractSet[str]) -> AbstractSet[str]:
        """Return those of ``names`` that are NUL-terminated words in the file.

        Names of dynamic symbols are left out. A linker may store a name as the end of a longer one.
        If some code refers to it there, ``FunctionFacts.texts`` has it. It counts here if data
        does: by a relocation, or without these by any four bytes, aligned or not.
        """
        found = names & (self._words.keys() | self.pointed_texts)
        if self.relocatable:
            return found
        ends = {
            address + i: word[i:]
            for word, addresses in self._words.items()
            for i in range(1, len(word) - 1)
            if word[i:] in names and word[i:] not in found
            for address in addresses
        }
        for segment in self.segments if ends else ():
            if segment.executable and self.abi.name in _OPERANDS:
                continue
            for shift in range(4):
                whole = (len(segment.data) - shift) // 4 * 4
                values = array("I", segment.data[shift : shift + max(whole, 0)])
                if sys.byteorder == "big":
                    values.byteswap()
                found |= {ends[value] for value in frozenset(ends).intersection(values)}
        return found

    @cached_property
    def _words(self) -> Mapping[str, Sequence[int]]:
        """The addresses of each NUL-terminated word that is not the end of a longer one."""
        found: dict[str, list[int]] = {}
        for segment in self.segments:
            for match in _NAME.finditer(segment.data):
                address = segment.address + match.start()
                if not self.names.contains(address):
                    found.setdefault(match[1].decode(), []).append(address)
        return found

    @cached_property
    def _addresses(self) -> list[int]:
        return [function.address for function in self.functions]


def name_in(segments: Sequence[Segment], address: int) -> str:
    """Return the NUL-terminated word at ``address`` in ``segments``; "" if there is none."""
    for segment in segments:
        if segment.address <= address < segment.end:
            match = _NAME.match(segment.data, address - segment.address)
            return match[1].decode() if match else ""
    return ""
