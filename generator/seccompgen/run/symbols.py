"""The names that ELF files have for what is in them.

Read from .symtab, where a file was not stripped of it, and .dynsym, of either width and byte order;
of a broken file nothing is read. Source: elf(5).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.io.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.run.process import Mapping, Process

_FILE_MAX = 1 << 28
"""Bytes of a file that is looked at; the largest interpreters have a tenth of that."""
_SYMBOLS_MAX = 1 << 20
_NAME_MAX = 1024
"""Bytes of a name that are read; those of C++ can be longer."""
_KEPT = 32
"""Files whose symbols are kept."""
_ENCLOSING = 8
"""Functions before an address that are looked at for one that reaches as far."""
_PT_LOAD, _SHT_SYMTAB, _SHT_DYNSYM, _SHN_UNDEF = 1, 2, 11, 0
_STT_OBJECT = 1
_STT_CODE = frozenset({2, 10})
"""STT_FUNC, STT_GNU_IFUNC."""
_BROKEN = (struct.error, IndexError, ValueError, OverflowError)
"""The errors of reading a file that is none, or not whole."""


class _Layout(NamedTuple):
    """Where a file of one width has what; the last three as `struct` has them."""

    tables: tuple[str, int]
    counts: int
    segment: str
    section: str
    symbol: str


_LAYOUTS = {
    1: _Layout(("II", 28), 42, "IIIIIIII", "IIIIIIIIII", "IIIBBH"),
    2: _Layout(("QQ", 32), 54, "IIQQQQQQ", "IIQQQQIIQQ", "IBBHQQ"),
}


class _Segment(NamedTuple):
    offset: int
    size: int
    address: int


class _Function(NamedTuple):
    address: int
    size: int
    name: str


@dataclass(frozen=True)
class Symbols:
    """The names in a file: ``functions`` by address, and the addresses of exported ``objects``.

    ``machine`` is its e_machine.
    """

    machine: int
    segments: tuple[_Segment, ...]
    functions: tuple[_Function, ...]
    objects: dict[str, int]

    @property
    def base(self) -> int:
        """The address of the file's first byte."""
        return self.segments[0].address - self.segments[0].offset

    def around(self, offset: int) -> tuple[str, int] | None:
        """Return the function that an instruction ends in, and how far; it ends at ``offset``."""
        end = self._address(offset)
        if end is None:
            return None
        at = self._before(end)
        for one in reversed(self.functions[max(at - _ENCLOSING, 0) : at]):
            if end <= one.address + one.size or not one.size:
                return one.name, end - one.address
        return None

    def names_between(self, start: int, end: int) -> bool:
        """Return True unless what lies from one offset to the other can be a single function."""
        first, last = self._address(start + 1), self._address(end)
        return first is None or last is None or self._before(first) != self._before(last)

    def _address(self, end: int) -> int | None:
        """Return the address of an offset at which an instruction ends."""
        for offset, size, address in self.segments:
            if offset < end <= offset + size:
                return address + end - offset
        return None

    def _before(self, end: int) -> int:
        """Return how many functions begin before ``end``: a call may be the last of its own."""
        return bisect_right(self._addresses, end - 1)

    @cached_property
    def _addresses(self) -> list[int]:
        return [one.address for one in self.functions]


_known: dict[tuple[int, ...], Symbols | None] = {}


def symbols_of(process: Process, mapping: Mapping) -> Symbols | None:
    """Return the symbols of a file that a process has mapped; None if it cannot be told.

    The kernel gives the file's path as we would have to open it, if it lies below our root, as that
    of a program that changed its root does. That of a container it gives as seen from there, on an
    overlay with another inode on older kernels.
    """
    ours, inside = Path(mapping.file), Path(f"/proc/{process.pid}/root{mapping.file}")
    return file_symbols(ours if _inode(ours) == mapping.inode != _inode(inside) else inside)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def file_symbols(path: Path) -> Symbols | None:
    """Return the symbols of a file; None if it is no regular file, or no ELF file that is whole."""
    try:
        status = path.stat()
        # The same file has another path for each process.
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if key not in _known:
            found = _symbols(read_file(path, _FILE_MAX)) if status.st_size <= _FILE_MAX else None
            if len(_known) == _KEPT:
                del _known[next(iter(_known))]
            _known[key] = found
        return _known[key]
    except OSError:
        return None


def imported_names(data: bytes) -> frozenset[str]:
    """Return the names that an ELF file, of which ``data`` is the content, takes from others."""
    layout = _layout(data)
    if layout is None:
        return frozenset()
    order = _order(data)
    try:
        sections = _sections(data, layout, order)
        return frozenset(
            _text(data, sections[table[6]][4] + name)
            for table in sections
            if table[1] == _SHT_DYNSYM
            for name, *_, section in _entries(data, layout, order, table)
            if section == _SHN_UNDEF
        )
    except _BROKEN:
        return frozenset()


def defined_names(data: bytes) -> frozenset[str]:
    """Return the names of the functions in an ELF file, of which ``data`` is the content."""
    symbols = _symbols(data)
    return frozenset(one.name for one in symbols.functions) if symbols else frozenset()


def _symbols(data: bytes) -> Symbols | None:
    layout = _layout(data)
    if layout is None:
        return None
    try:
        return _read(data, layout, _order(data))
    except _BROKEN:
        return None


def _layout(data: bytes) -> _Layout | None:
    return _LAYOUTS.get(data[4]) if data[:4] == b"\x7fELF" and len(data) > 5 else None


def _order(data: bytes) -> str:
    return ">" if data[5] == 2 else "<"


def _sections(data: bytes, layout: _Layout, order: str) -> list[tuple[int, ...]]:
    words, at = layout.tables
    _, sections_at = struct.unpack_from(order + words, data, at)
    size, count = struct.unpack_from(order + "2H", data, layout.counts + 4)
    return [
        struct.unpack_from(order + layout.section, data, sections_at + size * i)
        for i in range(count)
    ]


def _read(data: bytes, layout: _Layout, order: str) -> Symbols | None:
    words, at = layout.tables
    segments_at, _ = struct.unpack_from(order + words, data, at)
    counts = struct.unpack_from(order + "2H", data, layout.counts)
    segments = tuple(_segments(data, layout, order, segments_at, counts))
    sections = _sections(data, layout, order)
    objects: dict[str, int] = {}
    names: dict[int, _Function] = {}
    for kind, table in ((one[1], one) for one in sections):
        if kind not in {_SHT_SYMTAB, _SHT_DYNSYM}:
            continue
        strings = sections[table[6]][4]
        for name, value, length, type_, section in _entries(data, layout, order, table):
            if section == _SHN_UNDEF:
                continue
            if type_ in _STT_CODE:
                function = _Function(value, length, _text(data, strings + name))
                names[value] = min(names.get(value, function), function, key=_oddness)
            elif type_ == _STT_OBJECT and kind == _SHT_DYNSYM:
                objects[_text(data, strings + name)] = value
    if not segments:
        return None
    (machine,) = struct.unpack_from(order + "H", data, 18)
    return Symbols(machine, segments, tuple(sorted(names.values())), objects)


def _segments(
    data: bytes, layout: _Layout, order: str, start: int, counts: tuple[int, ...]
) -> Iterator[_Segment]:
    size, count = counts
    for i in range(count):
        words = struct.unpack_from(order + layout.segment, data, start + size * i)
        if words[0] == _PT_LOAD:
            # 64 bits have the flags before the offset, 32 bits at the end.
            offset, address, _, in_file = words[2:6] if "Q" in layout.segment else words[1:5]
            yield _Segment(offset, in_file, address)


def _entries(
    data: bytes, layout: _Layout, order: str, table: tuple[int, ...]
) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield the name's offset, value, size, type and section of each symbol that has a name."""
    entries = data[table[4] : table[4] + table[5]]
    for entry in islice(struct.iter_unpack(order + layout.symbol, entries), _SYMBOLS_MAX):
        if "Q" in layout.symbol:
            name, info, _, section, value, size = entry
        else:
            name, value, size, info, _, section = entry
        if name:
            yield name, value, size, info & 15, section


def _text(data: bytes, start: int) -> str:
    end = data.find(b"\0", start, start + _NAME_MAX)
    return data[start : end if end >= 0 else start + _NAME_MAX].decode(errors="replace")


def _oddness(function: _Function) -> tuple[bool, int, int, str]:
    """Return what says which of several names people know: not ``__libc_open64`` but ``open``."""
    name = function.name
    return not function.size, len(name) - len(name.lstrip("_")), len(name), name
