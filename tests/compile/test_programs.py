"""Programs mean what their policies say: on every ABI, on random policies."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from drawing import bounded
from hypothesis import given, settings
from hypothesis import strategies as st
from longer import few_and_many, long_but
from oracle import ABIS, LOW_WORDS, RETURN_VALUES, U64, Meaning, argument_test
from probes import Call, interesting_calls, rules_by_number
from strategies import (
    OPERATIONS,
    assert_bitmap_holds,
    assert_means,
    compiled,
    plain_tables,
    policies,
)

GONE = {"s390"}  # its table left the kernel in v6.19
PRESENT = sorted(ABIS.keys() - GONE)


def assert_compiles_right(policy: dict[str, Any]) -> tuple[set[int], int]:
    """Compile ``policy``; return the answers that were seen, and how many calls the bitmap has."""
    answers: set[int] = set()
    cached = 0
    for abi, program in compiled(policy).items():
        meaning = Meaning(policy, plain_tables(), abi)
        calls = interesting_calls(policy, plain_tables(), abi)
        answers |= assert_means(program, meaning, calls, policy)
        cached += assert_bitmap_holds(program, meaning)
    return answers, cached


def test_the_oracle_knows_every_abi_with_filters() -> None:
    assert set(PRESENT) == set(plain_tables())


@pytest.mark.long("compiles many programs")
def test_random_policies_are_as_varied_as_they_should_be() -> None:
    seen: Counter[object] = Counter()

    @settings(bounded, max_examples=150)
    @given(policy=policies(plain_tables(), "x86_64"))
    def look_at(policy: dict[str, Any]) -> None:
        table = plain_tables()["x86_64"]
        seen.update(policy.keys())
        seen.update(policy.get("compat_arches", []))
        chains = rules_by_number(policy, table, {})
        seen["more than 255 calls"] += len(chains) > 255
        seen["rule upon rule"] += any(len(rules) > 3 for rules in chains.values())
        for group in policy["syscalls"]:
            seen[group["action"].partition("(")[0]] += 1
            for entry in group.get("names_with_args", []):
                seen["several conditions"] += len(entry["arguments"]) > 1
                for one in entry["arguments"]:
                    seen.update([one["operation"], one.get("width", 64), one.get("argument")])
        # Each rule is met by one of the calls that are tried.
        calls: dict[int, list[tuple[int, ...]]] = {}
        for call in interesting_calls(policy, plain_tables(), "x86_64"):
            if call.arch == ABIS["x86_64"].audit_arch:
                calls.setdefault(call.nr, []).append(call.args)
        for nr, rules in chains.items():
            tests = [[argument_test(one, {}) for one in rule] for rule in rules]
            first = {
                next((i for i, rule in enumerate(tests) if all(t(args) for t in rule)), None)
                for args in calls[nr]
            }
            seen["rules"] += len(rules)
            seen["rules met"] += len(first - {None})

    look_at()
    expected = {*OPERATIONS, *RETURN_VALUES, 32, 64, None, 0, 1, 2, 3, 4, 5, "i386", "x32"}
    expected |= {"unknown_action", "bad_arch_action", "several conditions", "rule upon rule"}
    assert expected <= {key for key, count in seen.items() if count}
    assert seen["more than 255 calls"] >= 3
    assert seen["rules met"] >= 0.99 * seen["rules"]


def compile_random_policies(abis: list[str], examples: int) -> None:
    @settings(bounded, max_examples=examples)
    @given(data=st.data())
    def examine(data: st.DataObject) -> None:
        abi = data.draw(st.sampled_from(abis))
        assert_compiles_right(data.draw(policies(plain_tables(), abi)))

    examine()


@few_and_many(3, 90)
def test_random_policies(examples: int) -> None:
    compile_random_policies(PRESENT, examples)


@few_and_many(2, 20)
def test_random_policies_where_abis_share_an_audit_value(examples: int) -> None:
    compile_random_policies(["x86_64", "x32", "i386"], examples)


@pytest.mark.few(3, "compiles many programs")
@pytest.mark.parametrize("abi", PRESENT)
def test_one_policy_for_every_abi_at_once_and_all_its_compat_abis(abi: str) -> None:
    compat = [other for other in ABIS[abi].same_kernel if other not in GONE]
    large = 2**30 if abi in LOW_WORDS else 2**40
    policy = {
        "arches": [abi],
        "compat_arches": compat,
        "default_action": "errno(ENOSYS)",
        "unknown_action": "trace(9)",
        "bad_arch_action": "trap(3)",
        "syscalls": [
            {"action": "allow", "names": ["read", "write", "exit_group", "close"]},
            {"action": "errno(ENOTSOCK)", "names": ["openat"]},
            {
                "action": "allow",
                "names_with_args": [
                    {
                        "name": "ioctl",
                        "arguments": [{"argument": 1, "operation": "Equal", "value": 0x5401}],
                    },
                    {
                        "name": "fcntl" if "fcntl" in plain_tables()[abi] else "fcntl64",
                        "arguments": [
                            {"argument": 1, "operation": "LessThan", "value": 2**33 + 5},
                            {"argument": 2, "operation": "GreaterThan", "value": large},
                        ],
                    },
                ],
            },
        ],
    }
    answers, cached = assert_compiles_right(policy)
    assert len(answers) == 5
    assert cached >= 4 * (1 + len(compat))


CONDITION = {"operation": "Equal", "value": 7}
ALLOWED_WHATEVER: dict[str, list[dict[str, Any]]] = {
    "no condition": [{"action": "allow", "names": ["read"]}],
    "always true": [
        {
            "action": "allow",
            "names_with_args": [
                {"name": "read", "arguments": [{"operation": "GreaterOrEqual", "value": 0}]}
            ],
        }
    ],
    "always true in 32 bits": [
        {
            "action": "allow",
            "names_with_args": [
                {
                    "name": "read",
                    "arguments": [{"operation": "LessOrEqual", "value": 2**32 - 1, "width": 32}],
                }
            ],
        }
    ],
    "a condition, then none": [
        {"action": "allow", "names_with_args": [{"name": "read", "arguments": [CONDITION]}]},
        {"action": "allow", "names": ["read"]},
    ],
    "two halves": [
        {
            "action": "allow",
            "names_with_args": [
                {"name": "read", "arguments": [{"operation": "LessThan", "value": 2**40}]},
                {"name": "read", "arguments": [{"operation": "GreaterOrEqual", "value": 2**40}]},
            ],
        }
    ],
    "a bit set, or not": [
        {
            "action": "allow",
            "names_with_args": [
                {"name": "read", "arguments": [{"operation": "BitsSet", "value": 2**35}]},
                {"name": "read", "arguments": [{"operation": "BitsNotSet", "value": 2**35}]},
            ],
        }
    ],
}


@pytest.mark.parametrize("what", ALLOWED_WHATEVER)
@pytest.mark.parametrize(
    "abi", long_but(["x32", "s390x"], ["x86_64", "x32", "s390x", "mips64n32"], "more ABIs")
)
def test_what_is_allowed_whatever_its_arguments_is_in_the_bitmap(abi: str, what: str) -> None:
    rules = ALLOWED_WHATEVER[what]
    write = {"action": "allow", "names_with_args": [{"name": "write", "arguments": [CONDITION]}]}
    policy = {"arches": [abi], "default_action": "errno", "syscalls": [*rules, write]}
    program = compiled(policy)[abi]
    # Let the oracle read the policy that says it plainly.
    plain = {**policy, "syscalls": [*ALLOWED_WHATEVER["no condition"], write]}
    meaning = Meaning(plain, plain_tables(), abi)
    assert assert_bitmap_holds(program, meaning) == 1
    assert_means(program, meaning, interesting_calls(policy, plain_tables(), abi))


@pytest.mark.parametrize(
    "abi",
    long_but(
        ["x86_64", "x32", "arm", "s390x", "mips64n32"],
        PRESENT,
        "every ABI, of which the test above tries an allowlist",
    ),
)
def test_a_blocklist_is_in_the_bitmap_but_for_what_it_blocks(abi: str) -> None:
    policy = {
        "arches": [abi],
        "default_action": "allow",
        "syscalls": [
            {"action": "errno", "names": ["reboot", "ptrace"]},
            {"action": "errno", "names_with_args": [{"name": "ioctl", "arguments": [CONDITION]}]},
        ],
    }
    _, cached = assert_compiles_right(policy)
    assert cached > len(set(plain_tables()[abi].values())) - 4


def chain_of(*arguments: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"action": f"errno({n + 1})", "names_with_args": [{"name": "ioctl", "arguments": [one]}]}
        for n, one in enumerate(arguments)
    ]


TRICKY = {
    "signed borders": chain_of(
        {"operation": "LessThan", "value": 2**31},
        {"operation": "GreaterThan", "value": 2**63},
        {"operation": "LessOrEqual", "value": 2**32},
        {"operation": "Equal", "value": 2**63},
    ),
    "one high word, many low ones": chain_of(
        {"operation": "Equal", "value": 0x100000001},
        {"operation": "Equal", "value": 0x100000002},
        {"operation": "LessThan", "value": 0x100000000},
        {"operation": "GreaterOrEqual", "value": 0x200000000},
    ),
    "one low word, many high ones": chain_of(
        {"operation": "Equal", "value": 0x100000005},
        {"operation": "Equal", "value": 0x200000005},
        {"operation": "Equal", "value": 5},
        {"operation": "Equal", "value": 5, "width": 32},
    ),
    "bits in both words": chain_of(
        {"operation": "BitsSet", "value": 0x8000000000000001},
        {"operation": "BitsNotSet", "value": 0x4000000000000002},
        {"operation": "MaskedEqual", "mask": 0xFF000000000000FF, "value": 0x5500000000000054},
    ),
    "mask of nothing": chain_of({"operation": "MaskedEqual", "mask": 0, "value": 0}),
    "not equal to either": chain_of(
        {"operation": "NotEqual", "value": 0xFFFFFFFF00000000},
        {"operation": "NotEqual", "value": 0xFFFFFFFF},
    ),
    "extremes": chain_of(
        {"operation": "GreaterOrEqual", "value": U64},
        {"operation": "LessOrEqual", "value": 0},
        {"operation": "GreaterThan", "value": U64 - 1, "argument": 5},
        {"operation": "LessThan", "value": 1, "argument": 5},
    ),
}


@pytest.mark.parametrize("what", TRICKY)
@pytest.mark.parametrize(
    "abi",
    long_but(
        ["x86_64", "ppc64"],
        ["x86_64", "arm", "ppc64", "mips", "aarch64"],
        "more ABIs of either byte order",
    ),
)
def test_words_and_borders(abi: str, what: str) -> None:
    rules = TRICKY[what]
    policy = {"arches": [abi], "default_action": "log", "syscalls": rules}
    answers, _ = assert_compiles_right(policy)
    # Every rule was met, and the default and the foreign ABIs' action too.
    assert len(answers) == len(rules) + 2


def test_names_that_share_a_number_share_their_rules() -> None:
    table = plain_tables()["alpha"]
    assert table["getpid"] == table["getxpid"]
    policy = {
        "arches": ["alpha"],
        "default_action": "kill_process",
        "syscalls": [
            {"action": "log", "names_with_args": [{"name": "getxpid", "arguments": [CONDITION]}]},
            {"action": "allow", "names": ["getpid"]},
        ],
    }
    (program,) = compiled(policy).values()
    meaning = Meaning(policy, plain_tables(), "alpha")
    calls = [Call(ABIS["alpha"].audit_arch, table["getpid"], (n, *[0] * 5)) for n in range(9)]
    assert assert_means(program, meaning, calls) == {0x7FFC0000, 0x7FFF0000}
