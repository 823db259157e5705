"""Read a Go program's own table of its functions, which strip does not remove."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_RELATIVE = frozenset({0xFFFFFFF0, 0xFFFFFFF1})
"""The first words of the tables of Go 1.18 and 1.20, whose entries are offsets into the text."""
_ABSOLUTE = 0xFFFFFFFA
"""The first word of the tables of Go 1.16."""
_HEADER, _FIRST, _LAST, _TEXT = 0, 20, 21, 22
"""Words of a module: the address of its table, its first and last code, and its text."""


def go_functions(
    section: tuple[int, bytes], module: tuple[int, bytes], words: Mapping[int, int]
) -> dict[int, str]:
    """Return the name of each function by its address: none unless all of ``section`` is read.

    ``section`` is the address and content of the table, ``module`` those of Go's description of the
    program, ``words`` are the values that relocations store, by address. Source: the structs
    pcHeader and moduledata in Go's src/runtime/symtab.go, and src/debug/gosym/pclntab.go.
    """
    base, data = section
    if len(data) < 8 + 8 * 8:
        return {}
    magic, _, _, size = struct.unpack_from("<IHBB", data)
    relative = magic in _RELATIVE
    if not (relative or magic == _ABSOLUTE) or size not in {4, 8}:
        return {}
    count, _, *rest = struct.unpack_from("<8Q" if size == 8 else "<8I", data, 8)
    start = words.get(base + 8 + 2 * size, rest.pop(0)) if relative else 0
    names, table = rest[0], rest[4]
    if relative and not start:  # Go 1.26 and later have it in the module alone
        start = _start_of_text(section, module, words, size, (table, count))
    entry = struct.Struct("<QQ" if size == 8 and not relative else "<II")
    if start is None or table + count * entry.size > len(data):
        return {}
    name_at = 4 if relative else size
    found: dict[int, str] = {}
    for i in range(count):
        address, offset = entry.unpack_from(data, table + i * entry.size)
        if table + offset + name_at + 4 > len(data):
            return {}
        begin = names + struct.unpack_from("<i", data, table + offset + name_at)[0]
        end = data.find(b"\0", begin) if 0 <= begin < len(data) else -1
        if end < 0:
            return {}
        found[start + address] = data[begin:end].decode("utf-8", "replace")
    return found


def _start_of_text(
    section: tuple[int, bytes],
    module: tuple[int, bytes],
    words: Mapping[int, int],
    size: int,
    entries: tuple[int, int],
) -> int | None:
    """Return the address to which the entries of a table are relative; None if it is not certain.

    ``entries`` are the offset of the first and their number. Another one follows, with the end of
    the last function: it and the first must lead to the addresses that ``module`` has for them.
    """
    (place, content), (base, data), (table, count) = module, section, entries
    if len(content) <= _TEXT * size or len(data) < table + 8 * count + 4:
        return None
    header, first, last, text = (
        words.get(place + i * size, int.from_bytes(content[i * size :][:size], "little"))
        for i in (_HEADER, _FIRST, _LAST, _TEXT)
    )
    offsets = (struct.unpack_from("<I", data, table + 8 * i)[0] for i in (0, count))
    is_certain = (header, first, last) == (base, *(text + offset for offset in offsets))
    return text if is_certain else None
