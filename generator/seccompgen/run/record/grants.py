"""The calls that a closure permits, with numeric conditions, and tests of what they cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import condition_for
from seccompgen.core.multiplexed import is_multiplexed, stands_for
from seccompgen.core.sets import NOTHING, Sets
from seccompgen.kernel.powers import powers
from seccompgen.policy.groups import calls_of, stock_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Predicate
    from seccompgen.kernel.powers import Power
    from seccompgen.policy.groups import StockGroup
    from seccompgen.run.record.closure import Closure
    from seccompgen.run.record.power_cases import PowerCases


class Grants:
    """The calls that are permitted on one ABI, by name.

    A call is permitted if one of its conditions holds; the condition None always holds.
    """

    def __init__(self, abi: Abi) -> None:
        self.abi = abi
        self._sets = Sets()
        self._calls: dict[str, dict[Predicate | None, None]] = {}

    def __iter__(self) -> Iterator[tuple[str, tuple[Predicate | None, ...]]]:
        """Yield each call with its conditions; (None,) if it is always permitted."""
        for call, conditions in self._calls.items():
            yield call, (None,) if None in conditions else tuple(conditions)

    def add(self, call: str, conditions: Iterable[Predicate | None]) -> None:
        """Permit a call if one of ``conditions`` holds; always if there are none."""
        self._calls.setdefault(call, {}).update(dict.fromkeys(tuple(conditions) or (None,)))

    def has(self, call: str) -> bool:
        """Return True if a call is permitted with some arguments."""
        return call in self._calls

    def covers(self, call: str, condition: Predicate | None) -> bool:
        """Return True if a call is permitted with all arguments for which ``condition`` holds."""
        known = self._calls.get(call, {})
        if None in known or condition in known:
            return True
        if self._covers_through(call, condition):
            return True
        if not known:
            return False
        try:
            left = [self._box(condition)]
            for one in known:
                cut = self._box(one)
                left = [
                    piece
                    for box in left
                    for piece in self._sets.without(box, cut)
                    if NOTHING not in piece
                ]
        except UndecidedError:
            return False
        return not left

    def _covers_through(self, call: str, condition: Predicate | None) -> bool:
        """Return True if ``call`` is socketcall or ipc, and its real calls are always permitted."""
        value = getattr(condition, "value", None)
        if not is_multiplexed(call) or value is None:
            return False
        return all(None in self._calls.get(name, {}) for name in stands_for(call, [value]))

    def _box(self, condition: Predicate | None) -> tuple[int, int, int, int, int, int]:
        return self._sets.box(condition_for(condition, self.abi.argument_bits))


def group_of(power: Power) -> StockGroup | None:
    """Return the policy language's group of all calls of a kind, None if it has none."""
    whole = (power.name,)
    groups = stock_groups().values()
    found = (one for one in groups if one.kinds == whole and not one.without and not one.members)
    return next(found, None)


def members(
    power: Power, abi: Abi, cases: PowerCases
) -> Iterator[tuple[str, tuple[Predicate | None, ...]]]:
    """Yield all calls of a kind, with the conditions on each."""
    group = group_of(power)
    if group is None:
        for line in powers().lines:
            for call in line.calls if line.power == power else ():
                if found := cases.exactly(line, call, abi):
                    yield call, found
        return
    for member in calls_of(group):
        if cases.has(member.name, abi):
            conditions = cases.predicates(member.when, member.name, abi) if member.when else ()
            if conditions is not None:
                yield member.name, conditions or (None,)


def grants(closure: Closure, abi: Abi, cases: PowerCases) -> Grants:
    """Return the calls that a closure permits on an ABI."""
    found = Grants(abi)
    for power in closure.whole:
        for call, conditions in members(power, abi, cases):
            found.add(call, conditions)
    for calls in closure.lines.values():
        for one in calls.get(abi, ()):
            found.add(one.name, one.conditions)
    for one in closure.to_itself.get(abi, ()):
        found.add(one.name, one.conditions)
    return found
