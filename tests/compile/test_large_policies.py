"""Policies that are large, or look it: other compilers get them wrong, or never finish.

The peers are libseccomp, minijail, kafel, go-seccomp-bpf, seccompiler and seccompy.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from command import seccompgen, snapshot
from longer import long_but
from oracle import U32, Meaning
from peer_rules import (
    CALL,
    HELPERS,
    HIGH,
    LITTLE_AND_BIG,
    Group,
    arg,
    calls_of,
    grid,
    plain,
    policy_of,
    rule,
)
from probes import interesting_calls
from seccompgen.core.objective import Objective, Optimize, Profile
from strategies import assert_means, compiled, plain_tables

if TYPE_CHECKING:
    from pathlib import Path


# --- jumps that get longer ------------------------------------------------------------------------


def values_of(kind: str, count: int) -> list[int]:
    rng = random.Random(count)
    return {
        "scattered": rng.sample(range(HIGH), count),
        "scattered over both words": rng.sample(range(2**48), count),
        "every third": [*range(1000, 1000 + 3 * count, 3)],
        "multiples of a power of two": [n << 20 for n in range(1, count + 1)],
    }[kind]


KINDS = ["scattered", "scattered over both words", "every third", "multiples of a power of two"]


LISTS = [
    *itertools.product(["x86_64"], KINDS[:1], [63, 64, 65, 129]),
    *itertools.product(["x86_64"], KINDS[1:], [64, 129]),
    *itertools.product(["s390x"], KINDS[:2], [64, 129]),
]
SHORT_LISTS = [
    *itertools.product(["x86_64"], [KINDS[0], *KINDS[2:]], [64]),
    ("s390x", KINDS[1], 64),
]


@pytest.mark.long("compiles many programs")
@pytest.mark.parametrize(
    ("abi", "kind", "count"), long_but(SHORT_LISTS, LISTS, "longer lists, around each power of two")
)
def test_a_list_of_values_is_that_list(abi: str, kind: str, count: int) -> None:
    values = values_of(kind, count)
    table = plain_tables()[abi]
    first, *_, last = sorted(table, key=lambda name: table[name])
    groups = [
        plain("allow", first, last),
        rule("errno(11)", *([arg(1, "==", value)] for value in values)),
        rule("errno(12)", [arg(1, "==", values[0] + 1), arg(2, "==", 5)]),
        # Once more, with something behind each value.
        rule(
            "errno(13)", *([arg(1, "==", v), arg(2, "==", 5)] for v in values[:129]), name="ioctl"
        ),
    ]
    policy = policy_of(abi, groups, "log")
    program = compiled(policy)[abi]
    meaning = Meaning(policy, plain_tables(), abi)
    near = [v ^ other for v in values[::8] for other in (1, HIGH, 2**31, 2**63)]
    near += [v + 1 for v in values[:2]]
    for name in (CALL, "ioctl"):
        vectors = [(0, v, 5) for v in values + near] + [(0, v, 4) for v in values[::4]]
        assert len(assert_means(program, meaning, calls_of(abi, vectors, name))) >= 2
    for name in (first, last):
        assert_means(program, meaning, calls_of(abi, [(0, v, 5) for v in values[:3]], name))


AROUND_255 = [("x86_64", count) for count in (254, 255, 256)] + [("s390x", 256)]


@pytest.mark.few(1, "compiles many programs")
@pytest.mark.parametrize(
    ("abi", "count"),
    long_but(
        [("x86_64", 255), ("s390x", 256)], AROUND_255, "test_assembler makes jumps that long itself"
    ),
)
def test_what_lies_behind_a_long_list_is_reached_on_either_side(abi: str, count: int) -> None:
    """Two long lists, of a low number and a high one, push the calls between them apart."""
    table = plain_tables()[abi]
    names = sorted({nr: name for name, nr in table.items()}.items())
    low, middle, high = (names[len(names) * n // 4][1] for n in (1, 2, 3))
    values = values_of("scattered", count)
    groups = [
        rule("errno(11)", *([arg(0, "==", value)] for value in values), name=low),
        plain("allow", middle),
        rule("errno(12)", *([arg(3, "==", value)] for value in values), name=high),
    ]
    policy = policy_of(abi, groups, "errno(13)")
    program = compiled(policy)[abi]
    meaning = Meaning(policy, plain_tables(), abi)
    some = [0, *values[:3], *values[::50], *values[-3:], U32]
    calls = [
        call
        for name in (low, middle, high, names[0][1], names[-1][1])
        for call in calls_of(abi, ((v, 0, 0, v) for v in some), name)
    ]
    assert len(assert_means(program, meaning, calls)) == 4


# --- policies that are large, or look it ----------------------------------------------------------

COMPILE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from strategies import compiled
sys.setrecursionlimit(1000)
for abi, program in compiled(json.load(sys.stdin)).items():
    print(abi, program.hex())
"""


def compiled_elsewhere(policy: dict[str, Any]) -> dict[str, bytes]:
    """Compile in a process of its own, with Python's usual limit on recursion.

    A peer never finishes some of what is compiled like this: a minute stands for never.
    """
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(HELPERS)],
        input=json.dumps(policy),
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    programs = dict(line.split() for line in done.stdout.splitlines())
    return {abi: bytes.fromhex(program) for abi, program in programs.items()}


def overlapping(count: int) -> list[Group]:
    """Return rules that each bound all six arguments, so that they cut each other up."""
    rng = random.Random(count)
    groups = []
    for n in range(count):
        bounds = [sorted(rng.sample(range(2**40), 2)) for _ in range(6)]
        tests = [(arg(i, ">=", low), arg(i, "<=", high)) for i, (low, high) in enumerate(bounds)]
        groups.append(rule(f"errno({n + 1})", [one for pair in tests for one in pair]))
    return groups


def three_for_each(abi: str) -> list[Group]:
    """Return a thousand rules: three for each of as many calls as it takes."""
    names = sorted({nr: name for name, nr in plain_tables()[abi].items()}.values())[:334]
    return [
        group
        for n, name in enumerate(names)
        for group in (
            rule("errno(1)", [arg(n % 6, "==", n)], name=name),
            rule("errno(2)", [arg((n + 1) % 6, ">", n << 32)], name=name),
            plain("log", name),
        )
    ][:1000]


def one_of_scattered(count: int) -> list[Group]:
    values = values_of("scattered", count)
    return [rule("errno(11)", *([arg(1, "==", value, width=32)] for value in values))]


def chain_of_scattered(count: int) -> list[Group]:
    values = values_of("scattered", count)
    return [
        rule(f"errno({n % 4000 + 1})", [arg(1, "==", value, width=32)])
        for n, value in enumerate(values)
    ]


FINISHES = {
    "two high words": [rule("errno(11)", [arg(3, ">=", 5 * HIGH), arg(0, ">=", 5 * HIGH)])],
    "a bit that is not set and a high word": [
        rule("errno(11)", [arg(5, "!&", 1 << 40), arg(0, ">=", 5 * HIGH)])
    ],
    "500 values": one_of_scattered(500),
    "1000 rules of one call": chain_of_scattered(1000),
    "1000 rules of 334 calls": three_for_each("x86_64"),
    "rules that overlap in every argument": overlapping(20),
    "seven rules that overlap": overlapping(7),
}
SOON = ("a bit that is not set and a high word", "seven rules that overlap")


def lowest(groups: list[Group]) -> list[tuple[int, ...]]:
    """Return the least arguments that each rule takes, of those that say what they begin with."""
    found = []
    for entry in (entry for group in groups for entry in group.get("names_with_args", ())):
        args = [0] * 6
        for test in entry["arguments"]:
            if test["operation"] == "GreaterOrEqual":
                args[test["argument"]] = test["value"]
        found.append(tuple(args))
    return found


@pytest.mark.few(1, "compiles many programs")
@pytest.mark.parametrize("what", long_but(SOON, FINISHES, "larger policies of each kind"))
def test_compiling_comes_to_an_end(what: str) -> None:
    groups = FINISHES[what]
    policy = {**policy_of("x86_64", groups), "arches": LITTLE_AND_BIG, "multiplexed": "errno"}
    for group in groups:
        group["optional"] = True  # s390x lacks some of the calls
    programs = compiled_elsewhere(policy)
    assert list(programs) == LITTLE_AND_BIG
    for abi, program in programs.items():
        meaning = Meaning(policy, plain_tables(), abi)
        own: dict[str, list[Group]] = {}
        for group in groups:
            for name in {one["name"] for one in group.get("names_with_args", ())}:
                own.setdefault(name, []).append(group)
        most = max(50, 1000 // len(own))
        calls = [
            call
            for name in own.keys() & plain_tables()[abi].keys()
            for call in calls_of(abi, [*grid(own[name], most), *lowest(own[name])[:most]], name)
        ]
        assert len(assert_means(program, meaning, calls)) >= 2


@pytest.mark.long("compiles many programs")
def test_a_program_that_is_too_long_is_an_error_and_no_file(tmp_path: Path) -> None:
    rng = random.Random(0)
    # Six arguments of each of many calls are sooner compiled than as many values of one argument.
    many = ["ioctl", *sorted(plain_tables()["x86_64"].keys() - {"ioctl", "read", "write"})[:175]]
    listed = [
        {"name": name, "arguments": [arg(n, "==", rng.getrandbits(64), width=64) for n in range(6)]}
        for name in many
    ]
    groups = [
        plain("allow", "read", "write"),
        rule("allow", *([arg(1, "==", value)] for value in (1, 2, 3)), name="prctl"),
        {"action": "allow", "names_with_args": listed},
        rule("allow", *([arg(3, "==", rng.getrandbits(64))] for _ in range(20)), name="fcntl"),
    ]
    policy, out = tmp_path / "long.json", tmp_path / "filters"
    policy.write_text(json.dumps(policy_of("x86_64", [plain("errno", "read")])))
    assert seccompgen("build", policy, "-o", out).code == 0
    before = snapshot(out)
    policy.write_text(json.dumps(policy_of("x86_64", groups, "errno"), indent=1))
    run = seccompgen("build", policy, "-o", out)
    assert run.code == 2
    assert "long/__init__.py" in before
    assert snapshot(out) == before
    first, costliest, *_ = run.err.splitlines()
    assert first.startswith(f"{policy}:")
    assert "4096" in first
    # The third group is what makes it long: it heads the list, at its own place in the file.
    line = 1 + policy.read_text()[: policy.read_text().index('"ioctl"')].count("\n")
    assert costliest.startswith(f"{policy}:{line}:")
    assert ": rule 3 costs " in costliest
    # It is nearly all of the program, and the message must say so.
    assert int(costliest.partition(": rule 3 costs ")[2].split()[0]) > 4000


# --- measured frequencies -------------------------------------------------------------------------


SOME_OBJECTIVES = [
    (Optimize.BALANCED, True, "x86_64"),
    (Optimize.SPEED, False, "s390x"),
    (Optimize.SIZE, True, "x86_64"),
]


@pytest.mark.few(1, "compiles many programs")
@pytest.mark.parametrize(
    ("optimize", "bitmap", "abi"),
    long_but(
        SOME_OBJECTIVES,
        itertools.product(Optimize, [True, False], LITTLE_AND_BIG),
        "each objective with each ABI and with each kind of kernel",
    ),
)
def test_calls_that_were_seen_may_have_any_numbers(
    optimize: Optimize, bitmap: bool, abi: str
) -> None:
    """The calls of a profile may lie below and above all ranges, have no rule or no number."""
    table = plain_tables()[abi]
    names = [name for _, name in sorted({nr: name for name, nr in table.items()}.items())]
    lowest, lower, *_ = names
    *_, highest = names
    allowed = names[60:90:2] + names[100:130]
    groups = [
        plain("allow", lowest, *allowed),
        rule("allow", [arg(0, "==", 7)], name=lower),
        plain("errno(5)", highest),
    ]
    policy = policy_of(abi, groups, "errno")
    meaning = Meaning(policy, plain_tables(), abi)
    calls = [*interesting_calls(policy, plain_tables(), abi)]
    profiles: list[dict[str, int]] = [
        {lowest: 1000, lower: 10},
        {lower: 2**60, highest: 1},
        {names[50]: 10, "no_such_call": 5},
        dict.fromkeys(names, 0),
        {name: n for n, name in enumerate(names)},
        {},
    ]
    for counts in profiles:
        objective = Objective(optimize, bitmap, Profile(counts, "counts.json", "0" * 64))
        seen = assert_means(compiled(policy, objective)[abi], meaning, calls, counts)
        assert len(seen) == 4
