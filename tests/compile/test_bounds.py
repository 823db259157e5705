"""Stated costs are the real ones, and no program costs less than its bound."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import interpreter
import pytest
from corpus import NAMES, corpus, our_compiled, ours, translated
from drawing import bounded
from hypothesis import given, settings
from hypothesis import strategies as st
from longer import few_and_many, long_but
from oracle import ABIS
from probes import Call, interesting_calls
from seccompgen.core.objective import Objective, Optimize
from seccompgen.core.program import CompiledProgram, Cost
from strategies import plain_tables, policies, programs


def policy(*names: str, **entry: Any) -> dict[str, Any]:
    group: dict[str, Any] = {"action": "allow", "names": list(names)}
    if entry:
        group["names_with_args"] = [entry]
    return {"arches": ["aarch64"], "default_action": "errno", "syscalls": [group]}


def test_where_the_shortest_program_is_plain_to_see_it_is_the_bound() -> None:
    # Load arch, test it; load nr, test it; three answers.
    program = programs(policy("read"))["aarch64"]
    assert program.cost == program.bound == Cost(7, 5, 5.0)


def test_a_condition_takes_a_load_and_a_test_more() -> None:
    rule = {"argument": 0, "operation": "Equal", "value": 1, "width": 32}
    program = programs(policy(name="read", arguments=[rule]))["aarch64"]
    assert astuple(program.cost)[:2] == astuple(program.bound)[:2] == (9, 7)
    assert 6.5 < program.cost.expected == program.bound.expected < 7


def test_both_halves_of_a_word_take_twice_as_much() -> None:
    rule = {"argument": 0, "operation": "Equal", "value": 1}
    program = programs(policy(name="read", arguments=[rule]))["aarch64"]
    assert program.cost.longest == program.bound.longest == 9
    # That the second half needs instructions of its own is not known to the bound of the length.
    assert (program.cost.length, program.bound.length) == (11, 9)


def executed(code: bytes, abi: str, call: Call) -> int:
    order = ABIS[abi].byte_order
    data = interpreter.seccomp_data(call.nr, call.arch, call.args, 0, order)
    return interpreter.run(code, data, order).executed


def assert_told_right(one: dict[str, Any], program: CompiledProgram) -> None:
    """Assert that the figures of ``program``, which is of the policy ``one``, are what it costs."""
    for cost, bound in zip(astuple(program.cost), astuple(program.bound), strict=True):
        assert 0 < bound <= cost * (1 + 1e-9)
    code, abi = program.to_bytes(), program.abi.name
    assert program.cost.length == len(code) // 8
    ways = [executed(code, abi, c) for c in interesting_calls(one, plain_tables(), abi)]
    assert max(ways) <= program.cost.longest
    assert min(ways) <= program.cost.expected <= program.cost.longest


@few_and_many(3, 12)
def test_random_policies(examples: int) -> None:
    @settings(bounded, max_examples=examples)
    @given(data=st.data())
    def examine(data: st.DataObject) -> None:
        abi = data.draw(st.sampled_from(["x86_64", "mips", "arm"]))
        one = data.draw(policies(plain_tables(), abi))
        goal = data.draw(st.sampled_from(list(Optimize)))
        objective = Objective(goal, bitmap=data.draw(st.booleans()))
        for program in programs(one, objective).values():
            assert_told_right(one, program)

    examine()


@pytest.mark.parametrize(
    "name",
    long_but(
        sorted(ours())[::4],
        sorted({*sorted(ours())[::4], *NAMES[::3]}),
        "more realistic policies, also of ../shared",
    ),
)
def test_realistic_policies(name: str) -> None:
    assert_told_right(translated(corpus()[name]), our_compiled(name))
