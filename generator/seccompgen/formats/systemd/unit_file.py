"""Unit files and drop-ins of systemd as assignments, every word with its position."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seccompgen.core.errors import Diagnostic, Position
from seccompgen.core.problems import Problem

SECTIONS = frozenset({"Service", "Socket", "Mount", "Swap"})
"""The sections with settings for the processes of a unit: systemd.exec(5)."""

_SECTION = re.compile(r"\[([^\]\[]+)\][ \t]*")
_KEY = re.compile(r"[ \t]*([A-Za-z0-9_-]+)[ \t]*=")


@dataclass(frozen=True, slots=True)
class UnitWord:
    """A word of a value, and its position."""

    text: str
    position: Position


@dataclass(frozen=True, slots=True)
class Assignment:
    """A setting of a unit: ``position`` is that of its key; without words it resets the setting.

    ``comments`` are those above it and between its lines.
    """

    key: str
    words: tuple[UnitWord, ...]
    position: Position
    comments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.key}={' '.join(word.text for word in self.words)}"


def read_assignments(text: str, file: str) -> tuple[list[Assignment], list[Diagnostic]]:
    """Return the assignments of a unit's process settings, and the file's errors.

    A line that ends in a backslash continues in the next line that is not a comment. Comment lines
    are always skipped, empty lines between assignments.
    """
    found: list[Assignment] = []
    faults: list[Diagnostic] = []
    section: str | None = None
    comments: list[str] = []
    open_key: tuple[str, Position, list[UnitWord]] | None = None
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        stripped = line.strip()
        if stripped.startswith(("#", ";")):
            comments.append(stripped[1:].strip())
            continue
        if not stripped and open_key is None:
            comments.clear()
            continue
        goes_on = line.endswith("\\")
        body = line[:-1] if goes_on else line
        start = 0
        if open_key is None:
            header = _SECTION.fullmatch(body.strip())
            if header:
                section = header[1]
                comments.clear()
                continue
            key = _KEY.match(body)
            where = Position(file, number, len(body) - len(body.lstrip()) + 1)
            if key is None:
                said = "neither a section such as [Service] nor a setting such as Key=value"
                faults.append(Diagnostic(said, where, Problem.MALFORMED_FILE))
                # Its continuation lines belong to it.
                open_key = ("", where, []) if goes_on else None
                continue
            if section is None:
                said = f"{key[1]}= comes before any section; begin with [Service]"
                faults.append(Diagnostic(said, where, Problem.MALFORMED_FILE))
            open_key, start = (key[1], where, []), key.end()
        open_key[2].extend(
            UnitWord(one[0], Position(file, number, one.start() + 1))
            for one in re.compile(r"[^ \t\n\r]+").finditer(body, start)
        )
        if not goes_on:
            found += _closed(open_key, section, comments)
            open_key = None
    if open_key is not None:
        found += _closed(open_key, section, comments)
    return found, faults


def _closed(
    open_key: tuple[str, Position, list[UnitWord]], section: str | None, comments: list[str]
) -> tuple[Assignment, ...]:
    key, where, words = open_key
    above = tuple(comments)
    comments.clear()
    if not key or section not in SECTIONS:
        return ()
    return (Assignment(key, tuple(words), where, above),)
