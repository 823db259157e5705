"""Sets of argument values as single comparisons, for formats in which a rule has one an argument.

Such a format says a set by several rules, one for each comparison. A set need not be met exactly:
values that do not matter may be in it or not, which saves most of the comparisons.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import U64, Comparison, Op
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, BITS, NOTHING, Sets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.sets import Box
    from seccompgen.core.value_conditions import Tests

MOST_RULES = 64
"""The most rules that say one set."""


class Wanted(NamedTuple):
    """A set to be said: all of ``needed``, and of the rest only what is in ``permitted``."""

    needed: int
    permitted: int


def groups_of(sets: Sets, needed: Box, permitted: Box, *, by_order: bool) -> list[Tests]:
    """Return groups of comparisons, at most one an argument, that hold in ``needed``.

    Outside of ``permitted`` no group holds. Unless ``by_order``, values are only compared under
    masks. Raises UndecidedError if that takes too many groups.
    """
    each = [
        list(_tests(sets, n, Wanted(*one), by_order=by_order))
        for n, one in enumerate(zip(needed, permitted, strict=True))
    ]
    count = 1
    for tests in each:
        count *= len(tests)
    if count > MOST_RULES:
        raise UndecidedError(f"it takes {count} rules", kind=Problem.TOO_MANY_CASES)
    return [tuple(test for test in tests if test) for tests in product(*each)]


def _tests(
    sets: Sets, argument: int, wanted: Wanted, *, by_order: bool
) -> Iterator[Comparison | None]:
    left, permitted = wanted
    if permitted == ALL:
        yield None
        return
    for _ in range(MOST_RULES + 1):
        if left == NOTHING:
            return
        options = _options(sets, argument, sets.least(left), permitted, by_order=by_order)
        rests = [(sets.minus(left, sets.of(test)), test) for test in options]
        left, test = min(rests, key=lambda one: _members(sets, one[0]))
        yield test
    raise UndecidedError("it takes too many rules", kind=Problem.TOO_MANY_CASES)


def _options(
    sets: Sets, argument: int, value: int, permitted: int, *, by_order: bool
) -> Iterator[Comparison]:
    """Yield comparisons that hold for ``value``, and otherwise only in ``permitted``."""
    rest = sets.minus(ALL, permitted)
    first, last = sets.least(rest), sets.greatest(rest)
    if first == last:
        yield Comparison(argument, Op.NE, first)
    for bits in (range(BITS), reversed(range(BITS))):
        mask = U64
        for bit in (1 << n for n in bits):
            if sets.minus(sets.masked(mask & ~bit, value & mask & ~bit), permitted) == NOTHING:
                mask &= ~bit
        if mask == U64:
            yield Comparison(argument, Op.EQ, value)
            break
        yield Comparison(argument, Op.MASKED_EQ, value & mask, mask)
    if by_order and value < first:
        yield Comparison(argument, Op.LT, first)
    if by_order and value > last:
        yield Comparison(argument, Op.GT, last)


def _members(sets: Sets, values: int) -> int:
    return sum(1 << BITS - mask.bit_count() for mask, _ in sets.cubes(values))
