"""Locate findings: at the rule of a policy that decides, or at the instruction of a program."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.verify import Code, Meaning

if TYPE_CHECKING:
    from seccompgen.core.errors import Position
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.lint.finding import Finding
    from seccompgen.lint.view import FilterView
    from seccompgen.verify.call import Call


def located(finding: Finding, view: FilterView) -> Finding:
    """Return the finding with its position, unless it has one.

    The position is that of the answer to the refused call, or else to the witness. In a policy it
    is also the witness's rule if no rule is for the refused call.
    """
    if finding.position or finding.instruction is not None or finding.witness is None:
        return finding
    shown = finding.beside or finding.witness
    if isinstance(view.side, Meaning) and view.policy:
        calls = [
            shown.call,
            *([finding.witness.call] if finding.witness.call.arch == view.arch else []),
        ]
        rules = (_rule(view.side, view.policy, view.table.names.get(one.nr), one) for one in calls)
        found = [one for one in rules if one]
        position = (*found, view.side.case(shown.call).origin.position)[0]
        return replace(finding, position=position, permitting=found[-1] if found[1:] else None)
    if isinstance(view.side, Code):
        path = view.side.run(shown.call)[1]
        if finding.beside and finding.beside.call.nr == finding.witness.call.nr:
            path = _together(path, view.side.run(finding.witness.call)[1])
        return replace(finding, instruction=path[-1])
    return finding


def _rule(side: Meaning, policy: ResolvedPolicy, name: str | None, call: Call) -> Position | None:
    """Return the position of the rule that answers ``call``.

    If no rule does, return the position of the last rule for other calls of that name; None if
    there is none.
    """
    origin = side.case(call).origin
    named = [rule for rule in policy.rules if rule.name == name]
    same = [rule for rule in named if rule.origin == origin] or named[-1:]
    return same[0].position if same else None


def _together(path: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """Return the instructions that both paths share before they diverge; the last one decides."""
    length = next(
        (n for n, pair in enumerate(zip(path, other, strict=False)) if pair[0] != pair[1]),
        min(len(path), len(other)),
    )
    return path[: max(length, 1)]
