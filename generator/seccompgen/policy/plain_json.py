"""Read plain JSON with its positions, in a tenth of the time that a reader of YAML takes.

Plain is JSON of ASCII alone, whose numbers are integers and whose keys differ: YAML says the same
of it. Of all else this reader says nothing, so that no file means more or less than as YAML.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    Path: TypeAlias = tuple[str | int, ...]

_TOKEN = re.compile(
    r"""[ \t\n]*(?:(?P<mark>[][{},:])|(?P<text>"(?:[ !#-\[\]-~]|\\["\\bfnrt])*")"""
    r"""|(?P<number>-?(?:0|[1-9][0-9]{0,29}))(?![\w.+-])|(?P<word>true|false|null)\b)"""
)
_WORDS = {"true": True, "false": False, "null": None}
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {'"': '"', "\\": "\\", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LONGEST_KEY = 1000
"""YAML takes no key that is longer than 1024 characters, quotes and all."""


class Positioned(NamedTuple):
    """Data, and where each key and each value of it stands."""

    data: Any
    keys: dict[Path, Position]
    values: dict[Path, Position]


_TRAILING = re.compile(r'"(?:[^"\\]|\\.)*"|(,)\s*[\]}]')


def require_json(text: str, file: str) -> None:
    """Raise InputError for what is YAML and no JSON, which JSON's own readers refuse.

    ``text`` was read already, so that it is not nested deeper than may be.
    """
    try:
        json.loads(text)
    except ValueError as error:
        comma = next((found.start(1) for found in _TRAILING.finditer(text) if found[1]), None)
        index = getattr(error, "pos", 0) if comma is None else comma
        what = f"no JSON, which this format is: {getattr(error, 'msg', error)}"
        if comma is not None:
            what = "JSON has no comma before a closing bracket: remove it"
        where = Position.after(file, text[:index])
        raise InputError(Diagnostic(what, where, Problem.MALFORMED_FILE)) from None


def read_plain_json(text: str, file: str, most_nodes: int, deepest: int) -> Positioned | None:
    """Return what ``text`` says; None if it is not plain, or has more nodes than it may have."""
    if not text.isascii() or text.lstrip(" \n")[:1] not in {"{", "["}:
        return None
    reader = _JsonReader(text, file, most_nodes, deepest)
    try:
        data = reader.value(())
    except _NotPlainError:
        return None
    rest = text[reader.at :].strip(" \n")  # YAML takes no tab there
    return None if rest else Positioned(data, reader.keys, reader.values)


class _NotPlainError(Exception):
    """The text is no plain JSON."""


class _JsonReader:
    def __init__(self, text: str, file: str, most_nodes: int, deepest: int) -> None:
        self.at = 0
        self.keys: dict[Path, Position] = {}
        self.values: dict[Path, Position] = {}
        self._text = text
        self._file = file
        self._left = most_nodes
        self._deepest = deepest
        self._lines = [0, *(found.end() for found in re.finditer("\n", text))]

    def value(self, path: Path) -> Any:
        """Return the value that is next, and remember it as the one at ``path``."""
        return self._value(self._token(), path)

    def _value(self, token: re.Match[str], path: Path) -> Any:
        kind = token.lastgroup
        self.values[path] = self._counted(token)
        if kind == "text":
            return _string(token)
        if kind == "number":
            return int(token["number"])
        if kind == "word":
            return _WORDS[token["word"]]
        if len(path) >= self._deepest:
            raise _NotPlainError
        if token["mark"] == "[":
            return [self._value(one, (*path, i)) for i, one in enumerate(self._parts("]"))]
        if token["mark"] == "{":
            return self._mapping(path)
        raise _NotPlainError

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for token in self._parts("}"):
            key = _string(token)
            # YAML has the colon on the line of its key.
            if key in found or len(key) > _LONGEST_KEY or self._text[self.at : self.at + 1] != ":":
                raise _NotPlainError
            self.at += 1
            self.keys[*path, key] = self._counted(token)
            found[key] = self.value((*path, key))
        return found

    def _parts(self, end: str) -> Iterator[re.Match[str]]:
        """Yield the first token of each part up to ``end``; whoever asks reads the rest of it."""
        token = self._token()
        if token["mark"] == end:
            return
        while True:
            yield token
            mark = self._token()["mark"]
            if mark == end:
                return
            if mark != ",":
                raise _NotPlainError
            token = self._token()

    def _token(self) -> re.Match[str]:
        token = _TOKEN.match(self._text, self.at)
        if token is None:
            raise _NotPlainError
        self.at = token.end()
        return token

    def _counted(self, token: re.Match[str]) -> Position:
        """Count a node, and return where it stands."""
        self._left -= 1
        if self._left < 0:
            raise _NotPlainError
        start = token.start(token.lastindex or 0)
        line = bisect_right(self._lines, start)
        return Position(self._file, line, start - self._lines[line - 1] + 1)


def _string(token: re.Match[str]) -> str:
    if token.lastgroup != "text":
        raise _NotPlainError
    return _ESCAPE.sub(lambda found: _ESCAPES[found[1]], token["text"][1:-1])
