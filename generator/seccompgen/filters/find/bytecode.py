"""Check whether bytecode was compiled from a source. None of it is run, or passed to marshal.

marshal trusts its input, and bytecode may be somebody else's. So its bytes are read here, and
written in one canonical form, with references resolved and without names of files; so is what this
Python compiles the source to. Bytecode of other Pythons cannot be compared.

Sources: PEP 552; Python/marshal.c of CPython 3.11 to 3.14.
"""

from __future__ import annotations

import importlib.util
import marshal
import struct
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ast

_HEADER = 16
"""Bytes of a .pyc before its code: magic number, flags, and a time and a size or a hash."""
_REFERENCED = 0x80
"""FLAG_REF: other objects refer to this one, by its index among such objects."""
_DEEPEST = 100
_MOST = 1 << 26
"""The most bytes of the canonical form, in which objects that are referred to are repeated."""
_SIZES = {"i": 4, "g": 8, "y": 16}
"""Bytes of an int, a float and a complex number."""
_STRINGS = {"s": b"s", **dict.fromkeys("utaAzZ", b"u")}
"""Bytes, and the kinds of text: these have the same characters, interned or not."""
_SHORT = "zZ)"
"""Kinds whose length is one byte, and not four."""


class _OtherError(Exception):
    """The bytes are not code that this Python makes."""


def is_of_source(bytecode: bytes, source: ast.Module, optimize: int) -> bool:
    """Return whether a .pyc has the code that this Python makes of ``source``.

    ``optimize`` is 0, or 1 or 2 as after ``python -O``.
    """
    if not bytecode.startswith(importlib.util.MAGIC_NUMBER):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would show parts of the file
            code = compile(source, "", "exec", dont_inherit=True, optimize=optimize)
        expected = _CodeReader(marshal.dumps(code), _MOST).all()
        return _CodeReader(bytecode[_HEADER:], len(expected)).all() == expected
    except (_OtherError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False


class _CodeReader:
    """Reads an object, and returns its canonical form of at most ``most`` bytes.

    The limit is on the output: a few references to references could exceed any memory.
    """

    def __init__(self, data: bytes, most: int) -> None:
        self._data = data
        self._at = 0
        self._most = most
        self._known: list[bytes | None] = []

    def all(self) -> bytes:
        """Return the only object; raise _OtherError if anything follows it."""
        found = self._object(0)
        if self._at != len(self._data):
            raise _OtherError
        return found

    def _take(self, size: int) -> bytes:
        if size < 0 or self._at + size > len(self._data):
            raise _OtherError
        self._at += size
        return self._data[self._at - size : self._at]

    def _int(self) -> int:
        return int(struct.unpack("<i", self._take(4))[0])

    def _object(self, depth: int) -> bytes:
        if depth > _DEEPEST:
            raise _OtherError
        (kind,) = self._take(1)
        name = chr(kind & ~_REFERENCED)
        if name == "r":
            return self._known_at(self._int())
        place = len(self._known)
        if kind & _REFERENCED:
            self._known.append(None)
        found = self._content(name, depth + 1)
        if len(found) > self._most:
            raise _OtherError
        if kind & _REFERENCED:
            self._known[place] = found
        return found

    def _known_at(self, place: int) -> bytes:
        found = self._known[place] if 0 <= place < len(self._known) else None
        if found is None:
            raise _OtherError
        return found

    def _content(self, name: str, depth: int) -> bytes:
        if name in "NFT.":
            return name.encode()
        if name in _SIZES:
            return name.encode() + self._take(_SIZES[name])
        if name == "l":
            count = self._int()
            return b"l" + struct.pack("<i", count) + self._take(2 * abs(count))
        if name == "c":
            return self._code(depth)
        if name == ":":
            return _framed(b":", *self._parts(3, depth))
        if name not in _STRINGS and name not in "()>":
            raise _OtherError
        count = self._take(1)[0] if name in _SHORT else self._int()
        if name in _STRINGS:
            return _framed(_STRINGS[name], self._take(count))
        parts = self._parts(count, depth)
        # A set has no order: it depends on the process that wrote it.
        return _framed(b">", *sorted(parts)) if name == ">" else _framed(b"(", *parts)

    def _parts(self, count: int, depth: int) -> list[bytes]:
        if not 0 <= count <= len(self._data):
            raise _OtherError
        parts, size = [], 0
        for _ in range(count):
            parts.append(self._object(depth))
            size += len(parts[-1])
            if size > self._most:
                raise _OtherError
        return parts

    def _code(self, depth: int) -> bytes:
        """Read a code object.

        It is five numbers; the code, constants, names, names and kinds of variables, the file, its
        own name and qualified name; the first line; and tables of lines and exceptions.
        """
        head = self._take(5 * 4)
        parts = self._parts(8, depth)
        del parts[5]  # the file, which is where somebody compiled it
        return _framed(b"c", head, *parts, self._take(4), *self._parts(2, depth))


def _framed(label: bytes, *parts: bytes) -> bytes:
    """Return the parts in a row, each after its length, so that none runs into another."""
    return b"".join(
        [label, struct.pack("<I", len(parts)), *(struct.pack("<I", len(p)) + p for p in parts)]
    )
