"""Calls that every program needs, as far as a filter permits them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.sets import EVERYTHING

if TYPE_CHECKING:
    from seccompgen.lint.finding import Finding, Severity
    from seccompgen.lint.rule import LintRule
    from seccompgen.lint.view import FilterView


def is_possible(view: FilterView, name: str) -> bool:
    """Return True if some call of that name is not refused, or if that is undecided."""
    if not view.has(name):
        return False
    answer = view.answer(name)
    return answer is None or len(answer.refused) < len(answer.parts)


def lacking(
    rule: LintRule, view: FilterView, name: str, text: str, severity: Severity | None = None
) -> Finding:
    """Return the finding that a call is refused."""
    witness = view.shown(name, EVERYTHING)
    return rule.finding(text, f"permit {name}", severity, view=view, witness=witness)
