"""Where programs grow: jumps at and past 255, many names, many values, and the 4096 limit."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from longer import long_but
from oracle import ABIS, U64, Meaning
from probes import Call, interesting_calls
from strategies import assert_means, compiled, plain_tables

if TYPE_CHECKING:
    from collections.abc import Callable

Rules = list[dict[str, Any]]


def compiled_right(rules: Rules, abi: str, default: str = "errno") -> bytes:
    policy = {"arches": [abi], "default_action": default, "syscalls": rules}
    program = compiled(policy)[abi]
    meaning = Meaning(policy, plain_tables(), abi)
    assert_means(program, meaning, interesting_calls(policy, plain_tables(), abi), len(rules))
    return program


def scattered(count: int, bits: int, seed: int = 0) -> list[int]:
    """Return values without a pattern that masks or ranges could use."""
    rng = random.Random(seed)
    found: set[int] = set()
    while len(found) < count:
        found.add(rng.getrandbits(bits) | 1 << bits - 1)
    return sorted(found)


def one_of(name: str, values: list[int], argument: int = 1, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "arguments": [{"argument": argument, "operation": "Equal", "value": v, **more}],
        }
        for v in values
    ]


def many_values(count: int) -> Rules:
    """One argument is one of ``count`` values: all jump to one RET, from nearer and nearer."""
    return [
        {"action": "allow", "names": ["read"]},
        {"action": "log", "names_with_args": one_of("ioctl", scattered(count, 32))},
    ]


def many_answers(count: int) -> Rules:
    """Each of ``count`` values has another answer than its neighbours."""
    return [
        {"action": f"errno({2 + n % 3})", "names_with_args": [entry]}
        for n, entry in enumerate(one_of("ioctl", scattered(count, 32)))
    ]


def exceptions(count: int) -> Rules:
    """Everything but ``count`` values is allowed: the long way is where tests are false."""
    return [
        {"action": "errno(2)", "names_with_args": one_of("ioctl", scattered(count, 32), width=32)},
        {"action": "allow", "names": ["ioctl"]},
    ]


def many_names(count: int) -> Rules:
    """Calls whose answers change at each number."""
    by_number = sorted({nr: name for name, nr in plain_tables()["x86_64"].items()}.items())
    actions = [["allow", "log", "trap(1)"][n % 3] for n in range(count)]
    return [
        {"action": action, "names": [name]}
        for action, (_, name) in zip(actions, by_number, strict=False)
    ]


def deep_ands(count: int) -> Rules:
    """Rules that read all twelve words, each with an answer of its own."""
    rng = random.Random(count)
    return [
        {
            "action": f"errno({n + 2})",  # 1 is the default
            "names_with_args": [
                {
                    "name": "mmap",
                    "arguments": [
                        {"argument": i, "operation": "Equal", "value": rng.getrandbits(64)}
                        for i in range(6)
                    ],
                }
            ],
        }
        for n in range(count)
    ]


def clauses(count: int) -> Rules:
    """One rule of ``count`` tests; where any of them is false, all go on at the next rule."""
    pairs = [3 << bit for bit in range(63) if bit != 31]
    listed = [
        {"argument": argument, "operation": "BitsSet", "value": pair}
        for pair in pairs
        for argument in range(6)
    ]
    rest = {"argument": 0, "operation": "Equal", "value": 0x55}
    return [
        {
            "action": "log",
            "names_with_args": [{"name": "ioctl", "arguments": listed[:count]}],
        },
        {"action": "allow", "names_with_args": [{"name": "ioctl", "arguments": [rest]}]},
    ]


AROUND_255 = (253, 254, 255, 256, 257)


@pytest.mark.parametrize("count", long_but([], AROUND_255, "each size around 255"))
def test_every_size_around_the_longest_jump(count: int) -> None:
    """Where jumps come to lie is the compiler's choice: test_assembler makes them that long."""
    compiled_right(many_values(count), "x86_64")
    rules = clauses(count)
    program = compiled_right(rules, "x86_64")
    # Where one test alone is false, nothing but its own jump leads to the right answer.
    meaning = Meaning({"default_action": "errno", "syscalls": rules}, plain_tables(), "x86_64")
    ioctl = plain_tables()["x86_64"]["ioctl"]
    calls = []
    for test in rules[0]["names_with_args"][0]["arguments"]:
        args = [U64] * 6
        args[test["argument"]] ^= test["value"]
        calls.append(Call(ABIS["x86_64"].audit_arch, ioctl, tuple(args)))
    assert_means(program, meaning, calls)


@pytest.mark.long("compiles large programs")
@pytest.mark.parametrize(
    ("count", "abi"),
    long_but([(300, "s390x")], [(500, "x86_64"), (300, "s390x")], "more values", long=0),
)
@pytest.mark.parametrize("family", [many_values, many_answers, exceptions])
def test_very_many_values(family: Callable[[int], Rules], count: int, abi: str) -> None:
    program = compiled_right(family(count), abi)
    assert count < len(program) // 8 <= 4096


@pytest.mark.parametrize("count", long_but([257], [130, 257, 1000], "fewer and more names"))
def test_many_names(count: int) -> None:
    compiled_right(many_names(count), "x86_64")


@pytest.mark.parametrize("count", long_but([], [1, 20, 24, 60], "many rules"))
def test_deep_ands(count: int) -> None:
    program = compiled_right(deep_ands(count), "x86_64")
    assert len(program) // 8 > 24 * count
