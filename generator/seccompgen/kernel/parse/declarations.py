"""Declarations in the text of a header: enums, structs, unions and typedefs, as tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.kernel.parse.expressions import IDENTIFIER, c_tokens_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    Tokens = tuple[str, ...]

_OPENING = frozenset({"(", "[", "{"})
_CLOSING = frozenset({")", "]", "}"})


@dataclass(frozen=True, slots=True, eq=False)
class Enumerator:
    """A name of an enum; its value is that of ``base`` plus ``offset``.

    ``base`` is the last explicit value up to this name, as an expression; empty (0) if there is
    none.
    """

    name: str
    base: Tokens
    offset: int


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A struct or a union: its members as ``body``, and the attributes around them."""

    union: bool
    body: Tokens
    attributes: Tokens


@dataclass(frozen=True, slots=True, eq=False)
class Typedef:
    """A typedef: the name that it declares, and the tokens after ``typedef``."""

    name: str
    tokens: Tokens


@dataclass(frozen=True, slots=True, eq=False)
class Declarations:
    """All that a header declares.

    Keys of ``records`` are ``struct x`` or ``union x``. ``macros_in_enums`` has the bodies of enums
    in which function-like macros may produce names; `enumerators` parses them after expansion.
    """

    enumerators: tuple[Enumerator, ...]
    macros_in_enums: tuple[Tokens, ...]
    records: dict[str, Record]
    typedefs: dict[str, Typedef]


def declarations(text: str) -> Declarations:
    """Return the declarations in ``text``, from which directives and comments were removed."""
    tokens = c_tokens_of.__wrapped__(text)
    names: list[Enumerator] = []
    open_enums: list[Tokens] = []
    records: dict[str, Record] = {}
    typedefs: dict[str, Typedef] = {}
    depth = 0
    for at, word in enumerate(tokens):
        if word in {"struct", "union", "enum"}:
            tag, opening, attributes = _head(tokens, at + 1)
            if opening is None:
                continue
            end = closing(tokens, opening)
            body = tokens[opening + 1 : end]
            if word == "enum":
                if _has_calls(body):
                    open_enums.append(body)
                else:
                    names += enumerators(body)
            elif tag:
                after = attributes_at(tokens, end + 1)
                records[f"{word} {tag}"] = Record(word == "union", body, attributes + after)
        elif word == "typedef" and depth == 0:
            end = _semicolon(tokens, at)
            declared = tokens[at + 1 : end]
            name = _declared_name(declared)
            if name:
                typedefs[name] = Typedef(name, declared)
        elif word == "{":
            depth += 1
        elif word == "}":
            depth -= 1
    return Declarations(tuple(names), tuple(open_enums), records, typedefs)


def enumerators(body: Sequence[str]) -> list[Enumerator]:
    """Return the names that an enum with ``body`` declares."""
    result: list[Enumerator] = []
    base: Tokens = ()
    offset = 0
    for part in split(body):
        if not part or not IDENTIFIER.fullmatch(part[0]):
            continue
        if "=" in part:
            base, offset = tuple(part[part.index("=") + 1 :]), 0
        result.append(Enumerator(part[0], base, offset))
        offset += 1
    return result


def split(tokens: Sequence[str], separator: str = ",") -> list[list[str]]:
    """Split ``tokens`` at each ``separator`` outside of brackets."""
    parts: list[list[str]] = [[]]
    depth = 0
    for word in tokens:
        if word in _OPENING:
            depth += 1
        elif word in _CLOSING:
            depth -= 1
        if word == separator and depth == 0:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def closing(tokens: Sequence[str], opening: int) -> int:
    """Return the index of the bracket that closes the one at ``opening``, or ``len(tokens)``."""
    depth = 0
    for at in range(opening, len(tokens)):
        if tokens[at] in _OPENING:
            depth += 1
        elif tokens[at] in _CLOSING:
            depth -= 1
            if depth == 0:
                return at
    return len(tokens)


def follows(tokens: Sequence[str], at: int, wanted: str) -> bool:
    """Return True if the token at ``at`` is ``wanted``."""
    return at < len(tokens) and tokens[at] == wanted


def attributes_at(tokens: Sequence[str], at: int) -> Tokens:
    """Return the attributes that begin at ``at``; empty if something else begins there."""
    start = at
    while at < len(tokens) and tokens[at] in ATTRIBUTES:
        at = closing(tokens, at + 1) + 1 if follows(tokens, at + 1, "(") else at + 1
    return tuple(tokens[start:at])


ATTRIBUTES = frozenset({"__attribute__", "__attribute", "__packed"})


def _head(tokens: Tokens, at: int) -> tuple[str, int | None, Tokens]:
    """Return the tag, the index of the opening brace or None, and the attributes before it."""
    attributes = attributes_at(tokens, at)
    at += len(attributes)
    tag = ""
    if at < len(tokens) and IDENTIFIER.fullmatch(tokens[at]):
        tag = tokens[at]
        more = attributes_at(tokens, at + 1)
        attributes += more
        at += 1 + len(more)
    return tag, at if follows(tokens, at, "{") else None, attributes


def _has_calls(body: Tokens) -> bool:
    """Return True if a name may come from a macro: it has a parenthesis before any ``=``."""
    return any(
        "(" in part[: part.index("=")] if "=" in part else "(" in part for part in split(body)
    )


def _semicolon(tokens: Tokens, at: int) -> int:
    depth = 0
    for index in range(at, len(tokens)):
        if tokens[index] in _OPENING:
            depth += 1
        elif tokens[index] in _CLOSING:
            depth -= 1
        elif tokens[index] == ";" and depth <= 0:
            return index
    return len(tokens)


def _declared_name(tokens: Tokens) -> str:
    """Return the name that a typedef declares; empty if none is found."""
    end = len(tokens)
    at = 0
    found = ""
    while at < end:
        word = tokens[at]
        if word in ATTRIBUTES:
            at += max(len(attributes_at(tokens, at)), 1)
        elif word in {"{", "["}:
            at = closing(tokens, at) + 1
        elif word == "(":
            if follows(tokens, at + 1, "*") and at + 2 < end:
                return tokens[at + 2]
            return found
        else:
            if IDENTIFIER.fullmatch(word):
                found = word
            at += 1
    return found
