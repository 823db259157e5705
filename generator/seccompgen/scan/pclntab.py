"""Read a Go program's own table of its functions, which strip does not remove."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_RELATIVE = frozenset({0xFFFFFFF0, 0xFFFFFFF1})
"""The first words of the tables of Go 1.18 and 1.20, whose entries are offsets into the text."""
_ABSOLUTE = 0xFFFFFFFA
"""The first word of the tables of Go 1.16."""


def go_functions(section: tuple[int, bytes], words: Mapping[int, int]) -> Iterator[tuple[int, str]]:
    """Yield address and name of each function that ``section`` lists.

    ``section`` is its address and content, ``words`` are the values that relocations store, by
    address. A table of an unknown form yields nothing, a truncated one its complete entries.
    Source: struct pcHeader in Go's src/runtime/symtab.go, and src/debug/gosym/pclntab.go.
    """
    base, data = section
    if len(data) < 8 + 8 * 8:
        return
    magic, _, _, size = struct.unpack_from("<IHBB", data)
    relative = magic in _RELATIVE
    if not (relative or magic == _ABSOLUTE) or size not in {4, 8}:
        return
    count, _, *rest = struct.unpack_from("<8Q" if size == 8 else "<8I", data, 8)
    start = words.get(base + 8 + 2 * size, rest.pop(0)) if relative else 0
    names, table = rest[0], rest[4]
    entry = struct.Struct("<QQ" if size == 8 and not relative else "<II")
    name_at = 4 if relative else size
    for i in range(count):
        place = table + i * entry.size
        if place + entry.size > len(data):
            return
        address, offset = entry.unpack_from(data, place)
        if table + offset + name_at + 4 > len(data):
            return
        begin = names + struct.unpack_from("<i", data, table + offset + name_at)[0]
        end = data.find(b"\0", begin) if 0 <= begin < len(data) else -1
        if end >= 0:
            yield start + address, data[begin:end].decode("utf-8", "replace")
