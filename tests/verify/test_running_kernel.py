"""Random policies, proved, loaded into the running kernel, and called at their boundaries.

The calls are ones without arguments: the kernel ignores what is passed, the filter does not. What
each must do is said by the oracle of the tests, which starts from the policy.
"""

from __future__ import annotations

import errno
import random
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from drawing import unshrunk as bounded
from hypothesis import given, settings
from hypothesis import strategies as st
from longer import few_and_many
from oracle import ABIS, RETURN_VALUES, Meaning
from probes import Call, argument_vectors, rules_by_number
from proving import TABLES
from seccompgen.compile import compile_policy
from seccompgen.verify import Code, Method, Proof, meaning, prove
from strategies import chains, loaded, plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

kernel.require_x86_64()

HARMLESS = ("getppid", "getuid", "geteuid", "getgid", "getegid", "getpgrp")
ACTIONS = ("allow", "log", "trace(7)", "errno", "errno(0)", "errno(4095)", "errno(ENOSYS)")
ARCH, I386 = ABIS["x86_64"].audit_arch, ABIS["i386"].audit_arch
MOST_CALLS = 150
"""For each number."""


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """Draw rules for some of the harmless calls; the child needs others, which are allowed."""
    actions = st.sampled_from(ACTIONS)
    names = draw(st.lists(st.sampled_from(HARMLESS), min_size=1, max_size=4, unique=True))
    groups = [
        {"action": draw(actions), "names_with_args": [{"name": name, "arguments": rule}]}
        if rule
        else {"action": draw(actions), "names": [name]}
        for name in names
        for rule in draw(chains())
    ]
    return {
        "arches": ["x86_64"],
        "compat_arches": draw(st.sampled_from([[], ["i386"], ["x32"], ["i386", "x32"]])),
        "default_action": "allow",
        "bad_arch_action": draw(actions),
        "syscalls": groups or [{"action": draw(actions), "names": names}],
    }


def calls(policy: dict[str, Any], meant: Meaning) -> Iterator[Call]:
    """Yield calls on both sides of every comparison, through every ABI that this machine has."""
    rng = random.Random(0)
    numbers = plain_tables()["x86_64"]
    for abi in ("x86_64", "i386"):
        own = numbers if abi == "x86_64" else plain_tables()["i386"]
        rules = rules_by_number(policy, own, {})
        for name in HARMLESS:
            nr = own[name]
            vectors = argument_vectors(rules.get(nr, []), rng, MOST_CALLS)
            for args in vectors if abi == "x86_64" else vectors[:: len(vectors) // 20 + 1]:
                if abi == "x86_64":
                    yield Call(ARCH, nr, args)
                    # Linux may be built without x32: then what is allowed does not exist.
                    if meant.decide(ARCH, nr | kernel.X32_BIT, args) >> 16 == 5:
                        yield Call(ARCH, nr | kernel.X32_BIT, args)
                else:
                    yield Call(I386, nr, args)


def made(asked: list[Call]) -> list[int]:
    """Make each call; return 0, or the errno it failed with, or -1 where it returned 0."""
    i386 = kernel.i386_call()
    answers = []
    for call in asked:
        if call.arch == I386:
            result = i386(call.nr, *call.args)  # errnos are negative, as the kernel returns them
            answers.append(-result if -4096 < result < 0 else 0 if result else -1)
        else:
            result, number = kernel.syscall(call.nr, *call.args)
            answers.append(number if result == -1 else 0 if result else -1)
    return answers


def expected(ret: int, unfiltered: int) -> int:
    """Return what ``made`` sees of a call that the filter answers ``ret``."""
    if ret & 0xFFFF0000 == RETURN_VALUES["errno"]:
        return ret & 0xFFFF or -1
    if ret & 0xFFFF0000 == RETURN_VALUES["trace"]:
        return errno.ENOSYS  # there is no tracer
    return unfiltered


def agree(policy: dict[str, Any]) -> tuple[int, int]:
    """Assert that the kernel does what the oracle says.

    Return how many calls were made, and how many instructions the program has.
    """
    model = loaded(policy)
    program = compile_policy(model, model.arches[0], TABLES)
    code = Code(program.instructions, "little")
    assert prove(meaning(model, program.abi, TABLES), code, [Method.CLASSES]) == Proof(
        (Method.CLASSES,)
    )
    meant = Meaning(policy, plain_tables(), "x86_64")
    asked = list(calls(policy, meant))

    def child(*, filtered: bool) -> list[int]:
        kernel.i386_call()  # compiled before, for the filter would be in its way
        if filtered:
            kernel.install_raw(program.to_bytes())
        return made(asked)

    # Both in a child: to ask this process for its parent or group may have another answer.
    unfiltered = kernel.run(lambda: child(filtered=False)).value
    outcome = kernel.run(lambda: child(filtered=True))
    assert (outcome.error, outcome.signal) == (None, None), outcome
    for call, before, answer in zip(asked, unfiltered, outcome.value, strict=True):
        assert answer == expected(meant.decide(*call), before), (call, policy)
    return len(asked), len(program.instructions)


@few_and_many(8, 25)
def test_what_the_kernel_does_is_what_the_policy_says(examples: int) -> None:
    total = 0

    @settings(bounded, max_examples=examples)
    @given(policies())
    def examine(policy: dict[str, Any]) -> None:
        nonlocal total
        total += agree(policy)[0]

    examine()
    assert total > 200 * examples


@pytest.mark.weekly("test_limits compiles large programs, test_kernel_rules installs the longest")
def test_a_program_near_the_limit() -> None:
    rng = random.Random(5)
    entries = [
        {
            "name": "getppid",
            "arguments": [
                {"argument": n, "operation": "Equal", "value": rng.getrandbits(32)}
                for n in (1, 2, 3)
            ],
        }
        for _ in range(620)
    ]
    groups = [{"action": "errno(7)", "names_with_args": entries}]
    policy = {
        "arches": ["x86_64"],
        "default_action": "allow",
        "bad_arch_action": "errno(9)",
        "syscalls": groups,
    }
    count, length = agree(policy)
    assert count > 100
    assert 3500 < length <= 4096
