"""Comments in a policy that silence findings: ``# lint: ignore[open-twin]: the reason``.

Such a comment is for its own line, or if it has one to itself for the next line that is no comment.
Where one rule permits what another refuses, it may be at either.
A comment without a reason silences nothing, and is a finding; one that silences nothing is a note.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.errors import Position, did_you_mean
from seccompgen.core.problems import Problem
from seccompgen.lint.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_COMMENT = re.compile(r"#\s*lint:\s*ignore\s*(?:\[(?P<codes>[^\]\n]*)\])?(?P<rest>[^\n]*)")
_REASON = re.compile(r"\s*:\s*\S")
_CODES = {one.value for one in Problem}


@dataclass(frozen=True, slots=True)
class Silence:
    """A comment: ``codes`` are silenced on ``line`` of its file."""

    position: Position
    line: int
    codes: tuple[str, ...]
    has_reason: bool


@dataclass(frozen=True, slots=True)
class Silenced:
    """The findings that are left, with those about the comments, and those that were silenced."""

    findings: tuple[Finding, ...]
    silenced: tuple[Finding, ...]


def silences(file: str, text: str) -> Iterator[Silence]:
    """Yield the comments of a policy file."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        match = _COMMENT.search(line)
        if match is None:
            continue
        target = number
        if not line[: match.start()].strip():
            after = range(number + 1, len(lines) + 1)
            target = next((n for n in after if _is_content(lines[n - 1])), number)
        codes = tuple(code.strip() for code in (match["codes"] or "").split(",") if code.strip())
        reason = _REASON.match(match["rest"]) is not None
        yield Silence(Position(file, number, match.start() + 1), target, codes, reason)


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def silence(
    findings: Sequence[Finding], texts: Mapping[str, str], unused_in: str | None = None
) -> Silenced:
    """Return what is left of ``findings`` once the comments in ``texts``, by file, are heeded.

    Only of the file ``unused_in`` unused comments are told: those of files that it includes can be
    for what other policies make of them.
    """
    comments = [one for file, text in texts.items() for one in silences(file, text)]
    told: list[Finding] = []
    kept = list(findings)
    gone: list[Finding] = []
    for comment in comments:
        wrong = list(_wrong(comment))
        told += wrong
        if not comment.has_reason or not comment.codes:
            continue
        mine = [one for one in kept if _covers(comment, one)]
        gone += mine
        kept = [one for one in kept if one not in mine]
        used = {one.kind.value for one in mine}
        told += [
            Finding(
                Problem.UNUSED_IGNORE,
                Severity.NOTE,
                f"there is no {code} here to ignore",
                "remove it",
                position=comment.position,
            )
            for code in comment.codes
            if code in _CODES and code not in used and comment.position.file == unused_in
        ]
    return Silenced((*kept, *told), tuple(gone))


def _covers(comment: Silence, finding: Finding) -> bool:
    places = (one for one in (finding.position, finding.permitting) if one)
    return finding.kind.value in comment.codes and any(
        (one.file, one.line) == (comment.position.file, comment.line) for one in places
    )


def _wrong(comment: Silence) -> Iterator[Finding]:
    """Yield what is wrong with the comment itself."""
    for code in comment.codes:
        if code not in _CODES:
            yield Finding(
                Problem.UNKNOWN_IGNORE,
                Severity.WARNING,
                f"unknown code {code!r}{did_you_mean(code, _CODES)}",
                "write the code that the finding has",
                position=comment.position,
            )
    if not comment.codes or not comment.has_reason:
        yield Finding(
            Problem.UNFOUNDED_IGNORE,
            Severity.WARNING,
            "this comment ignores nothing: it needs a code and a reason",
            "write # lint: ignore[code]: why it is no fault here",
            position=comment.position,
        )
