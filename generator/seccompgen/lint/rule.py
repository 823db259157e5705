"""A rule of lint, as one file declares it, and the names that most of these files import."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.problems import RuleCode
from seccompgen.lint.bypass import Bypass
from seccompgen.lint.call_patterns import (
    NOT_ZERO,
    OWNER_CALLS,
    CallPattern,
    PatternCondition,
    equal,
    has,
    same,
)
from seccompgen.lint.finding import Finding, Severity, Witness
from seccompgen.lint.view import FilterView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from seccompgen.core.errors import Position
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.lint.silence import IgnoreComment
    from seccompgen.lint.upgrade import Upgrade

__all__ = [
    "NOT_ZERO",
    "OWNER_CALLS",
    "Bypass",
    "CallPattern",
    "FilterView",
    "Finding",
    "Findings",
    "LintRule",
    "PatternCondition",
    "Severity",
    "Witness",
    "equal",
    "has",
    "same",
]
Findings: TypeAlias = Iterator[Finding]


@dataclass(frozen=True)
class LintRule:
    """A rule: its code, the highest severity of its findings, and its checks.

    A check gets the filter through one ABI, the whole program through all ABIs (its own, and others
    that the kernel serves), the policy, an upgrade, or a comment. With ``note_fix``, notes with
    this code that reading the policy gave become findings with that fix. ``bypasses`` are calls
    that do the same. ``powers`` are the kinds of `kernel/powers.toml` whose calls this rule
    compares, or single lines by their first call; findings on these have ``power_severity``.
    """

    code: str
    severity: Severity
    check: Callable[[FilterView], Iterable[Finding]] | None = None
    check_program: (
        Callable[
            [Sequence[FilterView], Sequence[FilterView]],
            Iterable[tuple[FilterView, Iterable[Finding]]],
        ]
        | None
    ) = None
    check_policy: Callable[[ResolvedPolicy], Iterable[Finding]] | None = None
    check_upgrade: Callable[[FilterView, Upgrade, Tables], Iterable[Finding]] | None = None
    check_comment: Callable[[IgnoreComment], Iterable[Finding]] | None = None
    note_fix: str = ""
    bypasses: tuple[Bypass, ...] = ()
    powers: tuple[str, ...] = ()
    power_severity: Severity | None = None

    def finding(
        self,
        message: str,
        fix: str,
        severity: Severity | None = None,
        *,
        view: FilterView | None = None,
        witness: Witness | None = None,
        beside: Witness | None = None,
        position: Position | None = None,
        instruction: int | None = None,
    ) -> Finding:
        """Return a finding of this rule; ``view`` gives its program and its ABI."""
        return Finding(
            RuleCode(self.code),
            severity or self.severity,
            message,
            fix,
            (view.abi.name,) if view else (),
            position,
            witness,
            beside,
            instruction,
            (view.program.name,) if view else (),
        )
