"""The two provers check each other, and the tests' own interpreter and oracle check both."""

from __future__ import annotations

import itertools
import random
import struct
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import interpreter
import oracle
import pytest
from drawing import unshrunk as bounded
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import ACCEPTED, ARITHMETIC, CONDITIONAL_JUMPS, U32
from longer import few_and_many
from mutants import ANSWERS, LD_ABS, likely_calls, random_mutant, random_program
from probes import interesting_calls
from proving import TABLES, as_call, both, little, meaning_of, ran, spread_out
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import UndecidedError
from seccompgen.core.program import Instruction
from seccompgen.core.word import ARGS, Word
from seccompgen.verify import (
    Code,
    Difference,
    Method,
    Proof,
    available_methods,
    kernel_objections,
    meaning,
    prove,
)
from seccompgen.verify import classes as exhaustion
from seccompgen.verify.bits import BitSets
from seccompgen.verify.call import Call, word_at
from seccompgen.verify.followers import Question
from seccompgen.verify.partition import Classes
from strategies import loaded, plain_tables, policies

if TYPE_CHECKING:
    from collections.abc import Iterable

ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
PRESENT = sorted(plain_tables())
RET, RET_A, JEQ, JEQ_X, JSET, AND, ADD, TAX, LDX_IMM = (
    *(0x06, 0x16, 0x15, 0x1D, 0x45, 0x54, 0x04),
    *(0x07, 0x01),
)
SHIFTS_BY_K = {0x64, 0x74}
ALLOW, KILL = 0x7FFF0000, 0x80000000


# --- policies and programs -----------------------------------------------------------------------


@pytest.mark.few(1, "proves many programs")
@few_and_many(1, 5)
@pytest.mark.parametrize("abis", [("x86_64", "x32", "i386"), ("mips64", "ppc64", "s390x", "arm")])
def test_both_prove_programs_of_random_policies(abis: tuple[str, ...], examples: int) -> None:
    @settings(bounded, max_examples=examples)
    @given(data=st.data())
    def examine(data: st.DataObject) -> None:
        assert_both_prove(abis, data)

    examine()


def assert_both_prove(abis: tuple[str, ...], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(abis))
    policy, abi = loaded(data.draw(policies(plain_tables(), name))), ABIS[name]
    code = Code(compile_policy(policy, abi, TABLES).instructions, abi.byte_order)
    means = meaning(policy, abi, TABLES)
    found, reason = both(means, code)
    assert not reason
    assert {type(one) for one in found.values()} == {Proof}
    # And both see that a policy is not what it is not.
    mutant = random_mutant(random.Random(len(code.instructions)), code)
    assert_confirmed([prove(means, mutant)], code, mutant)


def assert_confirmed(
    found: Iterable[Proof | Difference], left: Code, right: Code, most: int = 60
) -> None:
    """Assert that the interpreter sees what was ``found`` of two programs.

    ``most`` is on how many calls it looks for a difference that must not be.
    """
    rng = random.Random(0)
    for one in found:
        if isinstance(one, Difference):
            assert one.left == ran(left, one.call).value
            assert one.right == ran(right, one.call).value
            assert one.left != one.right
        else:
            for call in likely_calls(rng, [left, right], most):
                assert ran(left, call).value == ran(right, call).value, call


@pytest.mark.few(1, "proves many programs")
@few_and_many(30, 110)
@pytest.mark.parametrize("plain", [True, False], ids=["loads, masks, jumps", "all opcodes"])
@pytest.mark.parametrize("byte_order", ORDERS)
def test_both_agree_on_random_programs(
    byte_order: Literal["little", "big"], plain: bool, examples: int
) -> None:
    seen: Counter[object] = Counter()
    opcodes: Counter[int] = Counter()
    for seed in range(examples):
        rng = random.Random(seed)
        code = random_program(rng, byte_order, plain=plain)
        mutant = random_mutant(rng, code)
        found, reason = both(code, mutant)
        assert_confirmed(found.values(), code, mutant)
        seen.update((method, type(one)) for method, one in found.items())
        seen.update(word for word in ("computes", "answers", "compares") if word in reason)
        opcodes.update(one.code for one in code.instructions)
    for verdict in itertools.product(Method, (Proof, Difference)):
        assert seen[verdict] > examples // 10, seen
    if not plain:
        assert min(seen["computes"], seen["answers"], seen["compares"]) > 2, seen
        assert opcodes.keys() == ACCEPTED or examples < 100


def too_many(*_: object) -> Classes:
    """Find that there are too many classes, however few there are."""
    raise UndecidedError("more than 0 classes")


@few_and_many(50, 110)
@pytest.mark.parametrize("byte_order", ORDERS)
def test_words_followed_by_their_bits_give_the_same(
    byte_order: Literal["little", "big"], monkeypatch: pytest.MonkeyPatch, examples: int
) -> None:
    seen: Counter[object] = Counter()
    for seed in range(examples):
        rng = random.Random(seed)
        code = random_program(rng, byte_order, plain=True)
        mutant = random_mutant(rng, code)
        try:
            by_classes = prove(code, mutant, [Method.CLASSES])
        except UndecidedError:
            continue  # it does more than mask and compare
        with monkeypatch.context() as patch:
            patch.setattr(exhaustion, "classes_of", too_many)
            by_bits = prove(code, mutant, [Method.CLASSES])
        assert by_bits == by_classes  # even the call that is shown: both take the least
        seen[type(by_bits)] += 1
    assert min(seen[Proof], seen[Difference]) > 10, seen


def test_sets_of_bits_have_the_values_that_questions_hold_for() -> None:
    values = (0, 1, 5, 6, 0x60, 0x7FFFFFFF, 0x80000000, 0x80000005, U32)
    for mask in (U32, 1, 6, 0x80000000, 0x80000006, 0x7FFFFFFF):
        for k, more in itertools.product({value & mask for value in values}, (False, True)):
            question, sets = Question(Word.low(ARGS), mask, k, more), BitSets(lambda _: None)
            found = sets.true(question)
            for value in values:
                one = sets.true(Question(Word.low(ARGS), U32, value))
                assert sets.least(one) == value
                assert (found & one is not sets.nothing) == question.holds(value), question


@pytest.mark.few(1, "proves many programs")
@few_and_many(15, 60)
@pytest.mark.parametrize("byte_order", ORDERS)
def test_both_know_the_answer_to_one_call(
    byte_order: Literal["little", "big"], examples: int
) -> None:
    """A program is itself with the interpreter's answer to a call put in front, and no other."""
    seen: Counter[object] = Counter()
    for seed in range(examples):
        rng = random.Random(seed)
        code = random_program(rng, byte_order, plain=seed % 2 == 0)
        call = rng.choice(likely_calls(rng, [code], 10))
        answer = ran(code, call).value
        seen.update(assert_answered(code, call, answer))
    assert min(seen[method] for method in Method) > 0.4 * examples


OPERATIONS = sorted(CONDITIONAL_JUMPS) + sorted(ARITHMETIC)
EDGES = (0, 1, 4, 5, 6, 31, 0x80000000, U32)


@pytest.mark.few(3, "proves many programs")
@pytest.mark.parametrize("code", OPERATIONS, ids=[f"{code:#04x}" for code in OPERATIONS])
def test_both_know_what_every_operation_does(code: int) -> None:
    rng = random.Random(code)
    for k, word in rng.sample([(k, word) for k in (1, 5, 31, 0x80000000) for word in EDGES], 10):
        # With the operand in X and as K: each instruction takes the one that it means.
        body = [(LDX_IMM, 0, 0, k), (LD_ABS, 0, 0, FIRST)]
        if code in CONDITIONAL_JUMPS:
            mask = rng.choice([U32, 0xFFFFFFFD, 0x80000004])
            body += [(AND, 0, 0, mask), (code, 0, 1, k), (RET, 0, 0, ALLOW), (RET, 0, 0, KILL)]
        else:
            body += [(code, 0, 0, k % 32 if code in SHIFTS_BY_K else k), (RET_A, 0, 0, 0)]
        program, call = little(*body), Call(0, 0, (word, 0, 0, 0, 0, 0))
        assert Method.Z3 in assert_answered(program, call, ran(program, call).value)


@pytest.mark.parametrize("load", [[(0x60, 0, 0)], [(0x61, 0, 0), (0x87, 0, 0)]], ids=["A", "X"])
@pytest.mark.parametrize(("immediate", "store"), [(0x00, 0x02), (LDX_IMM, 0x03)], ids=["ST", "STX"])
def test_both_know_each_of_the_scratch_words(
    immediate: int, store: int, load: list[tuple[int, int, int]]
) -> None:
    kept = [step for k in range(16) for step in ((immediate, 0, 0, 100 + k), (store, 0, 0, k))]
    for k in (0, 7, 15):
        program = little(*kept, *((*one, k) for one in load), (RET_A, 0, 0, 0))
        assert ran(program, Call(0, 0)).value == 100 + k
        assert Method.Z3 in assert_answered(program, Call(0, 0), 100 + k)


def assert_answered(code: Code, call: Call, answer: int) -> list[Method]:
    """Assert that every method finds ``answer`` to be that to ``call``; return which can tell."""
    found, _ = both(with_answer(code, call, answer), code)
    assert {type(one) for one in found.values()} == {Proof}, (code, call)
    found, _ = both(with_answer(code, call, answer ^ 1), code)
    for one in found.values():
        assert isinstance(one, Difference)
        assert (one.left, one.right) == (answer ^ 1, answer)
    return list(found)


def with_answer(code: Code, call: Call, answer: int) -> Code:
    """Return ``code``, but ``call`` and all that look the same to it are answered ``answer``."""
    offsets = sorted({one.k for one in code.instructions if one.code == LD_ABS})
    front = []
    for place, offset in enumerate(offsets, 1):
        word = call.word(word_at(offset, code.byte_order))
        front += [
            Instruction(LD_ABS, 0, 0, offset),
            Instruction(JEQ, 0, 2 * (len(offsets) - place) + 1, word),
        ]
    result = Code((*front, Instruction(RET, 0, 0, answer), *code.instructions), code.byte_order)
    assert not kernel_objections(result.instructions)
    return result


# --- what a program does, what a policy means ----------------------------------------------------


@few_and_many(75, 400)
@pytest.mark.parametrize("byte_order", ORDERS)
def test_programs_run_as_the_interpreter_runs_them(
    byte_order: Literal["little", "big"], examples: int
) -> None:
    answers = set()
    for seed in range(examples):
        rng = random.Random(seed)
        code = random_program(rng, byte_order, plain=seed % 4 == 0)
        for call in likely_calls(rng, [code], 25):
            result = ran(code, call)
            assert code.run(call) == (result.value, result.path), (code, call)
            assert code.answer(call) == result.value
            answers.add(result.value)
    assert answers > set(ANSWERS)


@pytest.mark.parametrize("byte_order", ORDERS)
def test_words_lie_where_the_byte_order_puts_them(byte_order: Literal["little", "big"]) -> None:
    words = random.Random(0).sample(range(2**32), 18)
    call = Call.of_words(words.__getitem__)
    sign = "<" if byte_order == "little" else ">"
    data = struct.pack(f"{sign}IIQ6Q", call.nr, call.arch, call.instruction_pointer, *call.args)
    for offset in range(0, 64, 4):
        (expected,) = struct.unpack_from(f"{sign}I", data, offset)
        assert call.word(word_at(offset, byte_order)) == expected


@few_and_many(6, 60)
def test_a_meaning_is_what_the_oracle_says(examples: int) -> None:
    @settings(bounded, max_examples=examples)
    @given(data=st.data())
    def examine(data: st.DataObject) -> None:
        abi = data.draw(st.sampled_from(PRESENT))
        assert_means_the_same(data.draw(policies(plain_tables(), abi)), abi)

    examine()


@pytest.mark.parametrize("abi", PRESENT)
def test_a_meaning_with_all_compat_abis_is_what_the_oracle_says(abi: str) -> None:
    siblings = [other for other in oracle.ABIS[abi].same_kernel if other in PRESENT]
    policy = {
        "arches": [abi],
        "compat_arches": siblings,
        "default_action": "errno(ENOSYS)",
        "unknown_action": "trace(7)",
        "bad_arch_action": "errno(EDEADLOCK)",
        "syscalls": [{"action": "allow", "names": ["read", "close", "exit_group"]}],
    }
    assert_means_the_same(policy, abi)


def assert_means_the_same(policy: dict[str, Any], abi: str) -> None:
    means, expected = meaning_of(policy, abi), oracle.Meaning(policy, plain_tables(), abi)
    for call in spread_out(interesting_calls(policy, plain_tables(), abi), 600):
        assert means.answer(as_call(call)) == expected.decide(*call), call


# --- what is too much for one --------------------------------------------------------------------

FIRST = 16
"""The offset of the low word of the first argument, little-endian."""


BEYOND = {
    "instruction 1 computes": [(LD_ABS, 0, 0, FIRST), (ADD, 0, 0, 1), (JEQ, 0, 1, 5)],
    "instruction 2 compares": [(LD_ABS, 0, 0, FIRST), (TAX, 0, 0, 0), (JEQ_X, 0, 1, 0)],
    "instruction 2 answers": [(LD_ABS, 0, 0, FIRST), (JEQ, 2, 0, 5), (RET_A, 0, 0, 0)],
}


@pytest.mark.parametrize("said", BEYOND)
def test_what_classes_cannot_follow_it_says_and_z3_decides(said: str) -> None:
    end = [(RET, 0, 0, ALLOW), (RET, 0, 0, KILL)]
    code = little(*BEYOND[said], *end)
    other = little(*BEYOND[said], *end[:1], (RET, 0, 0, KILL + 1))
    with pytest.raises(UndecidedError, match=said):
        prove(code, other, [Method.CLASSES])
    assert prove(code, code) == prove(code, code, Method) == Proof((Method.Z3,))
    found = prove(code, other)
    if said == "instruction 2 compares":  # a word is always itself
        assert found == Proof((Method.Z3,))
    else:
        assert_confirmed([found], code, other)
        assert isinstance(found, Difference)


def bits(offset: int, *extra: tuple[int, int, int, int]) -> Code:
    """Return a program that looks at 20 bits, one by one; every value of them is a class."""
    tests = [(JSET, 0, 1, 1 << n) for n in range(20)]
    counted = [one for test in tests for one in (test, (LDX_IMM, 0, 0, 0))]
    return little((LD_ABS, 0, 0, offset), *counted, *extra, (RET, 0, 0, ALLOW))


KILLS_ONE = ((JEQ, 0, 1, 0xABCDE), (RET, 0, 0, KILL))


def test_too_many_classes_of_numbers_are_left_to_z3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exhaustion, "MOST_CLASSES", 1000)  # to be there sooner
    code, other = bits(interpreter.NR), bits(interpreter.NR, *KILLS_ONE)
    assert_left_to_z3(code, other, "more than 1000 classes", monkeypatch)


@pytest.mark.few(1, "proves many programs")
@pytest.mark.parametrize("most", [10, 10_000])
def test_too_many_steps_are_left_to_z3(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exhaustion, "MOST_STEPS", most)
    code, other = bits(FIRST), bits(FIRST, *KILLS_ONE)
    assert_left_to_z3(code, other, f"more than {most:,} comparisons", monkeypatch)


def assert_left_to_z3(code: Code, other: Code, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UndecidedError, match=why):
        prove(code, code, [Method.CLASSES])
    assert prove(code, code) == Proof((Method.Z3,))
    found = prove(code, other)
    assert isinstance(found, Difference)
    assert_confirmed([found], code, other)
    monkeypatch.setattr(sys.modules["seccompgen.verify"], "find_spec", lambda _: None)
    assert available_methods() == (Method.CLASSES,)
    with pytest.raises(UndecidedError, match=rf"{why}.*seccompgen\[proof\]"):
        prove(code, code)


@pytest.mark.long("proves many programs")
def test_a_policy_of_too_many_classes_is_followed_by_its_bits() -> None:
    rules = [
        {
            "action": f"errno({n + 1})",
            "names_with_args": [
                {
                    "name": "ioctl",
                    "arguments": [{"operation": "MaskedEqual", "mask": 5 << n, "value": 4 << n}],
                }
            ],
        }
        for n in range(14)
    ]
    policy = loaded({"arches": ["x86_64"], "default_action": "allow", "syscalls": rules})
    abi = ABIS["x86_64"]
    means = meaning(policy, abi, TABLES)
    code = Code(compile_policy(policy, abi, TABLES).instructions, abi.byte_order)
    with pytest.raises(UndecidedError, match="more than 5000 classes"):
        Classes([Question(Word.low(ARGS), 5 << n, 4 << n) for n in range(14)], most=5000)
    assert prove(means, code, Method) == Proof(tuple(Method))
    mutant = random_mutant(random.Random(0), code)
    found = [prove(means, mutant, [method]) for method in Method]
    assert {type(one) for one in found} == {Difference}
    assert_confirmed(found, code, mutant)
