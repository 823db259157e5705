"""Find the line of the table of powers that a call is on, by its arguments.

A recording contains only those bits of arguments that some case tests, or that select what the call
does. If cases only test whether an address is 0, only that is recorded.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import U32, U64, Comparison, Op, comparisons
from seccompgen.core.multiplexed import is_multiplexed
from seccompgen.core.sets import Sets
from seccompgen.kernel.powers import powers
from seccompgen.policy.conditions import Lookup, alternatives
from seccompgen.policy.expressions import parse_condition
from seccompgen.run.record.constrainable import NAMESPACES, selectors
from seccompgen.run.record.observations import ArgumentBits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Predicate
    from seccompgen.core.tables import Tables
    from seccompgen.kernel.powers import PowerLine

CLONE3 = "clone3"
"""A call whose flags are in memory; they are recorded as its first argument."""
_THREAD = 0x00010000
"""CLONE_THREAD."""


class PowerCase(NamedTuple):
    """A line of the table that a call is on if one of ``conditions`` holds; always if empty."""

    line: PowerLine
    conditions: tuple[Predicate, ...]


class PowerCases:
    """The cases of all calls, computed for each ABI on demand."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._sets = Sets()
        self._values = lru_cache(maxsize=None)(self._sets.of)  # its steps are limited
        self._known: dict[tuple[str, str], tuple[PowerCase, ...]] = {}

    def has(self, call: str, abi: Abi) -> bool:
        """Return True if an ABI has a call."""
        return call in self._tables.tables[abi.name].numbers

    def of(self, call: str, abi: Abi) -> tuple[PowerCase, ...]:
        """Return the cases of a call, the last without a condition; none if the table lacks it.

        A case whose condition is meaningless on the ABI is left out.
        """
        key = call, abi.name
        if key not in self._known:
            self._known[key] = tuple(self._read(call, abi))
        return self._known[key]

    def _read(self, call: str, abi: Abi) -> Iterable[PowerCase]:
        for line in powers().of(call):
            found = self.predicates(line.when, call, abi) if line.when else ()
            if found is not None:
                yield PowerCase(line, found)

    def predicates(self, when: str, call: str, abi: Abi) -> tuple[Predicate, ...] | None:
        """Return the alternatives of a textual condition, with numbers; empty means always.

        Returns None if the condition is meaningless on the ABI, or never true there.
        """
        expression = parse_condition(when)
        tests = Lookup(self._tables.facts, abi).numbers(expression, call)
        found = alternatives(expression, tests) if tests is not None else ()
        if not found:
            return None
        return tuple(one for one in found if one is not None) if None not in found else ()

    def exactly(self, line: PowerLine, call: str, abi: Abi) -> tuple[Predicate | None, ...]:
        """Return the conditions under which a call gives what ``line`` describes.

        One of them must hold; None always does. Empty if the ABI lacks the call, or the line is
        meaningless there. A line without a condition excludes the call's cases of other kinds.
        """
        if not self.has(call, abi):
            return ()
        others = [one.line for one in self.of(call, abi) if one.line.power != line.power]
        when = line.when or " and ".join(f"not ({one.when})" for one in others if one.when)
        found = self.predicates(when, call, abi) if when else ()
        return (found or (None,)) if found is not None else ()

    def line(self, call: str, abi: Abi, values: Mapping[int, int]) -> PowerLine | None:
        """Return the line that a call with these arguments is on; None if the table lacks the call.

        A call without recorded arguments, since there were too many, is on its last line.
        """
        if call == CLONE3 and 0 in values:
            return self._of_clone3(values[0])
        cases = self.of(call, abi)
        for case in cases:
            if not case.conditions or (values and self._holds(case.conditions, values)):
                return case.line
        return None

    def _holds(self, conditions: Iterable[Predicate], values: Mapping[int, int]) -> bool:
        """Return True if one of ``conditions`` holds for these arguments, by index."""
        for condition in conditions:
            tests = [(test, values.get(test.argument)) for test in comparisons(condition)]
            if all(
                value is not None and self._sets.has(self._values(test), value)
                for test, value in tests
            ):
                return True
        return False

    def _of_clone3(self, flags: int) -> PowerLine:
        if flags & NAMESPACES:
            return powers().of(CLONE3)[-1]
        lines = powers().of("clone")
        return lines[0] if flags & _THREAD else lines[-1]

    def recorded_arguments(self, call: str, abi: Abi) -> list[ArgumentBits]:
        """Return the arguments of a call to record, so that its case can be found."""
        if call == CLONE3:
            return [ArgumentBits(0, _THREAD | NAMESPACES)]
        masks: dict[int, int] = {}
        values: dict[int, set[int] | None] = {}
        for test in self._tests(call, abi):
            looked_at, value = _looked_at(test)
            masks[test.argument] = masks.get(test.argument, 0) | looked_at
            known = values.setdefault(test.argument, set())
            if value is None:
                values[test.argument] = None
            elif known is not None:
                known.add(value)
        for one in selectors(call, abi, self._tables.facts):
            masks[one.index] = masks.get(one.index, 0) | one.mask
            values[one.index] = None
        if is_multiplexed(call):
            masks[0], values[0] = U32, None
        return [
            ArgumentBits(
                index, mask, None if (known := values[index]) is None else frozenset(known)
            )
            for index, mask in sorted(masks.items())
        ]

    def _tests(self, call: str, abi: Abi) -> Iterable[Comparison]:
        for case in self.of(call, abi):
            for condition in case.conditions:
                yield from comparisons(condition)


def _looked_at(test: Comparison) -> tuple[int, int | None]:
    """Return the bits that a test compares, and the one value that it distinguishes, or None."""
    full = U64 if test.width == 64 else U32
    match test.op:
        case Op.ANY_BITS | Op.NO_BITS:
            return test.value, None
        case Op.MASKED_EQ:
            return test.mask & full, None
        case Op.EQ | Op.NE:
            return test.mask & full, test.value if test.mask & full == full else None
    return full, None
