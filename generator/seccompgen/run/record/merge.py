"""Several runs, and several machines, as one: all that any of them needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.abis import apart_by_kernel
from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.model import Action, ActionKind, FilterFlag, Origin, Rule
from seccompgen.run.record.generalise import allowed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.model import Predicate, ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.policy.write import Allowed

MOST_VALUES = 64
"""As many conditions on a call are listed; a call with more is allowed whatever its arguments."""
MOST_LOOKED_AT = 4 * MOST_VALUES
"""Beyond that it is not even asked which conditions others cover, since that takes long."""

_ALLOW = Action(ActionKind.ALLOW)


@dataclass(frozen=True, slots=True)
class Needs:
    """The calls to allow: for programs of ``arches``, and beside them of ``compat_arches``.

    ``calls`` are by ABI, of both kinds. With ``tsync`` other threads run when the filter is
    installed, and have to get it, too.
    """

    arches: tuple[Abi, ...]
    compat_arches: tuple[Abi, ...]
    calls: Mapping[Abi, tuple[Allowed, ...]]
    tsync: bool = False


def needs_of_calls(calls: Mapping[Abi, tuple[Allowed, ...]], *, tsync: bool = False) -> Needs:
    """Return the needs of one run, made on one kernel."""
    return Needs(*apart_by_kernel(calls), calls, tsync)


def needs_of_policy(policy: ResolvedPolicy, tables: Tables) -> Needs:
    """Return what ``policy`` allows; raise InputError if it does so by anything but rules."""
    default = policy.default_action
    problems = [
        Diagnostic(
            f"{default} by default: only what a policy allows by its rules merges",
            policy.default_origin.position,
        )
    ] * (default.kind in {ActionKind.ALLOW, ActionKind.LOG})
    problems += [
        Diagnostic(f"{rule.action} for {rule.name!r}: only rules that allow merge", rule.position)
        for rule in policy.own_rules
        if rule.action != _ALLOW
    ]
    if problems:
        raise InputError(*problems)
    return Needs(
        policy.arches,
        policy.compat_arches,
        {abi: _allowed_on(abi, policy, tables) for abi in (*policy.arches, *policy.compat_arches)},
        bool(policy.flags & FilterFlag.TSYNC),
    )


def _allowed_on(abi: Abi, policy: ResolvedPolicy, tables: Tables) -> tuple[Allowed, ...]:
    """Return what the rules of ``policy``, which all allow, allow on ``abi``."""
    conditions: dict[str, list[Predicate]] = {}
    always: set[str] = set()
    for rule in policy.own_rules:
        if not rule.applies_to(abi) or tables.tables[abi.name].number_of(rule.name) is None:
            continue
        found = conditions.setdefault(rule.name, [])
        if rule.condition is None:
            always.add(rule.name)
        else:
            found.append(rule.condition)
    return tuple(
        allowed(name, () if name in always else tuple(found)) for name, found in conditions.items()
    )


def merge(several: Sequence[Needs], position: Position) -> Needs:
    """Return what all of ``several`` need together.

    Conditions on a call add up on each ABI. What is covered by others is dropped, and where more
    than `MOST_VALUES` are left, the call is allowed as such. ``position`` is where the result will
    be.
    """
    abis = dict.fromkeys(abi for needs in several for abi in needs.calls)
    calls = {abi: [one for needs in several for one in needs.calls.get(abi, ())] for abi in abis}
    arches = dict.fromkeys(abi for needs in several for abi in needs.arches)
    compat = dict.fromkeys(abi for needs in several for abi in needs.compat_arches)
    return Needs(
        tuple(arches),
        tuple(compat),
        {
            abi: tuple(
                _joined(name, found, position) for name in sorted({one.name for one in found})
            )
            for abi, found in calls.items()
        },
        any(needs.tsync for needs in several),
    )


def _joined(name: str, calls: Iterable[Allowed], position: Position) -> Allowed:
    same = [one for one in calls if one.name == name]
    comment = next((one.comment for one in same if one.comment), "")
    if not all(one.conditions for one in same):
        return allowed(name, (), comment)
    conditions = list(dict.fromkeys(test for one in same for test in one.conditions))
    if len(conditions) > MOST_LOOKED_AT:
        return allowed(name, (), comment)
    for condition in list(conditions):
        others = [one for one in conditions if one != condition]
        if _covered(name, condition, others, position):
            conditions = others
    return allowed(name, tuple(conditions) if len(conditions) <= MOST_VALUES else (), comment)


def _covered(
    name: str, condition: Predicate, others: Sequence[Predicate], position: Position
) -> bool:
    from seccompgen.core.reach import reach  # noqa: PLC0415 - sets of values, for few runs

    origin = Origin(name, position)
    rules = tuple(Rule(name, one, _ALLOW, position, origin) for one in (*others, condition))
    return any(dead.index == len(others) for dead in reach(rules).dead)
