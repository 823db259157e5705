"""Mistakes of other compilers of seccomp policies: none is ours.

The peers are libseccomp, minijail, kafel, go-seccomp-bpf, seccompiler and seccompy.
"""

from __future__ import annotations

import itertools
import random
from typing import NamedTuple

import interpreter
import pytest
import running_kernel as kernel
from oracle import ABIS, RETURN_VALUES, U32, U64, Meaning
from peer_rules import (
    ALLOW,
    CALL,
    ERRNO,
    HIGH,
    LITTLE_AND_BIG,
    Entry,
    Group,
    arg,
    calls_of,
    grid,
    plain,
    policy_of,
    rule,
)
from probes import STRANGE_ARCHES, Call, interesting_calls
from seccompgen.core.errors import InputError
from strategies import assert_means, compiled, plain_tables

# --- comparisons that are merged, and should not be -----------------------------------------------


class Case(NamedTuple):
    """Rules for one call under a default of allow; ``no`` are arguments that no rule matches."""

    groups: list[Group]
    yes: list[list[int]]
    no: list[list[int]]


def either(*alternatives: list[Entry]) -> list[Group]:
    return [rule("errno(11)", *alternatives)]


def in_turn(*alternatives: list[Entry]) -> list[Group]:
    return [rule(f"errno({11 + n})", one) for n, one in enumerate(alternatives)]


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


@pytest.mark.few(28, "compiles many programs")
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


@pytest.mark.few(6, "compiles many programs")
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


# --- rules that swallow others --------------------------------------------------------------------

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


@pytest.mark.parametrize(
    "hider", [plain("allow", CALL), rule("allow", [arg(0, "<", HIGH)])], ids=["plain", "wider"]
)
def test_a_rule_that_a_wider_one_swallows_is_an_error(hider: Group) -> None:
    with pytest.raises(InputError, match=f"rule for '{CALL}' where arg0 == 1 can never match") as e:
        compiled(policy_of("x86_64", [plain("log", "read"), hider, rule("errno(3)", NARROW)]))
    (found,) = e.value.diagnostics
    assert "allow at " in found.message
    assert "comes first and answers all of it" in found.message


# --- what the accumulator holds -------------------------------------------------------------------


@pytest.mark.few(1, "compiles many programs")
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


# --- calls through other ABIs ---------------------------------------------------------------------


@pytest.mark.few(1, "compiles many programs")
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
