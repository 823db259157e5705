"""Sets of values of one word as ranges, and the single tests that separate two sets.

A set is a sorted tuple of ranges (first, last), both included, without overlap. A test of bits may
assign a long range to both of its outcomes; no value is ever lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.compile.diagram import CompareOp
from seccompgen.compile.tree import some_with, some_without
from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Iterator

Ranges: TypeAlias = tuple[tuple[int, int], ...]

EVERY: Ranges = ((0, U32),)
_TAKEN_APART = 1 << 10
"""A range up to this length is divided exactly by a test of bits."""
_TRIED_ALONE = 8
"""Values of a range up to this length are tried one by one."""


class WordTest(NamedTuple):
    """The test of a word's ``relation`` to ``k``; ``holds`` is the outcome that is meant."""

    relation: CompareOp
    k: int
    holds: bool = True


def joined(one: Ranges, other: Ranges) -> Ranges:
    """Return the union of two sets."""
    if not one or not other:
        return one or other
    found: list[tuple[int, int]] = []
    for first, last in sorted((*one, *other)):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return tuple(found)


def divided(values: Ranges, relation: CompareOp, k: int) -> tuple[Ranges, Ranges]:
    """Return the ``values`` for which the test can hold, and those for which it can fail."""
    if relation is CompareOp.ANY_BITS:
        return _by_bits(values, k)
    if relation is CompareOp.EQ:
        least, most = k, k
    else:
        least, most = k + (relation is CompareOp.GT), U32
    inside: list[tuple[int, int]] = []
    outside: list[tuple[int, int]] = []
    for first, last in values:
        if first < least:
            outside.append((first, min(last, least - 1)))
        if first <= most and last >= least:
            inside.append((max(first, least), min(last, most)))
        if last > most:
            outside.append((max(first, most + 1), last))
    return tuple(inside), tuple(outside)


def _by_bits(values: Ranges, mask: int) -> tuple[Ranges, Ranges]:
    some: list[tuple[int, int]] = []
    none: list[tuple[int, int]] = []
    stack = list(reversed(values))
    while stack:
        first, last = stack.pop()
        if not some_with(first, last, mask):
            none.append((first, last))
        elif not some_without(first, last, mask):
            some.append((first, last))
        elif last - first > _TAKEN_APART:
            some.append((first, last))
            none.append((first, last))
        else:
            bit = (first ^ last).bit_length() - 1
            middle = last >> bit << bit
            stack += [(middle, last), (first, middle - 1)]
    return tuple(some), tuple(none)


def _any_bits(values: Ranges) -> int:
    """Return the bits that are set in some of ``values``."""
    found = 0
    for first, last in values:
        found |= first | (1 << (first ^ last).bit_length()) - 1
    return found


def _all_bits(values: Ranges) -> int:
    """Return the bits that are set in all of ``values``."""
    found = U32
    for first, last in values:
        found &= first & ~((1 << (first ^ last).bit_length()) - 1)
    return found


def mask_between(yes: Ranges, no: Ranges) -> int:
    """Return a mask that shares a bit with each value of ``yes`` and none with ``no``, or 0.

    More bits match more of ``yes``, so only the largest mask that matches none of ``no`` is tried.
    """
    mask = _any_bits(yes) & ~_any_bits(no)
    return 0 if any(some_without(first, last, mask) for first, last in yes) else mask


def test_between(yes: Ranges, no: Ranges) -> WordTest | None:
    """Return a test that has the meant outcome for all of ``yes`` and none of ``no``, or None."""
    return _holding(yes, no, holds=True) or _holding(no, yes, holds=False)


def _holding(yes: Ranges, no: Ranges, *, holds: bool) -> WordTest | None:
    if not yes or not no:
        return None
    if yes[0][0] == yes[-1][1] and not divided(no, CompareOp.EQ, yes[0][0])[0]:
        return WordTest(CompareOp.EQ, yes[0][0], holds)
    if yes[0][0] > no[-1][1]:
        return WordTest(CompareOp.GE, yes[0][0], holds)
    mask = mask_between(yes, no)
    return WordTest(CompareOp.ANY_BITS, mask, holds) if mask else None


def parts_taken(values: Ranges, others: Ranges) -> Iterator[tuple[Ranges, Ranges, WordTest]]:
    """Yield tests that take some of ``values`` and none of ``others``: taken, left, and the test.

    Comparisons and tests of several bits are those that take most; single values come one by one.
    """
    least, most = others[0][0], others[-1][1]
    taken, left = divided(values, CompareOp.GT, most)
    if taken:
        yield taken, left, WordTest(CompareOp.GE, taken[0][0])
    left, taken = divided(values, CompareOp.GE, least)
    if taken:
        yield taken, left, WordTest(CompareOp.GE, least, holds=False)
    mask = _any_bits(values) & ~_any_bits(others)
    if mask:
        taken, left = _by_bits(values, mask)
        yield taken, left, WordTest(CompareOp.ANY_BITS, mask)
    shared = _all_bits(others)
    while shared:
        bit = shared & -shared
        shared ^= bit
        left, taken = _by_bits(values, bit)
        if taken:
            yield taken, left, WordTest(CompareOp.ANY_BITS, bit, holds=False)
    for first, last in values:
        if last - first < _TRIED_ALONE:
            for k in range(first, last + 1):
                yield (*divided(values, CompareOp.EQ, k), WordTest(CompareOp.EQ, k))
