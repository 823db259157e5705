"""Sizes of C's types: scalars by the ABI, structs and unions by their members."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from seccompgen.kernel.parse.declarations import (
    ATTRIBUTES,
    attributes_at,
    closing,
    follows,
    split,
)
from seccompgen.kernel.parse.expressions import IDENTIFIER, NoValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.kernel.parse.declarations import Record, Typedef

_MOST_DEEP = 32  # structs in structs


@dataclass(frozen=True, slots=True)
class Model:
    """The sizes of an ABI's scalars, in bytes.

    ``wide`` is the alignment of a ``long long`` in a struct, and ``biggest`` that of a bare
    ``__attribute__((aligned))``. No scalar is aligned to more than ``most``.
    """

    long: Literal[4, 8]
    wide: Literal[2, 4, 8] = 8
    most: Literal[2, 4, 8, 16] = 16
    biggest: int = 16
    least_record: int = 1


@dataclass(frozen=True, slots=True)
class CType:
    """A type: its size and alignment in bytes."""

    size: int
    align: int
    kind: Literal["integer", "float", "pointer", "record", "void"] = "integer"
    signed: bool = False


_POINTED_AT = CType(0, 1, "record")
"""A type that is only pointed to, so its size does not matter."""


class Names(Protocol):
    """The context in which types are evaluated: sizes, records, typedefs and macros."""

    def measure(self, name: str) -> int:
        """Return the field ``name`` of the ABI's `Model`."""

    def record(self, name: str, make: Callable[[Record], CType]) -> CType | None:
        """Return the type of ``struct x`` or ``union x``, computed by ``make`` if not yet known."""

    def typedef(self, name: str) -> bool:
        """Return True if ``name`` is a typedef."""

    def aliased(self, name: str, make: Callable[[Typedef], CType]) -> CType | None:
        """Return the type behind a typedef, computed by ``make`` if not yet known."""

    def expanded(self, tokens: Sequence[str]) -> list[str]:
        """Return ``tokens`` with all macros expanded."""

    def integer(self, tokens: Sequence[str]) -> int:
        """Return the value of an expression; raise NoValueError if it has none."""


_IGNORED = frozenset(
    [
        "const",
        "volatile",
        "restrict",
        "__const",
        "__volatile__",
        "__restrict",
        "__extension__",
        "register",
        "static",
        "__inline__",
        "inline",
        "extern",
    ]
)
_WORDS = frozenset(
    [
        "char",
        "short",
        "int",
        "long",
        "signed",
        "unsigned",
        "__signed__",
        "__signed",
        "float",
        "double",
        "_Bool",
        "bool",
        "void",
        "__int128",
        "__s128",
        "__u128",
    ]
)
_BASIC = {  # types of libc and the compiler: (size, signed); None is the size of a long
    "size_t": (None, False),
    "ssize_t": (None, True),
    "ptrdiff_t": (None, True),
    "uintptr_t": (None, False),
    "intptr_t": (None, True),
    **{
        f"{sign}int{bits}_t": (bits // 8, not sign)
        for bits in (8, 16, 32, 64)
        for sign in ("", "u")
    },
    **{f"u_int{bits}_t": (bits // 8, False) for bits in (8, 16, 32, 64)},
}


def starts_type(word: str, names: Names) -> bool:
    """Return True if a type begins with ``word``."""
    return (
        word in _WORDS
        or word in _IGNORED
        or word in {"struct", "union", "enum"}
        or word in _BASIC
        or (bool(IDENTIFIER.fullmatch(word)) and names.typedef(word))
    )


def type_of(tokens: Sequence[str], names: Names, depth: int = 0) -> CType:
    """Return the type of a type name such as ``unsigned int[2]``."""
    return next(iter(_Declaration(tokens, names, depth).declared()))[1]


def record_type(record: Record, names: Names, depth: int = 0) -> CType:
    """Return the type of a struct or a union."""
    if depth > _MOST_DEEP:
        raise NoValueError("its structs are nested too deeply")
    packed, align = _attributes(names.expanded(record.attributes), names)
    least = 1 if packed else names.measure("least_record")
    layout = _Layout(least, union=record.union, packed=packed)
    for member in split(names.expanded(record.body), ";"):
        if member:
            for _, ctype, width, own_packed, own_align in _Declaration(
                member, names, depth + 1
            ).members():
                layout.add(ctype, width, own_align, packed=own_packed)
    return layout.finish(align)


def _attributes(tokens: Sequence[str], names: Names) -> tuple[bool, int]:
    """Return whether attributes contain packed, and the alignment that they require, or 0."""
    packed, align, at = False, 0, 0
    while at < len(tokens):
        word = tokens[at].strip("_")
        if word == "packed":
            packed = True
        elif word == "aligned":
            if follows(tokens, at + 1, "("):
                end = closing(tokens, at + 1)
                align = max(align, names.integer(tokens[at + 2 : end]))
                at = end
            else:
                align = max(align, names.measure("biggest"))
        elif word in {"mode", "vector_size"}:
            raise NoValueError(f"an attribute says {word}")
        at += 1
    return packed, align


class _Layout:
    """The layout of a record, member by member, in bits."""

    def __init__(self, least: int, *, union: bool, packed: bool) -> None:
        self._union = union
        self._packed = packed
        self._bits = 0
        self._most = 0
        self._align = least

    def add(self, ctype: CType, width: int | None, align: int, *, packed: bool) -> None:
        start = 0 if self._union else self._bits
        own = max(1 if self._packed or packed else ctype.align, align)
        if width is None:
            start = _up(start, own * 8)
            end = start + ctype.size * 8
            self._align = max(self._align, own)
        elif width == 0:
            end = _up(start, ctype.align * 8)
        else:
            unit = ctype.size * 8
            if not (self._packed or packed) and start % unit + width > unit:
                start = _up(start, ctype.align * 8)
            end = start + width
            self._align = max(self._align, own)
        self._bits = end
        self._most = max(self._most, end)

    def finish(self, align: int) -> CType:
        whole = max(self._align, align)
        return CType(_up(self._most, whole * 8) // 8, whole, "record")


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


class _Declaration:
    """One declaration: specifiers and its declarators."""

    def __init__(self, tokens: Sequence[str], names: Names, depth: int) -> None:
        self._tokens = list(tokens)
        self._names = names
        self._depth = depth
        self._at = 0
        self._attributes: list[str] = []

    def declared(self) -> list[tuple[str, CType]]:
        """Return the declared names with their types; a type name declares an empty name."""
        result = []
        for name, ctype, _, packed, align in self.members():
            size = ctype
            if align:
                size = replace(ctype, align=align)
            elif packed:
                size = replace(ctype, align=1)
            result.append((name, size))
        return result

    def members(self) -> list[tuple[str, CType, int | None, bool, int]]:
        """Return (name, type, bit-field width, packed, alignment) for each declarator."""
        base = self._specifiers()
        rest = self._tokens[self._at :]
        if not rest and base.kind != "record":
            return [("", base, None, *_attributes(self._attributes, self._names))]
        return [self._declarator(base, part) for part in split(rest)]

    def _specifiers(self) -> CType:
        words: list[str] = []
        found: CType | None = None
        while self._at < len(self._tokens):
            word = self._tokens[self._at]
            if word in ATTRIBUTES:
                self._take_attributes()
            elif word in _IGNORED:
                self._at += 1
            elif word in {"struct", "union"}:
                found = self._record(word)
            elif word == "enum":
                found = self._enum()
            elif word in _WORDS:
                words.append(word)
                self._at += 1
            elif found or words or not IDENTIFIER.fullmatch(word):
                break
            else:
                found = self._typedef(word)
        if found:
            return found
        if not words:
            raise NoValueError("a type is missing")
        return _scalar(words, self._names)

    def _take_attributes(self) -> None:
        found = attributes_at(self._tokens, self._at)
        self._attributes += found
        self._at += max(len(found), 1)

    def _record(self, kind: str) -> CType:
        self._at += 1
        own = attributes_at(self._tokens, self._at)
        self._at += len(own)
        tag = self._tokens[self._at] if self._at < len(self._tokens) else ""
        if tag != "{":
            self._at += 1
            more = attributes_at(self._tokens, self._at)
            if not follows(self._tokens, self._at + len(more), "{"):
                return self._tagged(f"{kind} {tag}")
            own += more
            self._at += len(more)
        end = closing(self._tokens, self._at)
        body = self._tokens[self._at + 1 : end]
        self._at = end + 1
        after = attributes_at(self._tokens, self._at)
        self._at += len(after)
        from seccompgen.kernel.parse.declarations import Record  # noqa: PLC0415

        record = Record(kind == "union", tuple(body), own + after)
        return record_type(record, self._names, self._depth + 1)

    def _tagged(self, name: str) -> CType:
        rest = (word for word in self._tokens[self._at :] if word not in _IGNORED)
        if next(rest, "") == "*":
            return _POINTED_AT
        if self._depth > _MOST_DEEP:
            raise NoValueError("its structs are nested too deeply")
        ctype = self._names.record(
            name, lambda record: record_type(record, self._names, self._depth + 1)
        )
        if ctype is not None:
            return ctype
        raise NoValueError(f"{name} is not known")

    def _enum(self) -> CType:
        self._at += 1
        while self._at < len(self._tokens) and self._tokens[self._at] in ATTRIBUTES:
            self._take_attributes()
        if self._at < len(self._tokens) and IDENTIFIER.fullmatch(self._tokens[self._at]):
            self._at += 1
        if self._at < len(self._tokens) and self._tokens[self._at] == "{":
            self._at = closing(self._tokens, self._at) + 1
        return _scalar(["unsigned", "int"], self._names)

    def _typedef(self, word: str) -> CType:
        self._at += 1
        if self._depth > _MOST_DEEP:
            raise NoValueError("its types are nested too deeply")
        ctype = self._names.aliased(word, self._made)
        if ctype is not None:
            return ctype
        if word in _BASIC:
            size, signed = _BASIC[word]
            return _sized(size or self._names.measure("long"), self._names, signed=signed)
        if "*" in self._tokens[self._at :]:
            return _POINTED_AT
        raise NoValueError(f"the type {word} is not known")

    def _made(self, typedef: Typedef) -> CType:
        tokens = self._names.expanded(typedef.tokens)
        declared = dict(_Declaration(tokens, self._names, self._depth + 1).declared())
        if typedef.name not in declared:
            raise NoValueError(f"the type {typedef.name} is not known")
        return declared[typedef.name]

    def _pointer(self) -> CType:
        long = self._names.measure("long")
        return CType(long, min(long, self._names.measure("most")), "pointer")

    def _declarator(
        self, base: CType, tokens: list[str]
    ) -> tuple[str, CType, int | None, bool, int]:
        at, name, ctype = 0, "", base
        attributes = list(self._attributes)
        dimensions: list[int] = []
        width: int | None = None
        while at < len(tokens):
            word = tokens[at]
            if word == "*":
                ctype = self._pointer()
            elif word == "(":
                end = closing(tokens, at)
                if follows(tokens, at + 1, "*"):
                    ctype = self._pointer()
                    name = next(
                        (one for one in tokens[at + 2 : end] if IDENTIFIER.fullmatch(one)), ""
                    )
                    if "[" in tokens[at:end]:
                        raise NoValueError("an array of pointers to functions is in it")
                at = end
            elif word == "[":
                end = closing(tokens, at)
                inner = tokens[at + 1 : end]
                dimensions.append(self._names.integer(inner) if inner else 0)
                at = end
            elif word == ":":
                width = self._names.integer(tokens[at + 1 :])
                break
            elif word in ATTRIBUTES:
                found = attributes_at(tokens, at)
                attributes += found
                at += len(found) - 1
            elif IDENTIFIER.fullmatch(word) and word not in _IGNORED:
                name = word
            at += 1
        for count in dimensions:
            if not 0 <= count < 1 << 32:
                raise NoValueError("an array of it has no size")
            ctype = replace(ctype, size=ctype.size * count, kind="record")
        return name, ctype, width, *_attributes(attributes, self._names)


def _scalar(words: Sequence[str], names: Names) -> CType:
    signed = not any(word in {"unsigned", "_Bool", "bool", "__u128"} for word in words)
    if "void" in words:
        return CType(1, 1, "void")
    if "float" in words or "double" in words:
        if "long" in words:
            raise NoValueError("a long double is in it")
        size = 4 if "float" in words else 8
        return CType(size, _sized(size, names, signed=True).align, "float", signed=True)
    if any(word in {"__int128", "__s128", "__u128"} for word in words):
        size = 16
    elif words.count("long") == 2:
        size = 8
    elif "long" in words:
        size = names.measure("long")
    elif "short" in words:
        size = 2
    elif "char" in words or "_Bool" in words or "bool" in words:
        size = 1
    else:
        size = 4
    return _sized(size, names, signed=signed)


def _sized(size: int, names: Names, *, signed: bool) -> CType:
    if size == 8:
        align = names.measure("wide")
    else:
        align = min(size, names.measure("most")) if size > 2 else size
    return CType(size, align, signed=signed)
