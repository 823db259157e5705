"""Comments in a policy that silence findings: ``# lint: ignore[open-twin]: the reason``.

A comment is for its own line or, if it is alone on its line, for the next line of content. If one
rule permits what another refuses, the comment may be at either. A comment without a reason silences
nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seccompgen.core.errors import Position
from seccompgen.lint.registry import rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.lint.finding import Finding

_COMMENT = re.compile(r"#\s*lint:\s*ignore\s*(?:\[(?P<codes>[^\]\n]*)\])?(?P<rest>[^\n]*)")
_REASON = re.compile(r"\s*:\s*\S")


@dataclass(frozen=True, slots=True)
class IgnoreComment:
    """A comment that silences findings with ``codes`` on ``line``; some may be ``unused``."""

    position: Position
    line: int
    codes: tuple[str, ...]
    has_reason: bool
    unused: tuple[str, ...] = ()

    @property
    def is_founded(self) -> bool:
        """True if the comment has codes and a reason."""
        return bool(self.codes) and self.has_reason

    def covers(self, finding: Finding) -> bool:
        """Return True if the comment silences a finding."""
        positions = (one for one in (finding.position, finding.permitting) if one)
        return finding.kind.value in self.codes and any(
            (one.file, one.line) == (self.position.file, self.line) for one in positions
        )


@dataclass(frozen=True, slots=True)
class SilencedFindings:
    """The findings that are left, some of them about comments, and those that comments silenced."""

    findings: tuple[Finding, ...]
    silenced: tuple[Finding, ...]


def ignore_comments(file: str, text: str) -> Iterator[IgnoreComment]:
    """Yield the silencing comments of a policy file."""
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
        yield IgnoreComment(Position(file, number, match.start() + 1), target, codes, reason)


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def silence(
    findings: Sequence[Finding], texts: Mapping[str, str], unused_in: str | None = None
) -> SilencedFindings:
    """Apply the comments in ``texts``, by file, to findings.

    Unused comments are reported only for the file ``unused_in``: other policies may need those of a
    file that it includes.
    """
    comments = [one for file, text in texts.items() for one in ignore_comments(file, text)]
    about: list[Finding] = []
    left = list(findings)
    silenced: list[Finding] = []
    for comment in comments:
        mine = [one for one in left if comment.covers(one)] if comment.is_founded else []
        silenced += mine
        left = [one for one in left if one not in mine]
        used = {one.kind.value for one in mine}
        if comment.is_founded and comment.position.file == unused_in:
            unused = tuple(code for code in comment.codes if code not in used)
            comment = replace(comment, unused=unused)  # noqa: PLW2901 - the same, examined
        for rule in rules("comments"):
            about += rule.check_comment(comment) if rule.check_comment else ()
    return SilencedFindings((*left, *about), tuple(silenced))
