"""The rules of a policy that contribute to most instructions of a program, with names."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.text import some
from seccompgen.core.wording import answered, condition_text

if TYPE_CHECKING:
    from seccompgen.core.errors import Position
    from seccompgen.core.model import Origin, ResolvedPolicy, Rule
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.tables import Tables


@dataclass(frozen=True, slots=True)
class CostlyRule:
    """A rule and how many instructions it contributes to; others may contribute to the same."""

    position: Position
    calls: tuple[str, ...]
    condition: str
    instructions: int

    def __str__(self) -> str:
        """Return the rule without its position."""
        calls = some(self.calls)
        return f"{calls} where {self.condition}" if self.condition else calls


def costly_rules(
    policy: ResolvedPolicy, program: CompiledProgram, tables: Tables, most: int
) -> tuple[CostlyRule, ...]:
    """Return the ``most`` rules that contribute to most instructions, the costliest first."""
    counts: Counter[Origin] = Counter()
    for origins in program.origins:
        counts.update(set(origins))
    abis = (program.abi, *program.compat)
    by_origin: dict[Origin, list[Rule]] = {}
    for rule in policy.rules:
        if answered([rule], abis, tables):
            by_origin.setdefault(rule.origin, []).append(rule)
    found = [origin for origin in by_origin if counts[origin]]
    found.sort(key=lambda origin: -counts[origin])
    return tuple(
        CostlyRule(
            origin.position,
            tuple(dict.fromkeys(rule.name for rule in by_origin[origin])),
            condition_text(by_origin[origin], abis, tables),
            counts[origin],
        )
        for origin in found[:most]
    )
