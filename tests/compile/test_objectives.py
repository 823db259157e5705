"""Objectives change what a program costs, and never what it means."""

from __future__ import annotations

import itertools
import random
from functools import cache
from statistics import mean

import pytest
from corpus import (
    ALLOW,
    EACH_SET,
    SETS,
    Figures,
    corpus,
    direct,
    executed,
    figures,
    our_program,
    satisfying,
    translated,
)
from drawing import bounded
from hypothesis import given, settings
from hypothesis import strategies as st
from longer import few_and_many, long_but
from oracle import Meaning
from probes import interesting_calls
from seccompgen.core.objective import Objective, Optimize, Profile
from strategies import assert_bitmap_holds, assert_means, compiled, plain_tables, policies

BALANCED, SPEED, SIZE = Optimize


def profile(counts: dict[str, int]) -> Profile:
    return Profile(counts, "counts.json", "0" * 64)


# --- what they mean ----------------------------------------------------------------------------

COUNTS = st.sampled_from([0, 1, 2, 1000, 2**40]) | st.integers(0, 10**6)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Draw a profile: of no call to nearly all, of some that the policy does not mention."""
    names = sorted({*plain_tables()["x86_64"], *plain_tables()["arm"]})
    most = draw(st.sampled_from([1, 5, 40, 400]))
    rng = random.Random(draw(st.integers(0, 2**16)))
    some = rng.sample(names, min(most, len(names)))
    counts = draw(st.lists(COUNTS, min_size=1, max_size=8))
    return profile({name: rng.choice(counts) for name in some})


@few_and_many(1, 4)
def test_random_policies_mean_the_same_under_each(examples: int) -> None:
    @settings(bounded, max_examples=examples)
    @given(data=st.data())
    def examine(data: st.DataObject) -> None:
        assert_means_the_same_under_each(data)

    examine()


def assert_means_the_same_under_each(data: st.DataObject) -> None:
    abi = data.draw(st.sampled_from(["x86_64", "s390x", "mips64", "arm"]))
    policy = data.draw(policies(plain_tables(), abi))
    measured = data.draw(profiles())
    meaning = Meaning(policy, plain_tables(), abi)
    calls = list(interesting_calls(policy, plain_tables(), abi))
    programs: dict[bytes, Objective] = {}
    for optimize, bitmap, known in itertools.product(Optimize, (True, False), (None, measured)):
        objective = Objective(optimize, bitmap, known)
        programs.setdefault(compiled(policy, objective)[abi], objective)
    for program, objective in programs.items():
        assert_means(program, meaning, calls, (objective, policy))
        # Also where the objective says that no kernel has a bitmap: the next one may.
        assert_bitmap_holds(program, meaning)


# --- what they cost ----------------------------------------------------------------------------

of_each_corpus = pytest.mark.parametrize("which", EACH_SET)
LARGE = {"docker", "go-example", "systemd-service", "container-default", "journal"}
SOME = {which: sorted({*names[::7]} | LARGE & {*names}) for which, names in SETS.items()}


@cache
def measured(name: str, optimize: Optimize, *, bitmap: bool = True) -> Figures:
    code = our_program(name, Objective(optimize, bitmap))
    return figures(corpus()[name], code)


def under_profile(name: str, objective: Objective) -> bytes:
    """Return the program for an objective with a profile, which nobody asks for twice."""
    return compiled(translated(corpus()[name]), objective)["x86_64"]


def allowed_calls(name: str, *, conditional: bool) -> dict[str, int]:
    """Return the calls that have rules of a policy and may be allowed."""
    numbers = plain_tables()["x86_64"]
    return {
        call: nr
        for call, nr in numbers.items()
        if (rules := corpus()[name]["rules"].get(str(nr)))
        and any(action == ALLOW for _, action in rules)
        and (not conditional or rules[0][0] is not None)
    }


def path(name: str, code: bytes, nr: int) -> float:
    """Return how many instructions a call takes where it is allowed: the mean over its ways."""
    entry = corpus()[name]
    conjunctions = [c for condition, _ in entry["rules"][str(nr)] for c in condition or [[]]]
    ways = [args for args in map(satisfying, conjunctions) if direct(entry, nr, args) == ALLOW]
    return mean(executed(code, nr, args) for args in ways)


@pytest.mark.parametrize(
    "name",
    long_but(
        SOME["ours"],
        [name for names in SOME.values() for name in names],
        "more of the policies of ../shared",
    ),
)
def test_size_is_the_shortest(name: str) -> None:
    lengths = {optimize: measured(name, optimize).length for optimize in Optimize}
    assert lengths[SIZE] == min(lengths.values())


@of_each_corpus
def test_size_is_worth_its_name(which: str) -> None:
    lengths = {how: sum(measured(name, how).length for name in SOME[which]) for how in Optimize}
    assert lengths[SIZE] < lengths[SPEED]


@of_each_corpus
def test_speed_executes_least(which: str) -> None:
    """With a bitmap, calls that are allowed anyway count only where all else is equal."""
    for bitmap, column, slack in (
        (True, "conditional", 1.0),
        (True, "mean", 1.02),
        (False, "mean", 1.0),
    ):
        total = {
            how: sum(
                getattr(measured(name, how, bitmap=bitmap), column) or 0 for name in SOME[which]
            )
            for how in Optimize
        }
        assert total[SPEED] <= total[BALANCED] * slack, column
        assert total[SPEED] < total[SIZE], column


@of_each_corpus
def test_balanced_bounds_the_longest_path(which: str) -> None:
    longest = {how: sum(measured(name, how).longest for name in SOME[which]) for how in Optimize}
    assert longest[BALANCED] <= longest[SPEED]


@of_each_corpus
def test_what_the_bitmap_answers_gets_no_short_path_at_the_cost_of_the_rest(which: str) -> None:
    with_it = [measured(name, BALANCED, bitmap=True) for name in SOME[which]]
    without = [measured(name, BALANCED, bitmap=False) for name in SOME[which]]
    assert sum(one.conditional or 0 for one in with_it) < sum(o.conditional or 0 for o in without)
    assert sum(one.mean for one in without) < sum(one.mean for one in with_it)


@pytest.mark.long("compiles many policies")
@of_each_corpus
def test_under_a_profile_speed_executes_no_more_than_balanced(which: str) -> None:
    rng = random.Random(0)
    total = dict.fromkeys(Optimize, 0.0)
    for name in SOME[which]:
        calls = allowed_calls(name, conditional=False)
        order = rng.sample(sorted(calls), len(calls))
        counts = {call: 10**6 // place**2 for place, call in enumerate(order, 1)}
        for how in Optimize if calls else ():
            code = under_profile(name, Objective(how, bitmap=False, profile=profile(counts)))
            cost = sum(counts[call] * path(name, code, nr) for call, nr in calls.items())
            total[how] += cost / sum(counts.values())
    assert total[SPEED] <= total[BALANCED]
    assert total[SPEED] < total[SIZE]


@pytest.mark.few(1, "compiles many programs", long=3)
@of_each_corpus
@pytest.mark.parametrize("bitmap", [True, False])
@pytest.mark.parametrize("optimize", [BALANCED, SPEED])
def test_a_call_that_alone_was_seen_gets_the_shorter_path(
    which: str, optimize: Optimize, bitmap: bool
) -> None:
    before = after = 0.0
    for name in SOME[which]:
        # Where the bitmap answers, the path of a call that needs no look at arguments is nobody's.
        calls = allowed_calls(name, conditional=bitmap)
        if calls:
            plain = our_program(name, Objective(optimize, bitmap))
            slowest = max(calls, key=lambda call: path(name, plain, calls[call]))
            seen = Objective(optimize, bitmap, profile({slowest: 10**6}))
            one, other = (path(name, p, calls[slowest]) for p in (plain, under_profile(name, seen)))
            assert other <= one, (name, slowest)
            before += one
            after += other
    assert after < before
