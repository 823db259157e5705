"""Bounds of numbers in registers: of a table's index, and of what is added to a label."""

from __future__ import annotations

from collections import defaultdict
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.scan.paths import leading_to
from seccompgen.scan.processor import Moved, Register

if TYPE_CHECKING:
    from seccompgen.scan.paths import FunctionBody
    from seccompgen.scan.processor import Location, Machine

_MAX_BOUND_STATES = 500
"""The most steps back from the load of an entry in which the check of its index is searched."""
_MAX_INTERVAL_STEPS = 400


class _Interval(NamedTuple):
    """Numbers from ``low`` to ``high``, at distances of ``step``; 0 if there is only one."""

    low: int
    high: int
    step: int

    def plus(self, other: _Interval, factor: int) -> _Interval:
        """Return the sums of one number, and ``factor`` times one of ``other``."""
        return _Interval(
            self.low + other.low * factor,
            self.high + other.high * factor,
            gcd(self.step, other.step * factor),
        )

    def joined(self, other: _Interval) -> _Interval:
        """Return the numbers of both."""
        step = gcd(self.step, other.step, self.low - other.low)
        return _Interval(min(self.low, other.low), max(self.high, other.high), step)


def targets_near_label(
    machine: Machine, function: FunctionBody, index: int, location: Location | None
) -> list[int]:
    """Return where the jump ``code[index]`` to a label plus a bounded number may lead.

    Such jumps are those of unrolled loops, and of pieces of code that begin at equal distances, as
    in libffi. Returns none if the bounds are unknown, or one of the targets is no instruction of
    the function.
    """
    if not isinstance(location, Register):
        return []
    found = _interval(machine, function, index, location.name, (index, [_MAX_INTERVAL_STEPS]))
    if found is None or not function.span.start <= found.low <= found.high < function.span.end:
        return []
    targets = range(found.low, found.high + 1, found.step or 1)
    return list(targets) if frozenset(targets) <= frozenset(function.addresses) else []


def _interval(
    machine: Machine,
    function: FunctionBody,
    index: int,
    register: str,
    search: tuple[int, list[int]],
) -> _Interval | None:
    """Return the values of ``register`` before ``code[index]``; None if they are unknown.

    ``search`` is the index of the jump, and the steps that are left.
    """
    found: _Interval | None = None
    earlier = leading_to(machine, function, index)
    search[1][0] -= len(earlier)
    if not earlier or search[1][0] < 0:
        return None
    for at in earlier:
        made = machine.as_sum(function.image, function.code[at], register)
        if made is None:
            return None
        values = _Interval(made.constant, made.constant + made.rest, 1 if made.rest else 0)
        factors: dict[str, int] = defaultdict(int)
        for name, factor in made.terms:
            factors[name] += factor
        for name, factor in factors.items():
            part = _interval(machine, function, at, name, search)
            if part is None:
                bound = _bound_at_jump(machine, function, at, name, search[0])
                if bound is None:
                    return None
                part = _Interval(0, bound, 1)
            values = values.plus(part, factor)
        found = values if found is None else found.joined(values)
    return found


def _bound_at_jump(
    machine: Machine, function: FunctionBody, index: int, register: str, jump: int
) -> int | None:
    """Return the highest value of ``register`` before ``code[index]`` if the jump is reached.

    It may be checked between the two, if control only runs straight on, and does not change it.
    """
    between = range(index, jump)
    straight = all(function.addresses[at + 1] not in function.sources for at in between)
    same = Moved((Register(register),))
    changed = (
        machine.before(function.image, function.code, at, Register(register)) != same
        for at in between
    )
    return bound_of(machine, function, index if not straight or any(changed) else jump, register)


def bound_of(machine: Machine, function: FunctionBody, load: int, index: str) -> int | None:
    """Return the highest value of register ``index`` at the load, on all ways there; None if none.

    It is the nearest one on each way, which need not be the least.
    """
    first = (load, index, -1)
    seen, waiting, most = {first}, [first], -1
    while waiting:
        at, register, less = waiting.pop()
        ways = [(earlier, earlier != at - 1) for earlier in leading_to(machine, function, at)]
        if not ways or len(seen) > _MAX_BOUND_STATES:
            return None
        for earlier, by_jump in ways:
            instruction = function.code[earlier]
            bound = machine.compared(instruction) if less >= 0 else machine.masked(instruction)
            if bound and bound[0] == register:
                most = max(most, bound[1] - max(less, 0))
                continue
            origin = _copied_from(machine, function, earlier, register)
            if origin is None:
                return None
            if machine.branches(instruction):
                less_before = max(less, machine.bounds(instruction, jumping=by_jump))
            else:
                less_before = less if machine.keeps_flags(instruction) else -1
            state = (earlier, origin, less_before)
            waiting += [state] if state not in seen else []
            seen.add(state)
    return most if most >= 0 else None


def _copied_from(machine: Machine, function: FunctionBody, index: int, register: str) -> str | None:
    """Return the register that held the value of ``register``, or more, before an instruction.

    Compilers check a part of a register, such as a byte, only if they know that the rest is zero.
    """
    instruction = function.code[index]
    step = machine.before(function.image, function.code, index, Register(register))
    if isinstance(step, Moved) and len(step.places) == 1 and not step.add:
        (place,) = step.places
        return place.name if isinstance(place, Register) else None
    return machine.copied(instruction) if machine.sets(instruction) == register else None
