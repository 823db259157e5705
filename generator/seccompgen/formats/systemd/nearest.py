"""A policy as near to it as settings of systemd's units can be.

Settings see no arguments, and a release knows only the calls of its time: others get ENOSYS. What a
rule permits under a condition is permitted whole, for programs need it. So more is permitted in
what a filter can tell apart by arguments, and less of calls that are newer than systemd.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import Action, ActionKind, Rule
from seccompgen.core.multiplexed import MULTIPLEXED
from seccompgen.formats.systemd.groups import systemd_groups
from seccompgen.formats.systemd.writer import in_units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables

_ENOSYS = Action.errno("ENOSYS")
_THROUGH = frozenset({ActionKind.ALLOW, ActionKind.LOG})


class NearestPolicy(NamedTuple):
    """The nearest ``policy`` that settings can say.

    It permits ``whole`` calls that were permitted by their arguments, and answers ``absent`` ones
    with ENOSYS, which were permitted; ``narrower`` is the policy that differs in the latter alone.
    """

    policy: ResolvedPolicy
    narrower: ResolvedPolicy
    whole: tuple[str, ...]
    absent: tuple[str, ...]


def nearest_policy(policy: ResolvedPolicy, tables: Tables, release: int | None) -> NearestPolicy:
    """Return what settings for a release of systemd can say, None for the usual one."""
    abis = [abi for abi in (*policy.arches, *policy.compat_arches) if in_units(abi)]
    unknown: set[str] = set()
    if policy.unknown_action.kind is not ActionKind.ALLOW:
        calls = {call for abi in abis for call in tables.tables[abi.name].numbers}
        unknown = calls - systemd_groups(release)["known"]
    at = policy.default_origin
    refused = [
        Rule(call, None, _ENOSYS, at.position, at, abis=frozenset(abi.name for abi in abis))
        for call in sorted(unknown)
    ]
    absent = {rule.name for rule in policy.rules if rule.action.kind in _THROUGH} & unknown
    kept = (rule for rule in policy.rules if rule.name not in unknown)
    narrower = replace(policy, rules=(*refused, *kept))
    compared = {
        name: rules
        for name, rules in _by_call(narrower).items()
        if name not in MULTIPLEXED and any(rule.condition is not None for rule in rules)
    }
    said = [one for name, rules in compared.items() for one in _decided(policy, rules, abis)]
    rules = (*said, *(rule for rule in narrower.rules if rule.name not in compared))
    whole = {one.name for one in said if one.action.kind in _THROUGH}
    return NearestPolicy(
        replace(narrower, rules=rules), narrower, tuple(sorted(whole)), tuple(sorted(absent))
    )


def _by_call(policy: ResolvedPolicy) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for rule in policy.rules:
        found.setdefault(rule.name, []).append(rule)
    return found


def _decided(policy: ResolvedPolicy, rules: list[Rule], abis: list[Abi]) -> Iterator[Rule]:
    """Yield a rule for each ABI that answers all of a call as what it permits, if it does."""
    for abi in abis:
        here = [rule for rule in rules if rule.applies_to(abi)]
        if not here:
            continue
        said = [rule.action for rule in here]
        if all(rule.condition is not None for rule in here):
            said.append(policy.default_action)
        through = [action for action in said if action.kind in _THROUGH]
        action = Action.ALLOW if Action.ALLOW in through else (*through, said[-1])[0]
        yield replace(here[0], condition=None, action=action, abis=frozenset({abi.name}))
