"""Findings that reading a policy has told of already, as notes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.problems import Problem
from seccompgen.lint.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.errors import Diagnostic


class NotedKind(NamedTuple):
    """The weight of a kind of notes, and what to do about it."""

    severity: Severity
    fix: str


NOTED = {
    Problem.VALUE_TOO_WIDE: NotedKind(Severity.WARNING, "compare with a value that fits"),
    Problem.MASK_NEVER_MATCHES: NotedKind(
        Severity.WARNING, "take the bits of the value into the mask"
    ),
    Problem.ALWAYS_TRUE: NotedKind(
        Severity.WARNING, "drop the comparison, or compare with what is meant"
    ),
    Problem.HIDDEN_CALLS: NotedKind(Severity.WARNING, "move the group before what allows them"),
    Problem.REPEATED_RULE: NotedKind(Severity.NOTE, "drop it"),
}
"""The kinds of notes that are findings."""
TOLD_BY_LINT = {*NOTED, Problem.NO_SUCH_ARGUMENT}
"""The kinds of notes that need not be told beside findings.

NO_SUCH_ARGUMENT is one that `arguments` finds where it decides something, with a call.
"""


def noted(notes: Iterable[Diagnostic]) -> Iterator[Finding]:
    """Yield the notes that are findings, as such."""
    for note in notes:
        kind = NOTED.get(note.kind) if note.kind else None
        if kind and note.kind:
            yield Finding(note.kind, kind.severity, note.message, kind.fix, position=note.position)
