"""Separate debug files, found by build-id: they have the symbols that were stripped from a file."""

from __future__ import annotations

import contextlib
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.io.reading import read_file

if TYPE_CHECKING:
    from pathlib import Path

_DIRECTORY = "usr/lib/debug/.build-id"
_MAX_BYTES = 1 << 30


class SymbolTable(NamedTuple):
    """A symbol table and its strings, as the file has them."""

    table: bytes
    strings: bytes


def debug_place(build_id: str) -> str:
    """Return the path of a debug file below a system's root (gdb's "Separate Debug Files")."""
    return f"{_DIRECTORY}/{build_id[:2]}/{build_id[2:]}.debug"


def read_debug_file(path: Path, build_id: str) -> SymbolTable | None:
    """Return the symbols in the debug file at ``path``; None if it is broken or another file's."""
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - in an extra

    with contextlib.suppress(Exception):  # pyelftools raises anything
        elf = ELFFile(BytesIO(read_file(path, _MAX_BYTES)))
        notes = elf.get_section_by_name(".note.gnu.build-id").iter_notes()
        symbols = elf.get_section_by_name(".symtab")
        if any(note["n_desc"] == build_id for note in notes):
            return SymbolTable(symbols.data(), symbols.stringtable.data())
    return None
