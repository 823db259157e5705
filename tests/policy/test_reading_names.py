"""Conditions that were written by `core.naming` are the same conditions when they are read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_facts import known_facts
from named_conditions import comparisons_of
from seccompgen.core.abis import ABIS, Abi
from seccompgen.core.model import All, Predicate, condition_for
from seccompgen.core.naming import Naming
from seccompgen.core.sets import NOTHING, Box, Sets
from seccompgen.policy.conditions import Lookup, alternatives
from seccompgen.policy.expressions import parse_condition

FACTS = known_facts()
NAMING = Naming(FACTS)
CALLS = {name: len(one.parameters) for name, one in FACTS.prototypes["x86_64"].items()}


def read(text: str, call: str, abi: Abi) -> tuple[Predicate | None, ...]:
    """Return the alternatives that ``text`` means in a policy."""
    expression, lookup = parse_condition(text), Lookup(FACTS, abi)
    numbers = lookup.numbers(expression, call)
    assert numbers is not None, (text, lookup.lacks)
    return alternatives(expression, numbers)


def covers(sets: Sets, boxes: list[Box], cuts: list[Box]) -> bool:
    """Return True if all of ``boxes`` is in some of ``cuts``."""
    left = [box for box in boxes if NOTHING not in box]
    for cut in cuts:
        left = [piece for box in left for piece in sets.without(box, cut)]
    return not left


@pytest.mark.long("reads many policies")
@settings(max_examples=120, deadline=None)
@given(st.data())
def test_what_is_written_is_read_as_it_was(data: st.DataObject) -> None:
    call = data.draw(st.sampled_from(sorted(CALLS)))
    abi = ABIS[data.draw(st.sampled_from(("x86_64", "mips", "alpha", "s390x", "i386", "mips64")))]
    conjunction = st.lists(comparisons_of(CALLS[call]), min_size=1, max_size=2)
    some = data.draw(st.lists(conjunction, min_size=1, max_size=2))
    conditions = [All(tuple(tests)) for tests in some]
    text = NAMING.alternatives(conditions, call, abi)
    sets, bits = Sets(), abi.argument_bits
    meant = [sets.box(condition_for(one, bits)) for one in conditions]
    found = [sets.box(condition_for(one, bits)) for one in read(text, call, abi)]
    assert covers(sets, meant, found), (text, conditions)
    assert covers(sets, found, meant), (text, conditions)
