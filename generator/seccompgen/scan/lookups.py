"""Find the names that a function looks up with dlsym().

Only the function itself is read: a name that it gets from a caller, or from memory, is unknown.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from seccompgen.scan.paths import back_past, leading_to
from seccompgen.scan.processor import KnownValue, Lost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.scan.paths import FunctionBody
    from seccompgen.scan.processor import Location, Machine
    from seccompgen.scan.ways import Way

LOOKUPS = frozenset({"dlsym", "dlvsym"})
ANY_NAME = "*"
"""Stands for the names that are unknown; no name that code exports contains it."""
_MAX_STATES = 5_000


def names_looked_up(
    machine: Machine, function: FunctionBody, imports: Iterable[tuple[int, Way]]
) -> Iterator[str]:
    """Yield the names that the calls of dlsym() among ``imports`` look up, or `ANY_NAME`."""
    for call, _ in imports:
        index = bisect_left(function.addresses, call)
        addresses = _values(machine, function, index, machine.arguments[1])
        names = [function.image.text_at(one) for one in addresses] or [""]
        yield from (name or ANY_NAME for name in names)


def _values(
    machine: Machine, function: FunctionBody, index: int, location: Location
) -> frozenset[int]:
    """Return the values of ``location`` before ``code[index]``; none unless all are known."""
    first = (index, location, 0)
    seen, waiting = {first}, [first]
    found: set[int] = set()
    while waiting:
        at, where, added = waiting.pop()
        at = back_past(machine, function, at, where)
        earlier = leading_to(machine, function, at)
        if not earlier or at == 0 or len(seen) > _MAX_STATES:
            return frozenset()
        for before in earlier:
            step = machine.before(function.image, function.code, before, where)
            if isinstance(step, Lost):
                return frozenset()
            if isinstance(step, KnownValue):
                found.add(step.value + added)
                continue
            new = {(before, place, added + step.add) for place in step.places} - seen
            seen |= new
            waiting += new
    return frozenset(found)
