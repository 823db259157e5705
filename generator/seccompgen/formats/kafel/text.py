"""Split kafel's language into words with positions: numbers, names, signs; follow includes."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import U64
from seccompgen.core.problems import Problem
from seccompgen.formats.source_comments import SourceComment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from seccompgen.formats.draft import Draft

_MOST_INCLUDES = 16
"""The depth of includes that kafel allows (MAX_INCLUDE_DEPTH)."""
_MOST_FILES = 256
_MOST_WORDS = 200_000

_WORD = re.compile(
    # A star consumes the next character unless that is a slash: "**/" ends no comment.
    r"(?P<blank>[ \t\r\n]+|//[^\n]*|/\*(?:[^*]|\*[^/])*\*/)"
    r"|(?P<include>\#include\b(?P<files>[^\n;]*))"
    r"|(?P<number>0x[0-9a-fA-F]+|0b[01]+|0[0-9]+|0|-?[1-9][0-9]*)"
    r"|(?P<name>[A-Za-z][A-Za-z0-9_]*)"
    r"|(?P<sign>==|!=|<=|>=|\|\||&&|[<>|&!#(){}\[\],;])",
    re.DOTALL | re.ASCII,
)
_INCLUDED = re.compile(r'[ \t]+("[^"\n]+")')


@dataclass(frozen=True, slots=True)
class KafelWord:
    """A word of a policy; ``kind`` is ``number``, ``name``, ``sign`` or ``end``."""

    kind: str
    text: str
    at: Position
    number: int = 0


@dataclass(frozen=True)
class KafelSource:
    """The text of a policy in ``file``.

    If the text is only part of the file, ``origins`` has the index in the file of each character,
    and ``whole`` is the text of the file.
    """

    file: str
    text: str
    whole: str = ""
    origins: Sequence[int] = ()
    _starts: list[int] = field(default_factory=list)

    def at(self, index: int) -> Position:
        """Return the position of a character."""
        whole = self.whole if self.origins else self.text
        if self.origins:
            index = self.origins[min(index, len(self.origins) - 1)]
        if not self._starts:
            self._starts.extend([0, *(found.end() for found in re.finditer("\n", whole))])
        line = bisect_right(self._starts, index)
        return Position(self.file, line, index - self._starts[line - 1] + 1)


class KafelLexer:
    """Reads the words of a policy and of the files that it includes; ``errors`` collects errors.

    The files that were read are added to ``draft``.
    """

    def __init__(self, draft: Draft, directory: Path) -> None:
        self.errors: list[Diagnostic] = []
        self._draft = draft
        self._directory = directory
        self._words: list[KafelWord] = []
        self._files = 0

    def read(self, source: KafelSource) -> list[KafelWord]:
        """Return all words, followed by an empty one of kind ``end``."""
        self._read(source, 0)
        return [*self._words, KafelWord("end", "", source.at(max(len(source.text) - 1, 0)))]

    def _fail(self, text: str, at: Position, kind: Problem = Problem.MALFORMED_FILE) -> None:
        self.errors.append(Diagnostic(text, at, kind))

    def _read(self, source: KafelSource, depth: int) -> None:
        at, text = 0, source.text
        while at < len(text):
            found = _WORD.match(text, at)
            if not found:
                what = "a comment without an end" if text.startswith("/*", at) else None
                self._fail(what or f"{text[at]!r} is no part of kafel's language", source.at(at))
                if what:
                    return
                at += 1
                continue
            kind = found.lastgroup or ""
            if len(self._words) >= _MOST_WORDS:
                where = source.at(at)
                raise InputError(Diagnostic("too many words", where, Problem.TOO_LARGE))
            if found["include"] is not None:
                self._include(source, found, depth)
            elif kind == "number":
                self._words.append(self._number(found[0], source.at(at)))
            elif kind == "blank":
                self._draft.comments += _comments(found[0], source, at)
            else:
                self._words.append(KafelWord(kind, found[0], source.at(at)))
            at = found.end()

    def _number(self, text: str, at: Position) -> KafelWord:
        """Return a number; a negative one as 64 bits in two's complement."""
        octal = text.startswith("0") and text[1:].isdecimal()
        base = 16 if text[:2] == "0x" else 2 if text[:2] == "0b" else 8 if octal else 10
        value = 0
        try:
            value = int(text, base)
        except ValueError:
            self._fail(f"{text[:40]} is no octal number, as what begins with 0 is", at)
        if not -(1 << 63) <= value <= U64:
            self._fail(f"{text[:40]} does not fit into 64 bits", at, Problem.WRONG_VALUE)
        return KafelWord("number", text, at, value & U64)

    def _include(self, source: KafelSource, found: re.Match[str], depth: int) -> None:
        at = source.at(found.start())
        files = found["files"]
        names = [one[1][1:-1] for one in _INCLUDED.finditer(files)]
        if not names or _INCLUDED.sub("", files).strip():
            self._fail('write #include "file"', at)
            return
        for name in names:
            self._files += 1
            if depth >= _MOST_INCLUDES or self._files > _MOST_FILES:
                text = f"includes deeper than {_MOST_INCLUDES}, as in a circle, or very many"
                raise InputError(Diagnostic(text, at, Problem.DEEP_INCLUDE))
            path = self._directory / name
            if not str(path).isprintable():
                self._fail(f"unprintable characters in {name!r}", at, Problem.UNPRINTABLE_NAME)
                continue
            try:
                text = self._draft.read(path)
            except OSError as error:
                reason = f"cannot read {path}: {error.strerror}"
                self._fail(reason, at, Problem.UNREADABLE_FILE)
                continue
            except InputError as error:
                self.errors += error.diagnostics
                continue
            self._read(KafelSource(str(path), text), depth + 1)


def _comments(blank: str, source: KafelSource, start: int) -> Iterator[SourceComment]:
    """Yield the comments and empty lines of a blank that begins at an index of ``source``."""
    lines, at = blank.split("\n"), start
    inside = blank.startswith("/*")
    for number, line in enumerate(lines):
        text = line.strip()
        if text:
            text = text.removeprefix("//").removeprefix("/*").removesuffix("*/")
            text = (text.lstrip().removeprefix("*") if inside else text).strip()
            begins = source.text[source.text.rfind("\n", 0, start) + 1 : start].strip()
            yield SourceComment(source.at(at), text, trailing=bool(begins) and not number)
        elif 0 < number < len(lines) - 1:
            yield SourceComment(source.at(at), None)
        at += len(line) + 1


class KafelCursor:
    """A cursor over words, the last of which is of kind ``end``."""

    def __init__(self, words: Sequence[KafelWord]) -> None:
        self._words = words
        self._next = 0

    @property
    def _word(self) -> KafelWord:
        return self._words[self._next]

    def _take(self, *texts: str) -> KafelWord | None:
        """Return the next word and advance if it is one of ``texts``; otherwise return None."""
        word = self._word
        if word.kind in {"name", "sign"} and word.text in texts:
            self._next += 1
            return word
        return None
