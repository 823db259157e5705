"""Errors as values: position, message and exit code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from seccompgen.core.styled import Style, Styled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from seccompgen.core.problems import Problem, RuleCode

_T = TypeVar("_T")
_R = TypeVar("_R")
EXIT_NO = 1
"""The answer is no: filters differ, files are stale, a proof failed, or lint found something."""
EXIT_INPUT = 2
"""The input is wrong."""
EXIT_OUTSIDE = 3
"""Something outside failed: the network, the file system, the kernel."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file the user wrote; ``line`` and ``column`` count from 1.

    For a policy that a program built, ``file`` is the policy's name, ``path`` leads to the value by
    attributes and indices, such as ``("syscalls", 2, "names", 0)``, and ``column`` counts in the
    text of that value.
    """

    file: str
    line: int = 0
    column: int = 0
    path: tuple[str | int, ...] = ()

    @property
    def place(self) -> str:
        """The path as a Python expression, such as ``syscalls[2].names[0]``; empty for a file."""
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return "".join(parts).removeprefix(".")

    @classmethod
    def after(cls, file: str, text: str) -> Position:
        """Return the position just after ``text``, which is the beginning of ``file``."""
        return cls(file, text.count("\n") + 1, len(text) - text.rfind("\n"))

    def __str__(self) -> str:
        """Render as ``file:line:column``, without the parts that are unknown (0)."""
        if self.path:
            column = f", column {self.column}" if self.column else ""
            return f"{self.file}: {self.place}{column}"
        parts = [self.file]
        if self.line:
            parts.append(str(self.line))
            if self.column:
                parts.append(str(self.column))
        return ":".join(parts)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A message to the user, and its position; ``position`` is None if it has none.

    Programs distinguish diagnostics by ``kind``, never by the message.
    """

    message: str
    position: Position | None = None
    kind: Problem | RuleCode | None = None

    def __str__(self) -> str:
        """Render as one line, ``file:line:column: message``."""
        return str(self.line())

    def line(self, severity: tuple[str, Style] | None = None) -> Styled:
        """Return the diagnostic as one line, with ``severity`` between position and message."""
        text = " ".join(self.message.split())
        word: tuple[tuple[str, Style] | str, ...] = (severity, ": ") if severity else ()
        place = ((str(self.position), Style.STRONG), ": ") if self.position else ()
        return Styled(*place, *word, text)


class SeccompgenError(Exception):
    """An error that ends a command with diagnostics and ``exit_code``, without a traceback.

    ``kind`` applies to those diagnostics that have no kind of their own.
    """

    exit_code = EXIT_INPUT

    def __init__(self, *diagnostics: Diagnostic | str, kind: Problem | None = None) -> None:
        found = (Diagnostic(item) if isinstance(item, str) else item for item in diagnostics)
        self.diagnostics = tuple(one if one.kind else replace(one, kind=kind) for one in found)
        super().__init__("\n".join(map(str, self.diagnostics)))

    def __reduce__(self) -> tuple[type[SeccompgenError], tuple[Diagnostic, ...]]:
        """Pickle the diagnostics: by default, ``__init__`` would get the text alone."""
        return type(self), self.diagnostics


class InputError(SeccompgenError):
    """A file or an argument that the user gave is wrong (exit code 2)."""


def for_each(function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """Return ``function(item)`` for each item; raise one InputError with the diagnostics of all."""
    found: list[_R] = []
    problems: dict[Diagnostic, None] = {}
    for item in items:
        try:
            found.append(function(item))
        except InputError as error:
            problems |= dict.fromkeys(error.diagnostics)
    if problems:
        raise InputError(*problems)
    return found


class AnswerNo(SeccompgenError):  # noqa: N818 - a "no" is an answer, not an error
    """The question was understood and its answer is no (exit code 1)."""

    exit_code = EXIT_NO


class OutsideError(SeccompgenError):
    """Network, file system or kernel failed us (exit code 3)."""

    exit_code = EXIT_OUTSIDE


class UndecidedError(SeccompgenError):
    """A question could not be answered with yes or no (exit code 3)."""

    exit_code = EXIT_OUTSIDE


def cannot(what: str, path: object, error: OSError) -> str:
    """Return a message such as ``cannot write PATH: No space left on device``.

    ``path`` is the path that the user knows. The error itself may name no path (for a descriptor),
    or that of a temporary file of ours.
    """
    return f"cannot {what} {path}: {error.strerror or error}"


MOST_HINTS = 100
"""The most errors of a file that get a suggestion; each takes a millisecond to find."""


def did_you_mean(word: str, known: Iterable[str], what: str = "") -> str:
    """Return `` (did you mean 'x'?)`` for the nearest of ``known``, or an empty string.

    ``what`` goes before the name, such as ``the stock policy ``.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only where something is wrong

    near = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f" (did you mean {what}{near[0]!r}?)" if near else ""


def known_name(what: str, text: object, names: Iterable[str]) -> str:
    """Return the one of ``names`` that equals ``text``, ignoring case; else raise ValueError."""
    known = {name.lower(): name for name in names}
    if isinstance(text, str) and text.strip().lower() in known:
        return known[text.strip().lower()]
    hint = did_you_mean(str(text), known.values()) or f"; known: {', '.join(known.values())}"
    raise ValueError(f"unknown {what} {text!r}{hint}")
