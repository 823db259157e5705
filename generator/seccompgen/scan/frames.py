"""Read .eh_frame of an ELF file: the starts of functions, and where exceptions land in them.

It is parsed here, not by pyelftools: a library has tens of thousands of entries, of which only a
few fields matter. Unknown forms raise `UnreadFramesError`. Source: LSB Core, "Exception Frames",
and the Itanium C++ ABI, "Exception Handling Tables".
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.scan.image import Landing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.scan.binary import Binary

_OMITTED = 0xFF
_INDIRECT = 0x80
_LONG = 0xFFFFFFFF
"""In place of a length: the length follows in eight bytes."""
_RELATIVE_TO_PLACE = 0x10
_SIZES = {0x02: (2, False), 0x03: (4, False), 0x04: (8, False)} | {
    0x0A: (2, True),
    0x0B: (4, True),
    0x0C: (8, True),
}
_ULEB, _SLEB = 0x01, 0x09


class Frame(NamedTuple):
    """A function, or a separate part of one; ``handlers`` is the address of its LSDA, or 0."""

    start: int
    size: int
    handlers: int


class _Augmentation(NamedTuple):
    code: int
    handlers: int
    """``code`` and ``handlers`` are the encodings of these addresses in entries"""
    has_data: bool


class UnreadFramesError(Exception):
    """The frames are of an unknown form."""


class _Cursor:
    """Reads ``data``, which is mapped at ``base``, from ``at`` on."""

    def __init__(self, data: bytes, base: int, at: int, word: int) -> None:
        self.data, self.base, self.at, self.word = data, base, at, word

    def take(self, size: int, *, signed: bool = False) -> int:
        if not 0 <= self.at <= len(self.data) - size:
            raise UnreadFramesError
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "little", signed=signed)

    def leb(self, *, signed: bool = False) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value - (1 << shift) if signed and byte & 0x40 else value

    def pointer(self, form: int, *, relative: bool = True) -> int:
        """Return an address in the encoding ``form``; 0 for none."""
        place = self.base + self.at
        low = form & 0x0F
        if low in {_ULEB, _SLEB}:
            value = self.leb(signed=low == _SLEB)
        else:
            size, signed = _SIZES.get(low, (self.word, False))
            value = self.take(size, signed=signed)
        applied = form & 0x70
        if applied not in {0, _RELATIVE_TO_PLACE} or form & _INDIRECT:
            raise UnreadFramesError
        if value and relative and applied == _RELATIVE_TO_PLACE:
            value += place
        return value & ((1 << self.word * 8) - 1)


def read_frames(binary: Binary) -> list[Frame]:
    """Return the entries of .eh_frame, which is located by its index or its section.

    Raises UnreadFramesError.
    """
    start, most = _start(binary)
    if start is None:
        return []
    for segment in binary.segments:
        if segment.address <= start < segment.end:
            data = segment.data
            place, content = binary.section_data(".eh_frame")
            if place == start:
                data = data[: place + len(content) - segment.address]
            cursor = _Cursor(data, segment.address, start - segment.address, binary.word)
            return list(islice(_entries(cursor), most))
    raise UnreadFramesError


def _start(binary: Binary) -> tuple[int | None, int | None]:
    """Return the address of .eh_frame, and the number of entries in its index; None if unknown."""
    for segment in binary.elf.iter_segments():
        if segment.header["p_type"] == "PT_GNU_EH_FRAME" and segment.header["p_filesz"] >= 8:
            base = segment.header["p_vaddr"]
            head = _Cursor(binary.read(base, segment.header["p_filesz"]), base, 0, binary.word)
            version, form, counted = head.take(1), head.take(1), head.take(1)
            head.at = 4
            if version != 1:
                raise UnreadFramesError
            start = head.pointer(form)
            return start, None if counted == _OMITTED else head.pointer(counted)
    place, content = binary.section_data(".eh_frame")
    return (place if content and place else None), None


def _entries(cursor: _Cursor) -> Iterator[Frame]:
    known: dict[int, _Augmentation] = {}
    while cursor.at + 4 <= len(cursor.data):
        length = cursor.take(4)
        if length == 0:
            return
        if length == _LONG:
            length = cursor.take(8)
        here = cursor.at
        end = here + length
        back = cursor.take(4)
        if back:
            of = here - back
            if of not in known:
                known[of] = _augmentation(cursor, of)
            cursor.at = here + 4
            yield _entry(cursor, known[of])
        cursor.at = end


def _entry(cursor: _Cursor, written: _Augmentation) -> Frame:
    start = cursor.pointer(written.code)
    size = cursor.pointer(written.code, relative=False)
    handlers = 0
    if written.has_data:
        cursor.leb()
        if written.handlers != _OMITTED:
            handlers = cursor.pointer(written.handlers)
    return Frame(start, size, handlers)


def _augmentation(cursor: _Cursor, at: int) -> _Augmentation:
    """Return the encoding of the entries (FDEs) of the common entry (CIE) at ``at``."""
    cursor.at = at
    if cursor.take(4) == _LONG:
        cursor.take(8)
    cursor.take(4)
    version = cursor.take(1)
    end = cursor.data.find(b"\0", cursor.at)
    text = cursor.data[cursor.at : end]
    cursor.at = end + 1
    if version not in {1, 3} or (text and text[:1] != b"z"):
        raise UnreadFramesError
    cursor.leb()
    cursor.leb(signed=True)
    if version == 1:
        cursor.take(1)
    else:
        cursor.leb()
    if not text:
        return _Augmentation(0, _OMITTED, has_data=False)
    cursor.leb()
    code, handlers = 0, _OMITTED
    for letter in text[1:]:
        match chr(letter):
            case "R":
                code = cursor.take(1)
            case "L":
                handlers = cursor.take(1)
            case "P":
                # The personality's address counts as taken elsewhere: it is relocated, or indirect.
                form = cursor.take(1)
                cursor.pointer(form & 0x0F)
            case "S" | "B" | "G":
                pass
            case _:
                raise UnreadFramesError
    return _Augmentation(code, handlers, has_data=True)


def read_landings(binary: Binary, frame: Frame) -> Iterator[Landing]:
    """Yield the addresses at which ``frame`` continues after an exception, and of which calls.

    Raises UnreadFramesError.
    """
    for segment in binary.segments:
        if segment.address <= frame.handlers < segment.end:
            cursor = _Cursor(
                segment.data, segment.address, frame.handlers - segment.address, binary.word
            )
            break
    else:
        raise UnreadFramesError
    form = cursor.take(1)
    base = frame.start if form == _OMITTED else cursor.pointer(form)
    form = cursor.take(1)
    if form != _OMITTED:
        cursor.leb()
    form = cursor.take(1)
    end = cursor.leb() + cursor.at
    while cursor.at < end:
        start = frame.start + cursor.pointer(form, relative=False)
        size = cursor.pointer(form, relative=False)
        pad = cursor.pointer(form, relative=False)
        cursor.leb()
        if pad:
            yield Landing(start, start + size, base + pad)
