"""Sets of values as ranges, and single tests between two of them, beside plain sets of numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seccompgen.compile.diagram import CompareOp
from seccompgen.compile.ranges import (
    EVERY,
    Ranges,
    divided,
    joined,
    mask_between,
    parts_taken,
)
from seccompgen.compile.ranges import (
    test_between as between,
)
from seccompgen.core.model import U32

bounded = settings(derandomize=True, deadline=None, database=None, max_examples=100)
SMALL = range(64)
RELATIONS = st.sampled_from(CompareOp)


def holds(relation: CompareOp, k: int, value: int) -> bool:
    return {
        CompareOp.EQ: value == k,
        CompareOp.GT: value > k,
        CompareOp.GE: value >= k,
        CompareOp.ANY_BITS: value & k != 0,
    }[relation]


def ranges(values: set[int]) -> Ranges:
    found: Ranges = ()
    for value in sorted(values, key=lambda value: value * 37 % 64):
        found = joined(found, ((value, value),))
    return found


def values(found: Ranges) -> set[int]:
    """Return the values, and assert that the ranges are as they should be."""
    assert all(first <= last for first, last in found)
    assert all(before[1] < after[0] for before, after in pairwise(found))
    return {value for first, last in found for value in range(first, last + 1)}


SETS = st.sets(st.sampled_from(SMALL))


@bounded
@given(SETS, SETS)
def test_joined_has_the_values_of_either(one: set[int], other: set[int]) -> None:
    assert values(joined(ranges(one), ranges(other))) == one | other


@bounded
@given(SETS, RELATIONS, st.sampled_from(SMALL))
def test_a_test_divides_values_by_its_outcome(of: set[int], relation: CompareOp, k: int) -> None:
    true, false = divided(ranges(of), relation, k)
    assert values(true) == {value for value in of if holds(relation, k, value)}
    assert values(false) == of - values(true)


@pytest.mark.parametrize("mask", [1, 0x40000000, 0x80000001, U32])
def test_no_value_of_a_long_range_is_lost(mask: int) -> None:
    true, false = divided(EVERY, CompareOp.ANY_BITS, mask)
    for value in (0, 1, 2, 512, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, U32):
        side = true if value & mask else false
        assert any(first <= value <= last for first, last in side)


@bounded
@given(st.data())
def test_a_test_is_found_where_there_is_one(data: st.DataObject) -> None:
    """The sets are what some test with room around it makes of drawn values, or drawn."""
    of = data.draw(st.sets(st.sampled_from(SMALL), min_size=2))
    relation, k = data.draw(RELATIONS), data.draw(st.sampled_from(SMALL))
    yes = {value for value in of if holds(relation, k, value)}
    no = of - yes
    if data.draw(st.booleans()):
        yes, no = no, yes
    found = between(ranges(yes), ranges(no))
    assert (found is None) == (not yes or not no)
    if found is not None:
        assert all(holds(found.relation, found.k, value) == found.holds for value in yes)
        assert all(holds(found.relation, found.k, value) != found.holds for value in no)


@pytest.mark.long("compiles many programs")
@bounded
@given(SETS, SETS)
def test_a_test_between_any_two_sets_is_one_of_all_tests(yes: set[int], no: set[int]) -> None:
    no -= yes
    found = between(ranges(yes), ranges(no))
    exists = bool(yes and no) and any(
        {holds(relation, k, value) for value in yes} == {meant}
        and {holds(relation, k, value) for value in no} == {not meant}
        for relation in CompareOp
        for k in range(128)
        for meant in (True, False)
    )
    assert (found is not None) == exists
    mask = mask_between(ranges(yes), ranges(no))
    assert not mask or (all(v & mask for v in yes) and not any(v & mask for v in no))


@bounded
@given(st.sets(st.sampled_from(SMALL), min_size=1), st.sets(st.sampled_from(SMALL), min_size=1))
def test_what_is_taken_of_some_values_is_what_the_test_takes(of: set[int], no: set[int]) -> None:
    of = of - no or {64}
    seen = 0
    for taken, left, test in parts_taken(ranges(of), ranges(no)):
        seen += 1
        assert values(taken)
        assert values(taken) == {v for v in of if holds(test.relation, test.k, v) == test.holds}
        assert values(left) == of - values(taken)
        assert not any(holds(test.relation, test.k, v) == test.holds for v in no)
    assert seen
