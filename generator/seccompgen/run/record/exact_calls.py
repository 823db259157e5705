"""For ``record --exact``: observed calls as names and conditions, and several runs merged.

The values of an argument that selects something are listed. For flags, each set that was seen is
allowed, with all its subsets, but no union of two: memory seen as read-write and as read-execute
may not be both. A condition that others cover is dropped.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from seccompgen.core.multiplexed import is_multiplexed, stands_for
from seccompgen.policy.allowlist_text import Allowed
from seccompgen.policy.implied import implied, why
from seccompgen.run.record.constrainable import MOST_VALUES, constrainable_argument
from seccompgen.run.record.grants import Grants
from seccompgen.run.record.observations import named_calls, run_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Predicate
    from seccompgen.core.tables import Tables
    from seccompgen.run.record.constrainable import ConstrainableArgument
    from seccompgen.run.record.known import KnownPolicy
    from seccompgen.run.record.observations import Arguments, Recording

    ExactCalls = Mapping[Abi, tuple[Allowed, ...]]

MOST_COMPARED = 4 * MOST_VALUES
"""A call with more conditions is permitted with any; comparing that many would take long."""


def allowed_calls(recording: Recording, tables: Tables, *, constrained: bool) -> ExactCalls:
    """Return the calls that a policy must allow, for each ABI that was used.

    If ``constrained``, they are limited to the arguments that were seen. Calls without a name in
    ``tables`` are left out.
    """
    found: dict[Abi, dict[str, Allowed]] = defaultdict(dict)
    for abi, name, values in named_calls(recording, tables):
        argument = constrainable_argument(name, abi, tables.facts) if constrained else None
        conditions = _conditions(argument, values) if argument else ()
        found[abi][name] = _allowed(name, conditions, _made_for(name, values))
    for abi, facts in run_facts(recording, tables).items():
        for one in implied(facts, tables.tables[abi.name].numbers):
            found[abi].setdefault(one.name, _allowed(one.name, one.conditions, one.why))
    return {abi: tuple(calls.values()) for abi, calls in found.items()}


def allowed_by(known: KnownPolicy, tables: Tables) -> ExactCalls:
    """Return the calls that a known policy allows, for each of its ABIs that has them."""
    return {
        abi: tuple(
            _allowed(call, tuple(filter(None, conditions)))
            for call, conditions in granted
            if tables.tables[abi.name].number_of(call) is not None
        )
        for abi, granted in known.permitted.items()
    }


def merge(several: Sequence[ExactCalls]) -> ExactCalls:
    """Return the union of ``several``, by name: a call is allowed if any of them allows it."""
    found: dict[Abi, dict[str, list[Allowed]]] = defaultdict(lambda: defaultdict(list))
    for calls in several:
        for abi, allowed in calls.items():
            for one in allowed:
                found[abi][one.name].append(one)
    return {
        abi: tuple(_joined(abi, name, same) for name, same in sorted(by_name.items()))
        for abi, by_name in found.items()
    }


def _joined(abi: Abi, name: str, same: Iterable[Allowed]) -> Allowed:
    comment = next((one.comment for one in same if one.comment), "")
    conditions = list(dict.fromkeys(test for one in same for test in one.conditions))
    if len(conditions) > MOST_COMPARED or not all(one.conditions for one in same):
        return _allowed(name, (), comment)
    for condition in list(conditions):
        if len(conditions) > 1:
            others = [one for one in conditions if one != condition]
            rest = Grants(abi)
            rest.add(name, others)
            if rest.covers(name, condition):
                conditions = others
    return _allowed(name, tuple(conditions) if len(conditions) <= MOST_VALUES else (), comment)


def _allowed(name: str, conditions: tuple[Predicate, ...] = (), comment: str = "") -> Allowed:
    """Return an allowed call, with a default comment if its purpose is not obvious."""
    return Allowed(name, conditions, comment or why(name))


def _made_for(name: str, values: Iterable[Arguments]) -> str:
    """Return a comment on the calls that a run made through a multiplexed one; "" for others."""
    numbers = [value for one in values for index, value in one if index == 0]
    if not is_multiplexed(name) or not numbers:
        return ""
    return f"this run: {', '.join(stands_for(name, numbers))}"


def _conditions(
    argument: ConstrainableArgument, calls: Iterable[Arguments]
) -> tuple[Predicate, ...]:
    """Return the alternatives that cover ``calls``; none allows everything."""
    seen = [dict(arguments).get(argument.index) for arguments in calls]
    if None in seen:
        return ()
    values = sorted({value & argument.mask for value in seen if value is not None})
    return tuple(argument.condition(value) for value in values)
