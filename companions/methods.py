"""The functions that CPython offers to programs in Python, as its tables of methods name them.

An entry of a PyMethodDef array is a name, a function, flags and a text (Include/methodobject.h).
The module is the one whose definition, or the type whose object, points to the array.
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
"""From m_methods to m_name of a PyModuleDef."""
_TYPE_NAME = -208
"""From tp_methods to tp_name of a PyTypeObject."""


def methods(binary: Binary) -> dict[str, int]:
    """Return the functions of a 64-bit ``binary`` by the names that Python has for them."""
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
    """Return the name that stands at ``address``; an empty text if none does."""
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
