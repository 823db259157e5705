"""From what was seen to what shall be allowed: names, conditions, and what is implied.

Values of an argument that selects something are listed. Of flags, each set of bits that was seen
and every part of it is allowed, but no mix of two: seen as read-write and as read-execute, memory
is never both. What is part of something else is left to `merge` to drop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.multiplexed import is_multiplexed, stands_for
from seccompgen.policy.implied import RunFacts, implied, why
from seccompgen.policy.write import Allowed
from seccompgen.run.record.constrainable import worth
from seccompgen.run.record.observations import abi_of, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Predicate
    from seccompgen.core.tables import Tables
    from seccompgen.run.record.constrainable import Worth
    from seccompgen.run.record.observations import Arguments, CallNumber, Recording


def allowed_calls(
    recording: Recording, tables: Tables, *, constrained: bool
) -> dict[Abi, tuple[Allowed, ...]]:
    """Return what a policy has to allow, for each ABI that was used, by name.

    If ``constrained``, only with such arguments, where they are worth constraining. Calls that
    ``tables`` have no name for are left out; `unnamed` lists them.
    """
    found: dict[Abi, dict[str, Allowed]] = {}
    for number, values in recording.calls.items():
        abi, name = abi_of(number), name_of(number, tables)
        if abi is None or name is None:
            continue
        about = worth(name, abi, tables.facts) if constrained else None
        conditions = _conditions(about, values) if about else ()
        found.setdefault(abi, {})[name] = allowed(name, conditions, _made_for(name, values))
    before: dict[Abi, set[str]] = {}
    for number in recording.startup:
        abi, name = abi_of(number), name_of(number, tables)
        if abi and name:
            before.setdefault(abi, set()).add(name)
    for abi, calls in found.items():
        facts = RunFacts(
            calls.keys() | before.get(abi, set()),
            recording.threads,
            recording.processes,
            late=recording.marked or recording.attached,
            unseen=recording.attached,
            catches=recording.catches,
        )
        for one in implied(facts, tables.tables[abi.name].numbers):
            calls.setdefault(one.name, allowed(one.name, one.conditions, one.why))
    return {abi: tuple(calls.values()) for abi, calls in found.items()}


def allowed(name: str, conditions: tuple[Predicate, ...] = (), comment: str = "") -> Allowed:
    """Return that a call is allowed, with a comment where a reader may wonder what it is for."""
    return Allowed(name, conditions, comment or why(name))


def _made_for(name: str, values: Iterable[Arguments]) -> str:
    """Return what a run made a call for that stands for several, for a comment."""
    numbers = [value for one in values for index, value in one if index == 0]
    if not is_multiplexed(name) or not numbers:
        return ""
    return f"this run: {', '.join(stands_for(name, numbers))}"


def unnamed(recording: Recording, tables: Tables) -> list[CallNumber]:
    """Return the calls that ``tables`` have no name for."""
    return [number for number in recording.calls if name_of(number, tables) is None]


def _conditions(about: Worth, calls: Iterable[Arguments]) -> tuple[Predicate, ...]:
    """Return the alternatives that cover ``calls``, none if everything shall be allowed."""
    kept = [dict(arguments) for arguments in calls]
    if not all(about.index in arguments for arguments in kept):
        return ()
    seen = sorted({arguments[about.index] & about.mask for arguments in kept})
    return tuple(about.condition(value) for value in seen)
