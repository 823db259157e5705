"""The symbols of ELF files: names and addresses of functions and objects.

They are read from .symtab, unless it was stripped, and .dynsym, of either width and byte order. A
broken file has none. Source: elf(5).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seccompgen.io.elf_symbols import read_symbol_table
from seccompgen.io.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.io.elf_symbols import ElfSymbol
    from seccompgen.run.process import Mapping, Process

_FILE_MAX = 1 << 28
"""The largest file, in bytes, that is read; the largest interpreters have a tenth of that."""
_SYMBOLS_MAX = 1 << 20
_NAME_MAX = 1024
"""Bytes of a name that are read; those of C++ can be longer."""
_CACHED = 32
"""Files whose symbols are cached."""
_ENCLOSING = 8
"""The number of functions before an address that are searched for one that contains it."""


class _FileSegment(NamedTuple):
    offset: int
    size: int
    address: int


class _Function(NamedTuple):
    address: int
    size: int
    name: str


@dataclass(frozen=True)
class Symbols:
    """The symbols of a file: ``functions`` by address, and the addresses of exported ``objects``.

    ``machine`` is the file's e_machine, as elf(5) names it.
    """

    machine: str
    segments: tuple[_FileSegment, ...]
    functions: tuple[_Function, ...]
    objects: dict[str, int]

    @property
    def base(self) -> int:
        """The address of the file's first byte."""
        return self.segments[0].address - self.segments[0].offset

    def around(self, offset: int) -> tuple[str, int] | None:
        """Return the function of the instruction before ``offset``, and how far in it ends.

        Returns None if no function is known there.
        """
        end = self._address(offset)
        if end is None:
            return None
        at = self._before(end)
        for one in reversed(self.functions[max(at - _ENCLOSING, 0) : at]):
            if end <= one.address + one.size or not one.size:
                return one.name, end - one.address
        return None

    def names_between(self, start: int, end: int) -> bool:
        """Return True if the code between two offsets cannot be part of a single function."""
        first, last = self._address(start + 1), self._address(end)
        return first is None or last is None or self._before(first) != self._before(last)

    def _address(self, end: int) -> int | None:
        """Return the address of an offset at which an instruction ends; None if not loaded."""
        for offset, size, address in self.segments:
            if offset < end <= offset + size:
                return address + end - offset
        return None

    def _before(self, end: int) -> int:
        """Return the number of functions that begin before ``end``, the end of an instruction."""
        return bisect_right(self._addresses, end - 1)

    @cached_property
    def _addresses(self) -> list[int]:
        return [one.address for one in self.functions]


_cached: dict[tuple[int, ...], Symbols | None] = {}


def symbols_of(process: Process, mapping: Mapping) -> Symbols | None:
    """Return the symbols of a file that a process has mapped; None if it has none.

    /proc shows a path that we can open if the file lies below our root, as with a chroot(2)ed
    program. For a container it shows the path as seen inside; on an overlay, older kernels show
    another inode.
    """
    ours, inside = Path(mapping.file), Path(f"/proc/{process.pid}/root{mapping.file}")
    return file_symbols(ours if _inode(ours) == mapping.inode != _inode(inside) else inside)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def file_symbols(path: Path) -> Symbols | None:
    """Return the symbols of a file; None if it is unreadable, too large, or not an intact ELF."""
    try:
        status = path.stat()
        # The same file has a different path for each process.
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if key not in _cached:
            found = _symbols(read_file(path, _FILE_MAX)) if status.st_size <= _FILE_MAX else None
            if len(_cached) == _CACHED:
                del _cached[next(iter(_cached))]
            _cached[key] = found
        return _cached[key]
    except OSError:
        return None


def imported_names(data: bytes) -> frozenset[str]:
    """Return the names that an ELF file with this content imports; none if it is broken."""
    try:
        elf = _opened(data)
        tables = _tables(elf, {"SHT_DYNSYM"})
        return frozenset(one.name for table in tables for one in table if not one.defined)
    except Exception:
        return frozenset()


def defined_names(data: bytes) -> frozenset[str]:
    """Return the names of the functions in an ELF file with this content; none if it is broken."""
    symbols = _symbols(data)
    return frozenset(one.name for one in symbols.functions) if symbols else frozenset()


def _symbols(data: bytes) -> Symbols | None:
    try:
        return _read(_opened(data))
    except Exception:
        return None


def _opened(data: bytes) -> Any:
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - rarely needed

    return ELFFile(BytesIO(data))


def _tables(elf: Any, kinds: set[str]) -> Iterator[Iterator[ElfSymbol]]:
    for section in elf.iter_sections():
        if section["sh_type"] in kinds:
            found = read_symbol_table(
                section.data(),
                section.stringtable.data(),
                bits=elf.elfclass,
                little_endian=elf.little_endian,
            )
            yield (one for one in islice(found, _SYMBOLS_MAX) if one.name)


def _read(elf: Any) -> Symbols | None:
    objects: dict[str, int] = {}
    names: dict[int, _Function] = {}
    for kind in ("SHT_SYMTAB", "SHT_DYNSYM"):
        for one in chain.from_iterable(_tables(elf, {kind})):
            if one.defined and one.is_function:
                function = _Function(one.value, one.size, one.name[:_NAME_MAX])
                names[one.value] = min(names.get(one.value, function), function, key=_oddness)
            elif one.defined and one.is_object and kind == "SHT_DYNSYM":
                objects[one.name] = one.value
    segments = tuple(
        _FileSegment(one["p_offset"], one["p_filesz"], one["p_vaddr"])
        for one in elf.iter_segments("PT_LOAD")
    )
    return Symbols(elf["e_machine"], segments, tuple(sorted(names.values())), objects)


def _oddness(function: _Function) -> tuple[bool, int, int, str]:
    """Return a sort key for names of one address: ``open`` sorts before ``__libc_open64``."""
    name = function.name
    return not function.size, len(name) - len(name.lstrip("_")), len(name), name
