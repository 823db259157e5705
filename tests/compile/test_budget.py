"""The steps of a search: counted alike whatever is cached, and enough for the calls that follow."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from peer_rules import arg, plain, policy_of, rule
from seccompgen.compile.budget import Budget, Results, Steps, TooManyError
from strategies import plain_tables, programs

if TYPE_CHECKING:
    from collections.abc import Callable


def taking(steps: int, made: list[int]) -> Callable[[Steps], str]:
    def make(own: Steps) -> str:
        made.append(steps)
        own.spend(steps)
        return "result"

    return make


def test_a_cached_result_takes_as_many_steps_as_a_new_one() -> None:
    results: Results[str, str] = Results()
    made: list[int] = []
    for _ in range(2):
        steps = Steps(100)
        assert results.of("key", steps, taking(30, made)) == "result"
        assert (steps.left, steps.spent) == (70, 30)
    assert made == [30]
    with pytest.raises(TooManyError):
        results.of("key", Steps(29), taking(30, made))
    assert results.of("key", Steps(30), taking(30, made)) == "result"


def test_what_took_too_many_steps_is_tried_again_with_more_only() -> None:
    results: Results[str, str] = Results()
    made: list[int] = []
    for left in (20, 20, 10):
        with pytest.raises(TooManyError):
            results.of("key", Steps(left), taking(30, made))
    assert len(made) == 1
    assert results.of("key", Steps(30), taking(30, made)) == "result"
    assert len(made) == 2


def test_a_call_that_takes_all_steps_leaves_the_next_its_own() -> None:
    budget = Budget()
    budget.begin_call(100)
    assert budget.is_thorough
    with pytest.raises(TooManyError):
        while True:
            budget.words_to_try(2, 1000)
    budget.begin_call(100)
    assert not budget.is_spent
    assert not budget.is_thorough
    assert budget.words_to_try(2, 10) == 1


def test_the_instructions_of_all_calls_together_give_steps() -> None:
    budget = Budget(thorough=False)
    begun = 0
    for _ in range(10):
        budget.begin_call(4096)
        begun += not budget.is_spent
    assert begun == 2


def test_a_small_call_may_take_all_its_steps_at_once() -> None:
    """A quarter of them, as large calls get of what is left, was too little for small ones."""
    budget = Budget(thorough=False)
    for instructions, most in ((10, 20_000), (1000, 500_000)):
        budget.begin_call(instructions)
        with budget.attempt() as steps:
            assert steps.left == most


def test_no_call_of_many_goes_without_a_plan() -> None:
    """After 4,500 steps in all, each call got the first order of words: 859 instructions."""
    draw = random.Random(0)
    names = sorted(plain_tables()["x86_64"])[10:64]
    groups = [
        rule(
            "allow",
            *([arg(n, "==", draw.randrange(1 << 16)) for n in range(2)] for _ in range(3)),
            name=name,
        )
        for name in names
    ]
    program = programs(policy_of("x86_64", groups, "errno"))["x86_64"]
    assert not program.in_order
    assert len(program.instructions) < 650


def test_a_plan_takes_the_place_of_the_straightforward_program_by_its_measure() -> None:
    """Forty tests one after the other are six instructions longer, and a path is 141 long."""
    draw = random.Random("flags")
    cases = []
    for _ in range(40):
        mask = sum(1 << bit for bit in draw.sample(range(32), 8))
        masked = arg(1, "==", draw.getrandbits(32) & mask, mask=mask, width=64)
        cases.append([masked | {"operation": "MaskedEqual"}, arg(2, "==", draw.randrange(8))])
    program = programs(policy_of("x86_64", [rule("allow", *cases, name="ioctl")], "errno"))
    assert program["x86_64"].cost.longest < 60


def test_the_price_of_the_longest_path_is_divided_among_calls_that_are_as_deep() -> None:
    """When each paid all of it, plans longer than rules in order won: 413 instructions."""
    names = sorted(plain_tables()["x86_64"])[10:40]
    groups = [
        group
        for n, name in enumerate(names)
        for group in (
            rule("errno(1)", [arg(n % 6, "==", n)], name=name),
            rule("errno(2)", [arg((n + 1) % 6, ">", n << 32)], name=name),
            plain("log", name),
        )
    ]
    program = programs(policy_of("x86_64", groups, "errno") | {"multiplexed": "errno"})["x86_64"]
    assert len(program.instructions) < 300
