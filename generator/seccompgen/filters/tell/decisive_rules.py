"""The part of a policy that decides a call, and its conditions on the arguments."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.core.deciding import DecidingRule
from seccompgen.core.wording import condition_text
from seccompgen.render.call_names import call_name

if TYPE_CHECKING:
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.verify import Meaning
    from seccompgen.verify.call import Call


def deciding_rule(
    policy: ResolvedPolicy, meaning: Meaning, call: Call, tables: Tables
) -> DecidingRule:
    """Return the part of ``policy`` that decides ``call``; ``meaning`` is what the policy means."""
    case = meaning.case(call)
    # The line of a name says more than the line where the rule begins.
    mine = (call_name(call.nr, call.arch, tables)[0], case.origin)
    positions = (r.position for r in policy.rules if (r.name, r.origin) == mine)
    return DecidingRule(case.origin.label, next(positions, case.origin.position))


def with_conditions(
    rule: DecidingRule, policy: ResolvedPolicy, call: Call, tables: Tables
) -> DecidingRule:
    """Return ``rule``, which decided ``call``, with the policy's conditions on the arguments."""
    name, table = call_name(call.nr, call.arch, tables)
    if table is None:
        return rule
    rules = [r for r in policy.rules if r.name == name and r.applies_to(table.abi)]
    decided = [one for one in rules if one.position == rule.position]
    if decided:
        return replace(rule, condition=condition_text(decided, [table.abi], tables))
    others = [one for one in rules if one.action.kind.lets_through]
    return replace(rule, allowed=condition_text(others, [table.abi], tables) if others else "")
