"""Dead rules are found exactly: compared with trying every value that could matter."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from plain_comparisons import holds
from seccompgen.core.errors import Position
from seccompgen.core.model import U32, U64, Action, ActionKind, All, Comparison, Op, Origin, Rule
from seccompgen.core.reach import reach

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Position("p.yml", 1, 1)
ALLOW = Action(ActionKind.ALLOW)
EDGES = (0, 1, 2, 3, U32 - 1, U32, U32 + 1, U32 + 2, 1 << 63, U64 - 1, U64)


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    width = draw(st.sampled_from((32, 64)))
    values = st.sampled_from([v for v in EDGES if v < 1 << width])
    return Comparison(
        draw(st.integers(0, 1)), draw(st.sampled_from(Op)), draw(values), draw(values), width
    )


@st.composite
def equalities(draw: st.DrawFn) -> Comparison:
    """Draw what long policies are made of; with few values, so that many rules meet."""
    width = draw(st.sampled_from((32, 64)))
    mask = draw(st.sampled_from((U32, U64)))
    value = draw(st.sampled_from((1, 2, U32 + 2)))
    op = draw(st.sampled_from((Op.EQ, Op.MASKED_EQ)))
    return Comparison(draw(st.integers(0, 1)), op, value % (1 << width), mask, width)


equal_words = st.lists(equalities(), max_size=2).map(lambda tests: All(tuple(tests)))
conditions = st.lists(comparisons(), max_size=3).map(lambda tests: All(tuple(tests)))


def rule(condition: All | None) -> Rule:
    return Rule("read", condition, ALLOW, HERE, Origin("rule", HERE))


def witnesses(conditions: Sequence[All]) -> list[int]:
    """Return values of which at least one lies in every cell that the comparisons cut out.

    Masks look at single bits of the edges used here (0, 1, 31, 32, 63), ranges at the edges;
    so all combinations of those bits, and every edge with its neighbours, suffice.
    """
    bits = (0, 1, 2, 31, 32, 33, 62, 63)
    some = {
        sum(1 << b for b in chosen) for n in range(9) for chosen in itertools.combinations(bits, n)
    }
    tests = [t for c in conditions for t in c.parts if isinstance(t, Comparison)]
    for test in tests:
        for high in (0, 1, 2, 1 << 31, U32):
            for near in (-1, 0, 1):
                some |= {(test.value + near) & U64, (high << 32) | ((test.value + near) & U32)}
    return sorted(some)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(conditions, min_size=1, max_size=4)
    | st.lists(equal_words, min_size=1, max_size=6)
    | st.lists(equal_words | conditions, min_size=3, max_size=5),
    st.sampled_from((64, 32)),
)
def test_a_rule_is_dead_exactly_if_no_call_reaches_it(rules: list[All], bits: int) -> None:
    answer = reach(tuple(rule(c) for c in rules), bits)
    dead = {found.index for found in answer.dead}
    values = [value for value in witnesses(rules) if value < 1 << bits]
    # Which tests hold depends on one argument each: try every pair of distinct verdicts.
    verdicts = []
    for argument in (0, 1):
        tests = [
            t
            for c in rules
            for t in c.parts
            if isinstance(t, Comparison) and t.argument == argument
        ]
        verdicts.append({tuple(holds(t, v) for t in tests): v for v in values}.values())
    reached, rest = set(), False
    for args in itertools.product(*verdicts):
        for i, condition in enumerate(rules):
            if all(
                holds(t, args[t.argument]) for t in condition.parts if isinstance(t, Comparison)
            ):
                reached.add(i)
                break
        else:
            rest = True
    # A reached rule must never be called dead; one called alive must be reached.
    assert dead == set(range(len(rules))) - reached
    assert answer.rest == rest


def test_what_hides_is_named() -> None:
    first = rule(All((Comparison(0, Op.LT, 5),)))
    second = rule(All((Comparison(0, Op.GT, 3),)))
    (found,) = reach((first, second, rule(None))).dead
    assert (found.index, found.hidden_by) == (2, (first, second))
    (found,) = reach((rule(None), first)).dead
    assert found.hidden_by == (rule(None),)
