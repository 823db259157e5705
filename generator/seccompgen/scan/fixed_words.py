"""Words of a file without relocations that may be addresses of code."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from seccompgen.scan.image import AddressRange

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from seccompgen.scan.binary import Binary

_OF_EXCEPTIONS = (".eh_frame", ".gcc_except_table")
"""Beginnings of the names of tables whose offsets are parsed separately."""


def words_into_code(binary: Binary) -> dict[int, int]:
    """Return all aligned words of data that could be code addresses, by their place."""
    low, high = binary.code[0].start, binary.code[-1].end
    form = struct.Struct("<Q" if binary.word == 8 else "<I")
    found: dict[int, int] = {}
    tables = binary.spans_of(_has_no_pointers)
    headers = _headers_end(binary)
    for segment in binary.segments:
        skip = -segment.address % binary.word
        whole = (len(segment.data) - skip) // binary.word * binary.word
        if whole <= 0:
            continue
        words = form.iter_unpack(segment.data[skip : skip + whole])
        for i, (value,) in enumerate(words):
            if low <= value < high:
                place = segment.address + skip + i * binary.word
                if place >= headers and not any(span.contains(place) for span in tables):
                    found[place] = value
    return found


def _has_no_pointers(section: str) -> bool:
    """Return True for dynamic symbols, which only the loader reads, and Go's table of functions.

    Its many offsets may look like addresses. The file's headers are left out as well.
    """
    return section == ".dynsym" or section.endswith("gopclntab")


def _headers_end(binary: Binary) -> int:
    header = binary.elf.header
    size = max(header["e_ehsize"], header["e_phoff"] + header["e_phnum"] * header["e_phentsize"])
    return int(min(one.address for one in binary.segments) + size)


def words_anywhere(binary: Binary, starts: AbstractSet[int]) -> set[int]:
    """Return the ``starts`` of functions that data contains as unaligned or four-byte words.

    Packed structures contain unaligned pointers, and compact tables truncated ones. A number that
    equals the start of a function by accident is rare, but in Go's data, which has offsets of all
    functions. Go itself makes no such pointers, so ``starts`` need not have Go's functions.
    """
    form = struct.Struct("<I")
    found: set[int] = set()
    headers = _headers_end(binary)
    tables = binary.spans_of(lambda name: name.startswith(_OF_EXCEPTIONS) or _has_no_pointers(name))
    apart = sorted((*binary.code, *tables))
    for segment in binary.segments:
        begin = min(max(segment.address, headers), segment.end)
        inside = [span for span in apart if begin <= span.start < segment.end]
        for span in (*inside, AddressRange(segment.end, segment.end)):
            data = segment.data[begin - segment.address : span.start - segment.address]
            begin_of = begin
            begin = span.end
            for shift in range(4):
                whole = (len(data) - shift) // 4 * 4
                if whole > 0:
                    words = [value for (value,) in form.iter_unpack(data[shift : shift + whole])]
                    aligned = (begin_of + shift) % 4 == 0
                    found |= {
                        value
                        for value, following in zip(words, [*words[1:], 0], strict=True)
                        if (aligned or following == 0) and value in starts
                    }
    return found
