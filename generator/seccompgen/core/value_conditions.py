"""Sets of argument values as comparisons, for people to read.

A set is written as masked equalities, as intervals, as the complement of one of these, or as a
simple set without a few values, whichever needs the fewest comparisons. All of these forms are
exact.
"""

from __future__ import annotations

from itertools import islice, product
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import U32, All, Comparison, Op, condition_for
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, BITS, NOTHING, Sets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Predicate, Rule

Tests: TypeAlias = tuple[Comparison, ...]
"""Comparisons that must all hold."""

_MOST_PARTS = 4096
_FEW = 3
"""The number of comparisons that is easy to read; above it, shorter forms are tried."""
_FEW_PARTS = 8
_HALF = BITS // 2
_Part: TypeAlias = tuple[int, int]


def alternatives(sets: Sets, arguments: Iterable[int]) -> tuple[Tests, ...]:
    """Return groups of tests; some group holds for exactly the arguments in a box of sets.

    An empty group always holds. Raises UndecidedError if a set is too intricate.
    """
    of_each = [_alternatives(sets, n, values) for n, values in enumerate(arguments)]
    return tuple(tuple(test for part in parts for test in part) for parts in product(*of_each))


def _alternatives(sets: Sets, argument: int, values: int) -> list[Tests]:
    if values == ALL:
        return [()]
    width = 32 if sets.nodes[values][0] >= _HALF else 64
    rest = sets.minus(ALL, values)
    options: list[list[Tests]] = []
    if found := _cubes(sets, values):
        options.append([(_equal(argument, part, width),) for part in found])
    # A longer form than the shortest so far is not wanted, and each span takes a comparison.
    shortest = min(map(_comparisons, options), default=_MOST_PARTS)
    if found := intervals(sets, values, width, shortest):
        options.append([_between(argument, part, width) for part in found])
    if found := _cubes(sets, rest):
        options.append([tuple(_unequal(argument, part, width) for part in found)])
    shortest = min(map(_comparisons, options), default=_MOST_PARTS)
    if found := intervals(sets, rest, width, shortest):
        outside = [_outside(argument, part, width) for part in found]
        if all(outside):
            options.append([tuple(test for test in outside if test)])
    if min(map(_comparisons, options), default=_MOST_PARTS) > _FEW:
        around = (*_fixed_bits(sets, argument, values), *_low_words(sets, argument, values))
        options += filter(None, (_without_some(sets, argument, values, one) for one in around))
    if not options:
        raise UndecidedError(
            "a condition is too intricate to be written", kind=Problem.TOO_MANY_CASES
        )
    return min(options, key=_comparisons)


def _comparisons(groups: list[Tests]) -> int:
    return sum(map(len, groups))


class _Around(NamedTuple):
    """A superset of a set, with its tests; ``fixed`` are bits that are equal in all members."""

    tests: list[Tests]
    node: int
    fixed: int


def _without_some(sets: Sets, argument: int, values: int, around: _Around) -> list[Tests]:
    """Return tests for a set as its superset without a few values; empty if these are too many."""
    tests, node, fixed = around
    left_out = _cubes(sets, sets.minus(node, values))
    if not left_out or len(left_out) > _FEW_PARTS:
        return []
    width = 32 if sets.nodes[values][0] >= _HALF else 64
    # The tests of the superset already check its fixed bits.
    parts = ((mask & ~fixed, value & ~fixed) for mask, value in left_out)
    excluded = tuple(_unequal(argument, part, width) for part in parts)
    return [(*test, *excluded) for test in tests]


def _fixed_bits(sets: Sets, argument: int, values: int) -> list[_Around]:
    """Return the superset defined by all bits that are equal in all members; empty if none is."""
    mask = value = 0
    for bit in (1 << n for n in range(BITS)):
        for wanted in (0, bit):
            if sets.minus(values, sets.masked(bit, wanted)) == NOTHING:
                mask, value = mask | bit, value | wanted
    width = 32 if sets.nodes[values][0] >= _HALF else 64
    tests: list[Tests] = [(_equal(argument, (mask, value), width),)]
    return [_Around(tests, sets.masked(mask, value), mask)] if mask else []


def _low_words(sets: Sets, argument: int, values: int) -> list[_Around]:
    """Return the superset of all values with the same low words; empty if it does not help."""
    low = NOTHING
    waiting, seen = [values], set()
    while waiting:
        node = waiting.pop()
        level, zero, one = sets.nodes[node]
        if level >= _HALF:
            low = sets.either(low, node)
        elif node not in seen:
            seen.add(node)
            waiting += (zero, one)
    if low in {ALL, values}:
        return []
    try:
        return [_Around(_alternatives(sets, argument, low), low, 0)]
    except UndecidedError:
        return []


def _cubes(sets: Sets, values: int) -> list[_Part]:
    """Return (mask, value) of disjoint parts that make up a set; empty if these are too many."""
    found = list(islice(sets.cubes(values), _MOST_PARTS + 1))
    return found if len(found) <= _MOST_PARTS else []


def intervals(sets: Sets, values: int, width: int, most: int = _MOST_PARTS) -> list[_Part]:
    """Return the spans (first, last) of a set; empty if these are more than ``most``.

    With ``width`` 32 the spans are those of the low word, which must decide membership alone.
    """
    found: list[_Part] = []
    for first, last in _stretches(sets, values, BITS - width):
        if found and found[-1][1] + 1 == first:
            found[-1] = found[-1][0], last
        else:
            found.append((first, last))
            if len(found) > most:
                return []
    return found


def _stretches(sets: Sets, values: int, level: int) -> Iterator[_Part]:
    waiting = [(values, level, 0)]
    while waiting:
        node, level, base = waiting.pop()
        sets.step()
        own, zero, one = sets.nodes[node]
        if node == ALL:
            yield base, base | (1 << BITS - level) - 1
        elif node != NOTHING:
            half = 1 << BITS - 1 - level
            zero, one = (zero, one) if own == level else (node, node)
            waiting += [(one, level + 1, base | half), (zero, level + 1, base)]


def _equal(argument: int, part: _Part, width: int) -> Comparison:
    mask, value = part
    if mask == _ones(width):
        return Comparison(argument, Op.EQ, value, mask, width)
    return Comparison(argument, Op.MASKED_EQ, value, mask, width)


def _unequal(argument: int, part: _Part, width: int) -> Comparison:
    mask, value = part
    if not value:
        return Comparison(argument, Op.ANY_BITS, mask, _ones(width), width)
    return Comparison(argument, Op.NE, value, mask, width)


def _between(argument: int, part: _Part, width: int) -> Tests:
    first, last = part
    most = _ones(width)
    if first == last:
        return (Comparison(argument, Op.EQ, first, most, width),)
    tests: Tests = (Comparison(argument, Op.GE, first, most, width),) if first else ()
    return tests if last == most else (*tests, Comparison(argument, Op.LE, last, most, width))


def _outside(argument: int, part: _Part, width: int) -> Comparison | None:
    """Return the comparison that holds outside of a span; None if that takes more than one."""
    first, last = part
    most = _ones(width)
    if first == last:
        return Comparison(argument, Op.NE, first, most, width)
    if first and last < most:
        return None
    op, value = (Op.LT, first) if first else (Op.GT, last)
    return Comparison(argument, op, value, most, width)


def _ones(width: int) -> int:
    return U32 if width == 32 else (1 << BITS) - 1


def conditions_of(
    sets: Sets, boxes: Sequence[Sequence[int]], rules: Iterable[Rule], abi: Abi
) -> Sequence[Predicate]:
    """Return conditions that together hold for exactly the arguments in ``boxes``.

    They are the conditions of ``rules``, as written in the policy, if these cover exactly
    ``boxes``. Raises UndecidedError if a set is too intricate.
    """
    written = [condition_for(rule.condition, abi.argument_bits) for rule in rules]
    conditions = [one for one in written if one is not None]
    if conditions and len(conditions) == len(written):
        own = united(sets, map(sets.box, conditions))
        if own == united(sets, boxes):
            return conditions
    return [All(group) for box in united(sets, boxes) for group in alternatives(sets, box)]


def united(sets: Sets, boxes: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    """Merge boxes that differ in one part only, until no two do; return them sorted."""
    found = {tuple(box) for box in boxes}
    changed = True
    while changed:
        changed = False
        for part in range(len(next(iter(found), ()))):
            alike: dict[tuple[int, ...], int] = {}
            for box in found:
                key = (*box[:part], *box[part + 1 :])
                alike[key] = sets.either(alike.get(key, NOTHING), box[part])
            if len(alike) < len(found):
                changed = True
                found = {(*key[:part], own, *key[part:]) for key, own in alike.items()}
    return sorted(found, key=lambda box: tuple(map(sets.least, box)))
