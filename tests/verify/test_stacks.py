"""Several filters as one: both provers know what a stack, a union and a difference answer."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from mutants import ANSWERS, LD_ABS, likely_calls, random_mutant
from proving import TABLES, both, little, meaning_of, ran
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.core.program import Instruction
from seccompgen.verify import Code, Difference, Method, Operation, Proof, Stack, prove
from seccompgen.verify.kernel import strictest
from strategies import loaded

RET, JEQ, JSET = 0x06, 0x15, 0x45
FIRST = 16
"""The offset of the low word of the first argument, little-endian."""
ALLOW, KILL = 0x7FFF0000, 0x80000000

STRICTEST_FIRST = (
    *(0x80000000, 0x00000000, 0x00030000, 0x00050000),
    *(0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000),
)
"""The order of seccomp(2)."""


def in_words(operation: Operation, answers: list[int], refusal: int) -> int:
    """Return what seccomp(2) and the docstring of Operation say, for actions that have names."""

    def place(answer: int) -> int:
        return STRICTEST_FIRST.index(answer & 0xFFFF0000)

    newest_first = answers[::-1]
    if operation is Operation.UNION:
        return max(newest_first, key=place)
    if operation is Operation.SUBTRACT:
        if all(place(answer) < place(0x7FFC0000) for answer in answers[1:]):
            return answers[0]
        newest_first = [answers[0], refusal]
    found = min(newest_first, key=place)
    return ALLOW if place(found) == place(ALLOW) else found


def with_named_actions(code: Code) -> Code:
    named = tuple(
        Instruction(RET, 0, 0, k)
        if one.code & 7 == RET and (k := one.k) & 0xFFFF0000 not in STRICTEST_FIRST
        else one
        for one in code.instructions
    )
    return Code(named, code.byte_order)


@pytest.mark.few(1, "proves many programs")
@pytest.mark.parametrize("operation", Operation)
def test_stacks(operation: Operation) -> None:
    seen: Counter[object] = Counter()
    for seed in range(60):
        rng = random.Random(seed)
        parts = [one_answer_a_bit(rng) for _ in range(rng.randint(2, 3))]
        refusal = rng.choice([KILL, 0x00050002, 0x00030000])
        stack = Stack(operation, tuple(parts), refusal)
        changed = rng.randrange(len(parts))
        mutant = random_mutant(rng, parts[changed])
        other = Stack(operation, (*parts[:changed], mutant, *parts[changed + 1 :]), refusal)
        found, _ = both(stack, other)
        calls = likely_calls(rng, [*parts, mutant], 60)
        for call in calls:
            answers = [ran(part, call).value for part in parts]
            expected = in_words(operation, answers, refusal)
            assert stack.answer(call) == expected
            seen[expected] += 1
            if operation is Operation.INTERSECT:
                assert expected == strictest(answers)
        for one in found.values():
            seen[type(one)] += 1
            if isinstance(one, Difference):
                assert (one.left, one.right) == (stack.answer(one.call), other.answer(one.call))
                answers = [ran(part, one.call).value for part in parts]
                assert one.left == in_words(operation, answers, refusal)
            elif found.keys() == set(Method):
                assert all(stack.answer(call) == other.answer(call) for call in calls)
    assert min(seen[Proof], seen[Difference]) > 15
    assert len(seen) > 7


def one_answer_a_bit(rng: random.Random) -> Code:
    """Return a program with a test or two, and answers that the kernel has actions for."""
    named = [answer for answer in ANSWERS if answer & 0xFFFF0000 in STRICTEST_FIRST]
    rets = [(RET, 0, 0, rng.choice(named)) for _ in range(3)]
    word = rng.choice([0, 4, FIRST, FIRST + 4])
    first, second = (rng.choice([JEQ, 0x25, 0x35, JSET]) for _ in range(2))
    tests = [(first, 1, 0, rng.randint(0, 5)), (second, 1, 2, rng.randint(0, 5))]
    return little((LD_ABS, 0, 0, word), *tests, *rets)


@pytest.mark.long("proves many programs")
def test_laws_of_stacks() -> None:
    allow, kill = (little((RET, 0, 0, ret)) for ret in (ALLOW, KILL))
    for seed in range(12):
        code = one_answer_a_bit(random.Random(seed))
        same = [
            Stack(Operation.INTERSECT, (code, code)),
            Stack(Operation.INTERSECT, (allow, code)),
            Stack(Operation.UNION, (code, code)),
            Stack(Operation.UNION, (kill, code)),
            Stack(Operation.SUBTRACT, (code, kill)),
            Stack(Operation.SUBTRACT, (code, allow), ALLOW),
        ]
        for stack in same:
            assert prove(stack, code, Method) == Proof(tuple(Method)), (stack, code)
        nothing = Stack(Operation.SUBTRACT, (code, allow))
        assert prove(nothing, kill, Method) == Proof(tuple(Method))


def test_a_policy_can_be_a_part() -> None:
    policy = {
        "arches": ["x86_64"],
        "default_action": "errno(1)",
        "syscalls": [{"action": "allow", "names": ["read"]}],
    }
    means = meaning_of(policy, "x86_64")
    code = Code(compile_policy(loaded(policy), ABIS["x86_64"], TABLES).instructions, "little")
    inner = Stack(Operation.UNION, (means, code))
    assert prove(Stack(Operation.INTERSECT, (code, inner)), means, Method) == Proof(tuple(Method))
