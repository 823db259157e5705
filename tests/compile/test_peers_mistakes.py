"""Mistakes of other compilers of seccomp policies, and what they never finished: none is ours.

The peers are libseccomp, minijail, kafel, go-seccomp-bpf, seccompiler and seccompy.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import interpreter
import pytest
import running_kernel as kernel
from command import seccompgen, snapshot
from oracle import ABIS, RETURN_VALUES, U32, U64, Meaning
from seccompgen.core.errors import InputError
from seccompgen.core.objective import Objective, Optimize, Profile
from strategies import (
    STRANGE_ARCHES,
    Call,
    assert_means,
    boundary_values,
    compiled,
    interesting_calls,
    plain_tables,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HELPERS = Path(__file__).parents[1] / "helpers"
LITTLE_AND_BIG = ["x86_64", "s390x"]

# It takes no arguments, so the kernel looks at none of them; a filter does.
CALL = "getppid"
ALLOW = RETURN_VALUES["allow"]
ERRNO = RETURN_VALUES["errno"]

Entry: TypeAlias = dict[str, Any]
Group: TypeAlias = dict[str, Any]
OPERATIONS = {
    "==": "Equal",
    "!=": "NotEqual",
    ">": "GreaterThan",
    "<": "LessThan",
    ">=": "GreaterOrEqual",
    "<=": "LessOrEqual",
    "&": "BitsSet",
    "!&": "BitsNotSet",
}


def arg(argument: int, operation: str, value: int, **more: int) -> Entry:
    entry = {"argument": argument, "operation": OPERATIONS[operation], "value": value}
    return {**entry, **more}


def rule(action: str, *alternatives: list[Entry], name: str = CALL) -> Group:
    """Return a rule for ``name`` where one of ``alternatives`` holds, each a list to be ANDed."""
    listed = [{"name": name, "arguments": arguments} for arguments in alternatives]
    return {"action": action, "names_with_args": listed}


def plain(action: str, *names: str) -> Group:
    return {"action": action, "names": [*names]}


def policy_of(abi: str, groups: Iterable[Group], default: str = "allow") -> dict[str, Any]:
    return {"arches": [abi], "default_action": default, "syscalls": [*groups]}


def calls_of(abi: str, vectors: Iterable[Sequence[int]], name: str = CALL) -> list[Call]:
    nr = plain_tables()[abi][name]
    return [Call(ABIS[abi].audit_arch, nr, (*args, *[0] * (6 - len(args)))) for args in vectors]


def grid(groups: Iterable[Group], most: int = 4000) -> list[tuple[int, ...]]:
    """Return the arguments that combine every value at which a comparison may turn."""
    values: list[set[int]] = [set() for _ in range(6)]
    for group in groups:
        for one in group.get("names_with_args", ()):
            for entry in one["arguments"]:
                values[entry["argument"]] |= boundary_values(entry)
    axes = [sorted(found) or [0] for found in values]
    if math.prod(map(len, axes)) <= most:
        return [*itertools.product(*axes)]
    rng = random.Random(0)
    return [tuple(map(rng.choice, axes)) for _ in range(most)]


# --- comparisons that are merged, and should not be ----------------------------------------------


class Case(NamedTuple):
    """Rules for one call under a default of allow; ``no`` are arguments that no rule matches."""

    groups: list[Group]
    yes: list[list[int]]
    no: list[list[int]]


def either(*alternatives: list[Entry]) -> list[Group]:
    return [rule("errno(11)", *alternatives)]


def in_turn(*alternatives: list[Entry]) -> list[Group]:
    return [rule(f"errno({11 + n})", one) for n, one in enumerate(alternatives)]


HIGH = 2**32
ORDERED = [arg(0, ">=", 1)], [arg(0, "<", 2), arg(5, ">", 1)]
ENDS = [arg(0, "<", 10)], [arg(0, ">=", HIGH)]
UNEQUAL = [arg(0, "!=", 2), arg(5, ">=", 1)], [arg(0, "!=", 1)]
NESTED = [arg(0, "<", 5 * HIGH)], [arg(0, "<", 7 * HIGH), arg(1, "==", 1)], [arg(0, ">", 9 * HIGH)]
GAPS = [arg(0, "!=", HIGH + 5), arg(0, "!=", 5)], [arg(1, "!=", HIGH), arg(0, "==", 5)]
BITS = [arg(0, "&", HIGH + 1)], [arg(0, "!&", 2 * HIGH + 2), arg(1, ">", HIGH)]

CASES = {
    "an ordered comparison, or one that overlaps it": Case(
        either(*ORDERED), [[0, 0, 0, 0, 0, 2], [1], [HIGH]], [[0, 0, 0, 0, 0, 1], [0]]
    ),
    "both ends of the number line": Case(
        either(*ENDS), [[0], [9], [HIGH], [HIGH + 0x7B], [U64]], [[10], [0x7B], [U32]]
    ),
    "unequal to one, or to the other": Case(
        either(*UNEQUAL), [[2], [0], [1, 0, 0, 0, 0, 1], [HIGH + 1]], [[1], [1, 0, 0, 0, 0, 0]]
    ),
    "ranges in ranges": Case(
        either(*NESTED),
        [[5 * HIGH - 1], [6 * HIGH, 1], [9 * HIGH + 1]],
        [[5 * HIGH], [6 * HIGH], [7 * HIGH, 1], [9 * HIGH]],
    ),
    "unequal to values that share a word": Case(
        either(*GAPS), [[0], [2 * HIGH + 5], [5]], [[HIGH + 5], [5, HIGH]]
    ),
    "bits of both words": Case(
        either(*BITS), [[1], [HIGH], [3 * HIGH], [4, HIGH + 1]], [[0], [2, HIGH + 1], [4, HIGH]]
    ),
    "a whole number line in two halves, narrowed": Case(
        either([arg(0, "<=", U32), arg(1, "==", 1)], [arg(0, ">", U32), arg(1, "==", 2)]),
        [[U32, 1], [HIGH, 2]],
        [[U32, 2], [HIGH, 1], [0], [U64]],
    ),
    "minus one of a 32-bit argument": Case(
        either([arg(0, "==", U32, width=32)]),
        [[U32], [U64], [HIGH + U32], [0x7FFFFFFFFFFFFFFF]],
        [[0], [U32 - 1], [U64 - 1], [U32 << 32]],
    ),
    "minus one in 64 bits": Case(either([arg(0, "==", U64)]), [[U64]], [[U32], [U64 - 1], [0]]),
    "0xffffffff in 64 bits": Case(
        either([arg(0, "==", U32)]), [[U32]], [[U64], [HIGH + U32], [0x80000000FFFFFFFF], [0]]
    ),
    "anything but minus one of a 32-bit argument": Case(
        either([arg(0, "!=", U32, width=32)]), [[0], [HIGH], [U32 << 32]], [[U32], [U64]]
    ),
    "more than a 32-bit argument's last but one": Case(
        either([arg(0, ">", U32 - 1, width=32)]), [[U32], [U64]], [[U32 - 1], [U32 << 32], [0]]
    ),
    "an exception to what the default allows, and an exception to that": Case(
        [rule("allow", [arg(0, "<", 5)]), rule("errno(11)", [arg(0, "<", 10)])],
        [[5], [9]],
        [[4], [0], [10], [HIGH + 5]],
    ),
    "more than 9 fails, all else is allowed": Case(
        [rule("errno(3)", [arg(0, ">", 9)]), plain("allow", CALL)],
        [[10], [HIGH], [HIGH + 9], [U64]],
        [[0], [9]],
    ),
}
CASES |= {
    f"{name}, each with its own answer": CASES[name]._replace(groups=in_turn(*alternatives))
    for name, alternatives in {
        "an ordered comparison, or one that overlaps it": ORDERED,
        "both ends of the number line": ENDS,
        "unequal to one, or to the other": UNEQUAL,
        "ranges in ranges": NESTED,
        "unequal to values that share a word": GAPS,
        "bits of both words": BITS,
    }.items()
}
by_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@by_case
@pytest.mark.parametrize("default", ["allow", "log"])
@pytest.mark.parametrize("abi", LITTLE_AND_BIG)
def test_comparisons_of_one_call_are_not_mixed_up(abi: str, default: str, case: Case) -> None:
    policy = policy_of(abi, case.groups, default)
    program = compiled(policy)[abi]
    meaning = Meaning(policy, plain_tables(), abi)
    answers = {
        matches: assert_means(program, meaning, calls_of(abi, vectors))
        for matches, vectors in ((True, case.yes), (False, case.no))
    }
    # No oracle is needed for these: they were worked out by hand.
    assert all(value & 0xFFFF0000 == ERRNO for value in answers[True])
    assert not any(value & 0xFFFF0000 == ERRNO for value in answers[False])
    # Nor may the kernel believe that the call is allowed whatever its arguments.
    nr, arch = plain_tables()[abi][CALL], ABIS[abi].audit_arch
    assert not interpreter.constant_allow(program, nr, arch, ABIS[abi].byte_order)
    assert_means(program, meaning, calls_of(abi, grid(case.groups)))
    assert_means(program, meaning, interesting_calls(policy, plain_tables(), abi))


@pytest.mark.skipif(not kernel.IS_X86_64, reason="asks the running kernel, in x86_64's numbers")
@by_case
def test_the_running_kernel_does_not_mix_them_up_either(case: Case) -> None:
    policy = policy_of("x86_64", case.groups)
    program = compiled(policy)["x86_64"]
    meaning = Meaning(policy, plain_tables(), "x86_64")
    tried = grid(case.groups)
    vectors = [*case.yes, *case.no, *random.Random(0).sample(tried, min(len(tried), 400))]

    def child() -> list[int]:
        kernel.install_raw(program)
        return [kernel.syscall(kernel.NR_GETPPID, *args)[1] for args in vectors]

    calls = calls_of("x86_64", vectors)
    expected = [v & 0xFFFF if (v := meaning.decide(*call)) != ALLOW else 0 for call in calls]
    assert kernel.run(child).value == expected
    assert 0 in expected[len(case.yes) :]
    assert 0 not in expected[: len(case.yes)]


# --- rules that swallow others -------------------------------------------------------------------

NARROW = [arg(0, "==", 1)]


def test_a_condition_before_a_rule_without_one_still_counts() -> None:
    for abi, first, then in itertools.product(
        LITTLE_AND_BIG, ("errno(3)", "kill_process", "allow"), ("allow", "errno(4)")
    ):
        if first != then:
            policy = policy_of(abi, [rule(first, NARROW), plain(then, CALL)], "log")
            program = compiled(policy)[abi]
            meaning = Meaning(policy, plain_tables(), abi)
            assert len(assert_means(program, meaning, calls_of(abi, [[1], [0], [HIGH + 1]]))) == 2


@pytest.mark.parametrize("later", ["errno(3)", "allow"])
@pytest.mark.parametrize(
    "hider", [plain("allow", CALL), rule("allow", [arg(0, "<", HIGH)])], ids=["plain", "wider"]
)
def test_a_rule_that_a_wider_one_swallows_is_an_error(hider: Group, later: str) -> None:
    with pytest.raises(InputError, match=f"rule for '{CALL}' where arg0 == 1 can never match") as e:
        compiled(policy_of("x86_64", [plain("log", "read"), hider, rule(later, NARROW)]))
    (found,) = e.value.diagnostics
    assert "allow at " in found.message
    assert "comes first and answers all of it" in found.message


# --- what the accumulator holds ------------------------------------------------------------------


@pytest.mark.parametrize("abi", LITTLE_AND_BIG)
def test_a_number_is_never_compared_with_an_argument(abi: str) -> None:
    """Every call is refused for an argument that equals another call's number, in either word."""
    by_number = sorted({nr: name for name, nr in plain_tables()[abi].items()}.items())[:60]
    numbers = [nr for nr, _ in by_number]
    groups = []
    for place, (_, name) in enumerate(by_number):
        other, another = numbers[place * 7 % 60], numbers[place * 11 % 60]
        if place % 3:
            # What the first test sees stays in the accumulator where it is false.
            alike = [arg(place % 6, "==", other)], [arg((place + 1) % 6, "==", another << 32)]
            groups.append(rule(f"errno({place + 1})", *alike, name=name))
        if place % 3 != 1:
            groups.append(plain("allow", name))
    policy = policy_of(abi, groups, "kill_process")
    program = compiled(policy)[abi]
    meaning = Meaning(policy, plain_tables(), abi)
    calls = [
        Call(ABIS[abi].audit_arch, nr, (word,) * 6)
        for nr, value in itertools.product(numbers, numbers)
        for word in (value, value << 32, value << 32 | value)
    ]
    assert len(assert_means(program, meaning, calls)) == 40 + 2


# --- jumps that get longer -----------------------------------------------------------------------


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
    *itertools.product(["x86_64"], KINDS[:1], [63, 64, 65, 127, 128, 129, 500]),
    *itertools.product(["x86_64"], KINDS[1:], [64, 129]),
    *itertools.product(["s390x"], KINDS[:2], [64, 129]),
]


@pytest.mark.parametrize(("abi", "kind", "count"), LISTS)
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


@pytest.mark.parametrize(
    ("abi", "counts"), [("x86_64", range(250, 260)), ("s390x", range(255, 258))]
)
def test_what_lies_behind_a_long_list_is_reached_on_either_side(abi: str, counts: range) -> None:
    """Two long lists, of a low number and a high one, push the calls between them apart."""
    table = plain_tables()[abi]
    names = sorted({nr: name for name, nr in table.items()}.items())
    low, middle, high = (names[len(names) * n // 4][1] for n in (1, 2, 3))
    for count in counts:
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


# --- policies that are large, or look it ---------------------------------------------------------

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
    "2000 values": one_of_scattered(2000),
    "1000 rules of one call": chain_of_scattered(1000),
    "1000 rules of 334 calls": three_for_each("x86_64"),
    "rules that overlap in every argument": overlapping(20),
}


@pytest.mark.parametrize("groups", FINISHES.values(), ids=FINISHES)
def test_compiling_comes_to_an_end(groups: list[Group]) -> None:
    policy = {**policy_of("x86_64", groups), "arches": LITTLE_AND_BIG}
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
            for call in calls_of(abi, grid(own[name], most), name)
        ]
        assert len(assert_means(program, meaning, calls)) >= 2


def test_a_program_that_is_too_long_is_an_error_and_no_file(tmp_path: Path) -> None:
    rng = random.Random(0)
    groups = [
        plain("allow", "read", "write"),
        rule("allow", *([arg(1, "==", value)] for value in (1, 2, 3)), name="prctl"),
        rule("allow", *([arg(1, "==", rng.getrandbits(64))] for _ in range(2500)), name="ioctl"),
        rule("allow", *([arg(1, "==", rng.getrandbits(64))] for _ in range(20)), name="fcntl"),
    ]
    policy, out = tmp_path / "long.json", tmp_path / "filters"
    policy.write_text(json.dumps(policy_of("x86_64", [plain("errno", "read")])))
    assert seccompgen("build", policy, "-o", out).code == 0
    before = snapshot(out)
    policy.write_text(json.dumps(policy_of("x86_64", groups, "errno"), indent=1))
    run = seccompgen("build", policy, "-o", out)
    assert run.code == 2
    assert "long.py" in before
    assert snapshot(out) == before
    first, costliest, *_ = run.err.splitlines()
    assert first.startswith(f"{policy}:")
    assert "4096" in first
    # The third group is what makes it long: it heads the list, at its own place in the file.
    line = 1 + policy.read_text()[: policy.read_text().index('"ioctl"')].count("\n")
    assert costliest.startswith(f"{policy}:{line}:")
    assert ": rule 3 costs " in costliest


# --- measured frequencies ------------------------------------------------------------------------


@pytest.mark.parametrize("abi", LITTLE_AND_BIG)
@pytest.mark.parametrize("bitmap", [True, False])
@pytest.mark.parametrize("optimize", Optimize)
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


# --- calls through other ABIs --------------------------------------------------------------------


@pytest.mark.parametrize("abi", ["x86_64", "i386", "x32", "aarch64", "s390x", "mips64"])
def test_a_blocklist_is_no_open_door_for_other_abis(abi: str) -> None:
    groups = [plain("errno(11)", "ptrace", "mount"), rule("errno(12)", NARROW, name="ioctl")]
    program = compiled(policy_of(abi, groups, "allow"))[abi]
    order = ABIS[abi].byte_order
    own, tables = ABIS[abi].audit_arch, plain_tables()
    numbers = {
        nr + near & U32 for table in tables.values() for nr in table.values() for near in (0, 1)
    }
    foreign = {facts.audit_arch for facts in ABIS.values()} | {*STRANGE_ARCHES}
    for arch, nr in itertools.product(sorted(foreign - {own}), sorted(numbers)):
        data = interpreter.seccomp_data(nr, arch, byte_order=order)
        assert interpreter.run(program, data, order).value == RETURN_VALUES["kill_process"]
        assert not interpreter.constant_allow(program, nr, arch, order)
    # Of the two that share an audit value, bit 30 tells which.
    sharing = {"x86_64": tables["x32"], "x32": tables["x86_64"]}.get(abi, {})
    for nr in sharing.values():
        data = interpreter.seccomp_data(nr, own, byte_order=order)
        assert interpreter.run(program, data, order).value == RETURN_VALUES["kill_process"]
        assert not interpreter.constant_allow(program, nr, own, order)
    # But its own calls are allowed.
    data = interpreter.seccomp_data(tables[abi]["read"], own, byte_order=order)
    assert interpreter.run(program, data, order).value == ALLOW
