"""Find the C functions that CPython offers to Python programs, in its tables of methods.

An entry of a PyMethodDef array has a name, a function, flags and a docstring
(Include/methodobject.h). The array's owner is the module definition, or the type object, that
points to it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.scan.relocations import relocate
from seccompgen.scan.symbol_tables import read_symbols

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.scan.binary import Binary

_NAME = re.compile(rb"([A-Za-z_][\w.]{0,60})\0", re.ASCII)
_ENTRY = 32
_MOST_FLAGS = 0x800
_MODULE_NAME = -24
"""The offset of m_name from m_methods in a PyModuleDef."""
_TYPE_NAME = -208
"""The offset of tp_name from tp_methods in a PyTypeObject."""


def methods(binary: Binary) -> dict[str, int]:
    """Return the addresses of functions in a 64-bit ``binary``, by their names in Python."""
    dynamic, _ = read_symbols(binary)
    words = relocate(binary, dynamic).words
    entries = {
        place: name
        for place, value in words.items()
        if binary.in_code(words.get(place + 8, -1))
        and 0 < _flags(binary, place + 16) < _MOST_FLAGS
        and (name := _text(binary, value))
    }
    owners: dict[int, str] = {}
    for place, value in words.items():
        if value in entries and value - _ENTRY not in entries:
            for distance in (_MODULE_NAME, _TYPE_NAME):
                owner = _text(binary, words.get(place + distance, -1))
                if owner:
                    owners[value] = owner
    return _named(entries, owners, words)


def _named(
    entries: Mapping[int, str], owners: Mapping[int, str], words: Mapping[int, int]
) -> dict[str, int]:
    found: dict[str, int] = {}
    owner = ""
    for place in sorted(entries):
        if place - _ENTRY not in entries:
            owner = owners.get(place, "")
        name = f"{owner}.{entries[place]}" if owner else entries[place]
        found.setdefault(name, words[place + 8])
    return found


def _text(binary: Binary, address: int) -> str:
    """Return the name at ``address``; "" if there is none."""
    try:
        match = _NAME.match(binary.read(address, 64)) if address > 0 else None
    except ValueError:
        return ""
    return match[1].decode() if match else ""


def _flags(binary: Binary, address: int) -> int:
    try:
        return int.from_bytes(binary.read(address, 4), "little")
    except ValueError:
        return 0
