"""Read system call tables (``*.tbl``): one call per line, in fields separated by blanks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seccompgen.core.errors import Diagnostic, OutsideError, Position

_FIELD = re.compile(r"[^ \t]+")
_NUMBER = re.compile(r"[0-9]{1,6}")
_ABI = re.compile(r"[a-z0-9_]+")
_NAME = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Row:
    """A call: its number without a base, and the column that names the ABIs that have it.

    ``entry`` is the function that serves it, ``compat`` the function for 32-bit ABIs on a 64-bit
    kernel; empty if the row has none.
    """

    nr: int
    abi: str
    name: str
    position: Position
    entry: str = ""
    compat: str = ""


def read_rows(path: str, text: str) -> tuple[Row, ...]:
    """Return every row of a table, in its order.

    A row is ``number abi name [entry point [compat entry point [noreturn]]]``; the numbers of user
    space do not depend on entry points, so a row whose entry point is ``sys_ni_syscall`` counts
    like any other. ``#`` begins a comment. Raises OutsideError, with a diagnostic for every line
    that is no row.
    """
    rows: list[Row] = []
    errors: list[Diagnostic] = []
    for line, content in enumerate(text.split("\n"), 1):
        fields = [
            (match[0], Position(path, line, match.start() + 1))
            for match in _FIELD.finditer(content.partition("#")[0].rstrip("\r"))
        ]
        if not fields:
            continue
        problem = _problem(fields)
        if problem:
            errors.append(problem)
        else:
            (nr, position), (abi, _), (name, _) = fields[:3]
            entries = [text.removeprefix("-") for text, _ in fields[3:5]]
            rows.append(Row(int(nr), abi, name, position, *entries))
    if errors:
        raise OutsideError(*errors)
    return tuple(rows)


def _problem(fields: list[tuple[str, Position]]) -> Diagnostic | None:
    """Return why ``fields`` are no row; None if they are one."""
    expected = ((_NUMBER, "a number"), (_ABI, "an ABI"), (_NAME, "the name of a system call"))
    for (pattern, meaning), (text, position) in zip(expected, fields, strict=False):
        if not pattern.fullmatch(text):
            return Diagnostic(f"{text[:40]!r} stands where {meaning} should", position)
    if len(fields) < len(expected):
        text, position = fields[-1]
        end = Position(position.file, position.line, position.column + len(text))
        return Diagnostic(f"the row ends before {expected[len(fields)][1]}", end)
    return None
