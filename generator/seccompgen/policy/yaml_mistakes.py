"""Advice on common mistakes in YAML, derived from the text around an error.

The parser reports what it did not expect ("mapping values are not allowed here"). The mistake is
often elsewhere, such as on the line before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_JSON = re.compile(r"\s*(?:[{\[]|//|/\*)")
_JSON_COMMENT = re.compile(r'^(?:[^"\n]|"(?:[^"\\\n]|\\.)*")*?(?P<comment>//|/\*)', re.M)


class Place(NamedTuple):
    """A line and a column, counted from 0."""

    line: int
    column: int


def mistake(text: str, at: Place, since: Place | None) -> tuple[str, Place] | None:
    """Return the advice, and its place; None for an error that is no common mistake.

    ``at`` is where ``text`` stops being YAML; ``since`` is where the construct around it begins, if
    the parser reports that.
    """
    lines = text.splitlines()
    comment = _JSON_COMMENT.search(text) if _JSON.match(text) else None
    if comment:
        before = text[: comment.start("comment")]
        place = Place(before.count("\n"), len(before) - before.rfind("\n") - 1)
        said = "JSON has no comments: remove this, or write YAML, whose comments begin with #"
        return said, place
    what: str | None = _at_character(lines, at) or _unclosed(lines, at, since)
    if what is None and _character(lines, at) == ":":
        what = _colon(lines, at)
    if what is None and since and since.line < at.line:
        what = _indented(lines, at, since)
    return (what, at) if what else None


def _character(lines: Sequence[str], place: Place) -> str:
    line = lines[place.line] if place.line < len(lines) else ""
    return line[place.column : place.column + 1]


def _at_character(lines: Sequence[str], at: Place) -> str | None:
    """Return advice on a character that YAML does not allow there, or that has another meaning."""
    line = lines[at.line] if at.line < len(lines) else ""
    found = re.match(r"[^\s,\[\]{}]+", line[at.column :])
    word = found[0] if found else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "YAML takes no tabs: indent with spaces"
    if word.startswith("@"):
        return f"put the name of a group in quotes: '{word}'"
    if word.startswith(("%", "`")):
        return f"put in quotes what begins with {word[0]}: '{word}'"
    if line[: at.column].endswith("*") or word.startswith("*"):
        return (
            "there are no patterns, and YAML takes * for an alias: name the calls, or a group such "
            "as '@basic-io'; default_action answers all that are not named"
        )
    if line.startswith("---"):
        return "a file holds one policy: remove what follows this line, and the line"
    return None


def _unclosed(lines: Sequence[str], at: Place, since: Place | None) -> str | None:
    """Return advice on a bracket or quote that is not closed; None if all are."""
    opening = _character(lines, since) if since else ""
    if opening == "-" and since == at:
        before = "\n".join(lines[: at.line])
        last = max(before.rfind("["), before.rfind("{"))
        since = Place(before.count("\n", 0, last), last - before.rfind("\n", 0, last) - 1)
        opening = before[last] if last >= 0 else ""
    if since and opening in {"[", "{"}:
        closing = {"[": "]", "{": "}"}[opening]
        return f"no {closing} for the {opening} on line {since.line + 1}, or no comma before this"
    if since and opening in {'"', "'"} and at.line >= len(lines):
        return f"no second {opening} for the one on line {since.line + 1}"
    return None


def _colon(lines: Sequence[str], at: Place) -> str | None:
    """Return advice on a key that begins inside the value of another key."""
    line = lines[at.line]
    if ": " in line[: at.column]:
        return "put text in quotes that has a colon and a space in it"
    before = next((n for n in range(at.line - 1, -1, -1) if _is_content(lines[n])), None)
    if before is None:
        return None
    key = lines[before].lstrip(" -")
    if joined := re.match(r"(\w+):(?=\S)", key):
        return f"write a space behind '{joined[0]}' on line {before + 1}"
    if lacking := re.fullmatch(r"(\w+)\s+(\S+)\s*", key):
        return f"write a colon on line {before + 1}: '{lacking[1]}: {lacking[2]}'"
    return _unlike(lines, at.line, before)


def _indented(lines: Sequence[str], at: Place, since: Place) -> str | None:
    """Return advice on a line that is outside of the construct that it should be part of."""
    if lines[since.line].strip().isidentifier():
        return f"write a colon on line {since.line + 1}, and a value"
    if at.line >= len(lines) or not lines[at.line].strip():
        return None
    before = next((n for n in range(at.line - 1, since.line - 1, -1) if _is_content(lines[n])), -1)
    return _unlike(lines, at.line, before) if before >= 0 else None


def _unlike(lines: Sequence[str], line: int, before: int) -> str | None:
    """Return advice on two lines that should begin in the same column; None if they do."""
    own, other = lines[line], lines[before]
    if own.lstrip().startswith("- ") and other.lstrip().startswith("- "):
        what, columns = "items of one list", [len(one) - len(one.lstrip()) for one in (own, other)]
    else:
        what, columns = "keys of one mapping", [_key_column(one) for one in (own, other)]
    if columns[0] == columns[1]:
        return None
    return (
        f"wrong indentation: this begins in column {columns[0] + 1}, and line {before + 1} in "
        f"column {columns[1] + 1}; {what} begin in one column"
    )


def _key_column(line: str) -> int:
    """Return the column, from 0, after spaces and the dashes of list items."""
    return len(line) - len(line.lstrip(" -"))


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")
