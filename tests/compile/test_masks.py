"""Masks: how long programs are that tell them apart, to the instruction, and that they are right.

A figure here is the best that is known. A program that comes out shorter is good news, and for the
figure to follow; one that comes out longer is a cliff that had been taken away.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import interpreter
import pytest
from longer import long_but
from oracle import ABIS, U32, U64, Meaning
from probes import Call, interesting_calls
from seccompgen.core.objective import DEFAULT_OBJECTIVE, Objective, Optimize
from strategies import assert_means, plain_tables, programs

if TYPE_CHECKING:
    from collections.abc import Sequence

Rules = list[list[dict[str, Any]]]

BALANCED, SPEED, SIZE = Optimize
X86_64 = ABIS["x86_64"].audit_arch


def equal(argument: int, value: int, width: int = 64) -> dict[str, Any]:
    return {"argument": argument, "operation": "Equal", "value": value, "width": width}


def masked(argument: int, mask: int, value: int, width: int = 64) -> dict[str, Any]:
    return {
        "argument": argument,
        "operation": "MaskedEqual",
        "mask": mask,
        "value": value,
        "width": width,
    }


def no_bits(argument: int, mask: int, width: int = 64) -> dict[str, Any]:
    return {"argument": argument, "operation": "BitsNotSet", "value": mask, "width": width}


def policy(
    rules: Rules, default: str = "errno", actions: Sequence[str] = ("allow",)
) -> dict[str, Any]:
    """Return a policy of ``rules``, which have ``actions`` in turn."""
    entries = [{"name": "ioctl", "arguments": rule} for rule in rules]
    groups = [
        {"action": actions[n % len(actions)], "names_with_args": [entry]}
        for n, entry in enumerate(entries)
    ]
    return {"arches": ["x86_64"], "default_action": default, "syscalls": groups}


def figures(one: dict[str, Any], objective: Objective = DEFAULT_OBJECTIVE) -> tuple[int, int]:
    """Return length and longest path of the program, which is seen to be right first."""
    program = programs(one, objective)["x86_64"]
    meaning = Meaning(one, plain_tables(), "x86_64")
    entries = [group["names_with_args"][0]["arguments"] for group in one["syscalls"]]
    rng = random.Random(0)
    ioctl = plain_tables()["x86_64"]["ioctl"]
    near = []
    for _ in range(500):
        args = [rng.getrandbits(rng.choice([4, 8, 16, 64])) for _ in range(6)]
        for test in rng.choice(entries):
            fits = test["operation"] != "BitsNotSet"
            mask = test.get("mask", U64) if fits else test["value"]
            value = test["value"] if fits else 0
            args[test["argument"]] = args[test["argument"]] & ~mask & U64 | value
        if rng.random() < 0.5:
            args[rng.randrange(3)] ^= 1 << rng.randrange(64)
        near.append(Call(X86_64, ioctl, tuple(args)))
    calls = [*interesting_calls(one, plain_tables(), "x86_64"), *near]
    assert len(assert_means(program.to_bytes(), meaning, calls, objective)) >= 2
    return program.cost.length, program.cost.longest


def differing(count: int) -> list[tuple[int, int]]:
    """Return masks and values without a pattern."""
    rng = random.Random(count)
    masks = [rng.getrandbits(32) for _ in range(count)]
    return [(mask, rng.getrandbits(32) & mask) for mask in masks]


def sharing(alternatives: list[tuple[int, int]]) -> Rules:
    """Return rules that all ask the same of two other arguments."""
    return [[equal(0, 0), masked(1, *one), equal(2, 2)] for one in alternatives]


@pytest.mark.few(3, "compiles many programs")
@pytest.mark.parametrize("optimize", list(Optimize))
@pytest.mark.parametrize("count", [4, 5, 8, 12])
def test_what_masks_share_is_asked_once(count: int, optimize: Optimize) -> None:
    # Three instructions for each mask, but that the first is loaded already.
    length = 17 + 3 * count
    goal = Objective(optimize)
    assert figures(policy(sharing(differing(count))), goal) == (length, length - 4)


@pytest.mark.long("compiles many programs")
def test_what_masks_share_is_asked_once_where_other_arguments_make_them_many() -> None:
    """Masks on two arguments have no small diagram in any order: the plain way shares as well."""
    rng = random.Random(0)

    def pair() -> tuple[int, int]:
        mask = rng.getrandbits(32)
        return mask, rng.getrandbits(32) & mask

    rules = [[equal(0, 0), masked(1, *pair()), masked(3, *pair()), equal(2, 2)] for _ in range(12)]
    assert figures(policy(rules)) == (89, 85)
    # With two answers, one more; and rules with one answer are no longer in a row.
    assert figures(policy(rules, actions=("allow", "log"))) == (90, 85)


@pytest.mark.parametrize(("goal", "length"), [(BALANCED, 23), (SPEED, 22), (SIZE, 22)])
def test_the_masks_of_libseccomps_own_test(goal: Optimize, length: int) -> None:
    """Its test 12, but for bits of a value outside of its mask, which are an error here."""
    others = [(0xFF, 1), (0xFFFF, 11), (0xFFFF, 111), (0xFF00, 0x300)]
    rules = [[equal(0, 0), equal(1, 1), equal(2, 2)], *sharing(others)]
    assert figures(policy(rules, "kill_process"), Objective(goal)) == (length, length - 1)


@pytest.mark.long("compiles many programs; the test above has such masks")
@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("masks", [(0x7, 0x70, 0x700, 0x7000), (0x3, 0x6, 0xC, 0x18)])
def test_only_these_bits_is_not_taken_for_zero(masks: tuple[int, ...], width: int) -> None:
    every = U32 if width == 32 else U64
    rules = [[no_bits(0, every & ~mask, width), equal(1, i)] for i, mask in enumerate(masks)]
    high = 2 * (width == 64)
    assert figures(policy(rules), Objective(SPEED)) == (24 + high, 13 + high)
    assert figures(policy(rules), Objective(SIZE))[0] == 24 + high


def executed(program: bytes, *args: int) -> int:
    ioctl = plain_tables()["x86_64"]["ioctl"]
    data = interpreter.seccomp_data(ioctl, X86_64, [*args, *[0] * (6 - len(args))])
    return interpreter.run(program, data, "little").executed


def test_speed_is_no_slower_than_size_over_all_that_a_rule_takes() -> None:
    masks = (0x3, 0x6, 0xC, 0x18)
    one = policy([[no_bits(0, U64 & ~mask), equal(1, i)] for i, mask in enumerate(masks)])
    taken = [(v, i) for i, mask in enumerate(masks) for v in range(32) if not v & ~mask]
    speed, size = (programs(one, Objective(how))["x86_64"].to_bytes() for how in (SPEED, SIZE))
    total = [sum(executed(program, *args) for args in taken) for program in (speed, size)]
    assert total[0] <= total[1]


@pytest.mark.parametrize("goal", list(Optimize))
@pytest.mark.parametrize(
    "values",
    [
        (0, 1, 2, 8, 9, 10),  # and ~8, jge 3
        (5, 7, 37, 39, 133, 135, 165, 167),  # and ~0xa2, jeq 5
    ],
)
def test_bits_that_do_not_matter_are_masked_first(values: Sequence[int], goal: Optimize) -> None:
    one = policy([[equal(0, value, 32)] for value in values])
    assert figures(one, Objective(goal))[0] == 12


@pytest.mark.few(2, "compiles many programs")
@pytest.mark.parametrize("seed", long_but(range(6), range(60), "more random values"))
def test_values_without_some_bits_mean_what_they_say(seed: int) -> None:
    rng = random.Random(seed)
    mask = rng.getrandbits(32) | 1 << 31
    mask = rng.choice([mask, mask & rng.getrandbits(32), U32 & ~(1 << rng.randrange(32))])
    values = {rng.getrandbits(5) for _ in range(rng.randint(1, 9))}
    tests = [masked(0, mask, _scattered(value, mask), 32) for value in sorted(values)]
    figures(policy([[test] for test in tests]), Objective(rng.choice(list(Optimize))))


def _scattered(value: int, mask: int) -> int:
    """Return the bits of ``value`` at the places of the bits of ``mask``."""
    bits = [1 << bit for bit in range(32) if mask >> bit & 1]
    return sum(bit for place, bit in enumerate(bits) if value >> place & 1)


@pytest.mark.few(2, "compiles many programs")
@pytest.mark.parametrize("seed", long_but(range(8), range(30), "more random masks"))
def test_random_masks_on_one_word_mean_what_they_say(seed: int) -> None:
    rng = random.Random(seed)
    bits = rng.choice([4, 7, 10, 16, 32])
    rules: Rules = []
    for _ in range(rng.randint(2, 7)):
        mask = rng.randrange(1, 1 << bits)
        rules.append([masked(0, mask, rng.getrandbits(bits) & mask, rng.choice([32, 64]))])
    alive = [rule for rule in rules if not any(covers(o[0], rule[0]) for o in rules if o != rule)]
    one = policy([rule for i, rule in enumerate(alive) if rule not in alive[:i]])
    figures(one, Objective(rng.choice(list(Optimize))))


def covers(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Say whether ``one`` surely holds where ``other`` does."""
    wide = one["width"] == 32 or other["width"] == 64
    inside = one["mask"] & other["mask"] == one["mask"]
    return bool(wide and inside and other["value"] & one["mask"] == one["value"])
