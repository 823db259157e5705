"""Read assignments from the small makefiles that select an architecture's calls."""

from __future__ import annotations

import re

from seccompgen.core.errors import Diagnostic, OutsideError, Position

_ASSIGNMENT = re.compile(r"([A-Za-z0-9_.-]+)\s*(\+=|:=|::=|\?=|=)\s*(.*)", re.ASCII)
_CONDITIONAL = re.compile(r"\s*(ifeq|ifneq|ifdef|ifndef|else|endif)\b")


def read_assignments(path: str, text: str, wanted: re.Pattern[str]) -> dict[str, tuple[str, ...]]:
    """Return the words assigned to each variable whose name matches ``wanted``.

    ``+=`` appends to the earlier value, every other operator replaces it; commas count as blanks.
    Raises OutsideError if such an assignment is inside a conditional, because that depends on the
    kernel configuration.
    """
    values: dict[str, tuple[str, ...]] = {}
    errors: list[Diagnostic] = []
    depth = 0
    joined = re.sub(r"\\\r?\n", lambda match: " " + "\0" * match[0].count("\n"), text)
    line = 0
    for content in joined.split("\n"):
        line += 1
        start = line
        line += content.count("\0")
        statement = content.replace("\0", "").partition("#")[0].rstrip()
        conditional = _CONDITIONAL.match(statement)
        if conditional:
            depth += {"else": 0, "endif": -1}.get(conditional[1], 1)
            continue
        match = _ASSIGNMENT.fullmatch(statement.strip())
        if statement.startswith("\t") or not match or not wanted.fullmatch(match[1]):
            continue
        if depth > 0:
            message = f"{match[1]} depends on a condition, which seccompgen cannot decide"
            errors.append(Diagnostic(message, Position(path, start, 1)))
        words = tuple(match[3].replace(",", " ").split())
        values[match[1]] = (values.get(match[1], ()) if match[2] == "+=" else ()) + words
    if errors:
        raise OutsideError(*errors)
    return values
