"""Calls that the kernel cannot tell apart: one answer is proved, or two calls are shown.

What the kernel reads of each call is made up here, so that every kind of argument comes about.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pytest
from longer import few_and_many, long_but
from mutants import likely_calls, random_program
from proving import TABLES, ran
from seccompgen.compile import compile_policy
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import UndecidedError
from seccompgen.core.facts import Facts, Parameter, Prototype
from seccompgen.core.program import Instruction
from seccompgen.formats import load_policy
from seccompgen.verify import Code, bits_read, indistinguishable_calls
from seccompgen.verify.call import Call
from seccompgen.verify.indistinguishable import by_classes, by_z3

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from seccompgen.core.tables import Tables
    from seccompgen.verify import IndistinguishableCalls
    from seccompgen.verify.indistinguishable import ReadBits

ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000
LD, JEQ, JGT, JSET, AND, RET = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06
U32, U64 = 2**32 - 1, 2**64 - 1
INT, LONG = Parameter("n", "int", 32, signed=True), Parameter("n", "long", 64, signed=True)
UNKNOWN, MODE = Parameter("", "", None), Parameter("mode", "umode_t", 16)


def tables(prototypes: Mapping[str, Sequence[Parameter]], *abis: str) -> Tables:
    """Return our tables, with these prototypes only, on these ABIs."""
    known = {name: Prototype(f"sys_{name}", tuple(of)) for name, of in prototypes.items()}
    return replace(TABLES, facts=Facts(prototypes=dict.fromkeys(abis, known)))


def program(abi: str, call: str, *body: tuple[int, int, int, int]) -> Code:
    """Return a program that kills other ABIs, allows all calls but one, and goes on with a body."""
    length = len(body)
    instructions = [
        *((LD, 0, 0, 4), (JEQ, 0, length + 3, ABIS[abi].audit_arch)),
        *((LD, 0, 0, 0), (JEQ, 0, length, TABLES.tables[abi].numbers[call])),
        *body,
        *((RET, 0, 0, ALLOW), (RET, 0, 0, KILL)),
    ]
    return Code(tuple(Instruction(*one) for one in instructions), ABIS[abi].byte_order)


def high_then_low(abi: str, argument: int, value: int) -> tuple[tuple[int, int, int, int], ...]:
    """Return a body that refuses one value of 64 bits, and allows others."""
    low, high = 16 + 8 * argument, 20 + 8 * argument
    if ABIS[abi].byte_order == "big":
        low, high = high, low
    return (
        *((LD, 0, 0, high), (JEQ, 0, 3, value >> 32)),
        *((LD, 0, 0, low), (JEQ, 0, 1, value & U32), (RET, 0, 0, REFUSE)),
    )


def low_only(abi: str, argument: int, value: int) -> tuple[tuple[int, int, int, int], ...]:
    return high_then_low(abi, argument, value)[2:]


def found(code: Code, read: ReadBits) -> tuple[IndistinguishableCalls, ...]:
    """Return the pairs, having asserted that both methods find them, and that they are such."""
    pairs = indistinguishable_calls(code, read)
    try:
        by_one = by_classes(code, read)
    except UndecidedError:
        by_one = list(pairs)
    of_calls = {(one.call.arch, one.call.nr, one.argument) for one in pairs}
    for other in (by_one, by_z3(code, read)):
        assert {(one.call.arch, one.call.nr, one.argument) for one in other} == of_calls
        for one in other:
            assert_a_pair(one, code, read)
    return pairs


def assert_a_pair(one: IndistinguishableCalls, code: Code, read: ReadBits) -> None:
    """Assert that two calls differ in a bit that is not read, and are answered differently."""
    before, after = one.call, one.other
    assert (before.nr, before.arch) == (after.nr, after.arch)
    assert before.instruction_pointer == after.instruction_pointer
    changed = [a ^ b for a, b in zip(before.args, after.args, strict=True)]
    assert changed[one.argument] == 1 << one.bit
    assert not any(changed[: one.argument] + changed[one.argument + 1 :])
    assert not read[before.arch, before.nr][one.argument] & 1 << one.bit
    assert before.exists
    assert after.exists
    assert one.answer == ran(code, before).value
    assert one.other_answer == ran(code, after).value
    assert one.answer != one.other_answer


@pytest.mark.few(1, "proves many programs")
@pytest.mark.parametrize(
    "abi",
    long_but(["x86_64", "s390x"], ["x86_64", "aarch64", "s390x", "mips64", "ppc64"], "more ABIs"),
)
def test_the_high_word_of_an_int_is_a_bit_too_many(abi: str) -> None:
    read = bits_read(tables({"socket": [INT, INT, INT]}, abi), ABIS[abi])
    code = program(abi, "socket", *high_then_low(abi, 1, 5))
    (one,) = found(code, read)
    assert one.call == Call(
        TABLES.tables[abi].numbers["socket"], ABIS[abi].audit_arch, (0, 5, 0, 0, 0, 0)
    )
    assert (one.argument, one.bit) == (1, 32)
    assert (one.answer, one.other_answer) == (REFUSE, ALLOW)
    assert found(program(abi, "socket", *low_only(abi, 1, 5)), read) == ()


@pytest.mark.long("proves many programs")
def test_a_long_and_what_nobody_knows_count_as_a_whole() -> None:
    body = high_then_low("x86_64", 1, 5)
    code = program("x86_64", "socket", *body)
    for parameters in ([INT, LONG], [INT, UNKNOWN]):
        assert (
            found(code, bits_read(tables({"socket": parameters}, "x86_64"), ABIS["x86_64"])) == ()
        )
    assert found(code, bits_read(tables({}, "x86_64"), ABIS["x86_64"])) == ()
    assert found(code, bits_read(tables({"socket": [INT] * 3}, "i386"), ABIS["x86_64"])) == ()


@pytest.mark.long("proves many programs")
def test_an_argument_that_the_call_has_not_is_not_read() -> None:
    read = bits_read(tables({"socket": [INT, INT, INT], "getpid": []}, "x86_64"), ABIS["x86_64"])
    (one,) = found(program("x86_64", "socket", *low_only("x86_64", 3, 5)), read)
    assert (one.argument, one.bit) == (3, 2)  # 1 and 5: a bit makes it what is refused
    (one,) = found(program("x86_64", "getpid", *low_only("x86_64", 0, 0)), read)
    assert (one.argument, one.bit, one.call.args[0], one.answer) == (0, 0, 0, REFUSE)


@pytest.mark.long("proves many programs")
def test_sixteen_bits_are_read_of_a_mode() -> None:
    read = bits_read(tables({"mkdir": [LONG, MODE]}, "x86_64"), ABIS["x86_64"])
    masked = ((LD, 0, 0, 24), (AND, 0, 0, 0xF000), (JEQ, 0, 1, 0x4000), (RET, 0, 0, REFUSE))
    assert found(program("x86_64", "mkdir", *masked), read) == ()
    (one,) = found(program("x86_64", "mkdir", *low_only("x86_64", 1, 0o777)), read)
    assert (one.argument, one.bit, one.call.args[1]) == (1, 16, 0o777)
    (one,) = found(
        program("x86_64", "mkdir", (LD, 0, 0, 24), (JSET, 0, 1, 0x18000), (RET, 0, 0, REFUSE)), read
    )
    assert (one.argument, one.bit, one.call.args[1] & 0xFFFF) == (1, 16, 0)
    (one,) = found(
        program("x86_64", "mkdir", (LD, 0, 0, 24), (JGT, 0, 1, 0xFFFF), (RET, 0, 0, REFUSE)), read
    )
    assert (one.argument, one.bit, one.other_answer) == (1, 16, REFUSE)


def test_i386_reads_no_high_word_whatever_it_is() -> None:
    code = program("i386", "openat", *high_then_low("i386", 1, 5))
    (one,) = found(code, bits_read(tables({}), ABIS["i386"]))
    assert (one.argument, one.bit) == (1, 32)


@pytest.mark.few(1, "proves many programs")
@pytest.mark.parametrize("abi", ["m68k", "ppc", "csky"])
def test_high_words_that_no_kernel_shows_make_no_pair(abi: str) -> None:
    code = program(abi, "openat", *high_then_low(abi, 1, 5))
    assert found(code, bits_read(tables({"openat": [INT, LONG]}, abi), ABIS[abi])) == ()
    # One in the low word is one there as well.
    (one,) = found(code, bits_read(tables({"openat": [INT, MODE]}, abi), ABIS[abi]))
    assert one.bit == 16


def test_each_call_and_each_argument_has_a_pair_of_its_own() -> None:
    abi = ABIS["x86_64"]
    numbers = TABLES.tables["x86_64"].numbers
    body = [*high_then_low("x86_64", 0, 1), *high_then_low("x86_64", 2, 7)]
    code = Code(tuple(Instruction(*one) for one in (*body, (RET, 0, 0, ALLOW))), "little")
    some = ("socket", "listen", "dup")
    every = bits_read(tables({name: [INT, INT, INT] for name in some}, "x86_64"), abi)
    first = range(10)  # of i386, whose calls all have a pair
    read = {call: of for call, of in every.items() if call[0] == abi.audit_arch or call[1] in first}
    pairs = found(code, read)
    assert {(one.call.nr, one.argument) for one in pairs if one.call.arch == abi.audit_arch} == {
        (numbers[name], argument) for name in some for argument in (0, 2)
    }
    # What i386 does with its high words shows as well: a kernel of x86_64 serves it.
    others = {one.call.nr for one in pairs if one.call.arch == ABIS["i386"].audit_arch}
    assert others == {*first}
    assert [(one.call.arch, one.call.nr, one.argument) for one in pairs] == sorted(
        (one.call.arch, one.call.nr, one.argument) for one in pairs
    )


def test_of_two_names_of_a_number_what_either_reads_counts() -> None:
    table = TABLES.tables["x86_64"]
    both = replace(table, numbers={"one": 5, "other": 5})
    known = {"one": Prototype("sys_one", (INT,)), "other": Prototype("sys_other", (MODE, MODE))}
    facts = Facts(prototypes={"x86_64": known})
    of_both = bits_read(replace(TABLES, tables={"x86_64": both}, facts=facts), ABIS["x86_64"])
    assert of_both == {(ABIS["x86_64"].audit_arch, 5): (U32, 0xFFFF, 0, 0, 0, 0)}


def test_every_abi_of_the_kernel_counts() -> None:
    for abi, others in {
        "aarch64": {"aarch64", "arm"},
        "arm": {"arm", "aarch64"},
        "x32": {"x86_64", "i386"},
        "riscv64": {"riscv64", "riscv32"},
    }.items():
        read = bits_read(TABLES, ABIS[abi])
        assert {arch for arch, _ in read} == {ABIS[other].audit_arch for other in others}


def test_mips_takes_the_prototype_from_the_number_whatever_the_task_is_of() -> None:
    with_facts = replace(
        TABLES,
        facts=Facts(
            prototypes={
                "mips64": {"dup": Prototype("sys_dup", (INT,))},
                "mips": {"dup": Prototype("sys_dup", (MODE,))},
            }
        ),
    )
    read = bits_read(with_facts, ABIS["mips64"])
    task = ABIS["mips64"].audit_arch
    assert read[task, TABLES.tables["mips64"].numbers["dup"]][:2] == (U32, 0)
    assert read[task, TABLES.tables["mips"].numbers["dup"]][:2] == (0xFFFF, 0)


ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")


@pytest.mark.long("proves many programs")
@few_and_many(18, 30)
@pytest.mark.parametrize("plain", [True, False], ids=["loads, masks, jumps", "all opcodes"])
@pytest.mark.parametrize("byte_order", ORDERS)
def test_both_methods_agree_on_random_programs_and_an_interpreter_with_them(
    byte_order: Literal["little", "big"], plain: bool, examples: int
) -> None:
    seen: Counter[str] = Counter()
    for seed in range(examples):
        rng = random.Random(seed)
        code = random_program(rng, byte_order, plain=plain)
        calls = likely_calls(rng, [code], 120)
        masks = (U64, U64, U32, 0xFFFF, 0x7FFFFFFE, 0)
        read = {
            (one.arch, one.nr): tuple(rng.choice(masks) for _ in range(6)) for one in calls[:60]
        }
        pairs = found(code, read)
        told = {(one.call.arch, one.call.nr) for one in pairs}
        for call in calls:
            bits = read.get((call.arch, call.nr))
            if bits and call.exists:
                a, b, c, d, e, f = (n & mask for n, mask in zip(call.args, bits, strict=True))
                same = replace(call, args=(a, b, c, d, e, f))
                differ = ran(code, call).value != ran(code, same).value
                assert not differ or (call.arch, call.nr) in told, (seed, call)
                seen["differ"] += differ
        seen["pairs"] += bool(pairs)
        seen["none"] += not pairs
    assert min(seen.values()) > examples // 20, seen


# --- policies, which say no width ----------------------------------------------------------------

OPERATIONS = (
    *("Equal", "NotEqual", "GreaterThan", "LessThan", "GreaterOrEqual", "LessOrEqual"),
    *("BitsSet", "BitsNotSet"),
)


def random_rules(rng: random.Random, abi: str, count: int) -> Iterator[dict[str, Any]]:
    """Yield rules for calls of known prototypes, with values that their arguments can have."""
    known = TABLES.facts.prototypes[abi]
    calls = [name for name in sorted(known) if known[name].parameters]
    for name in rng.sample(calls, count):
        parameters = known[name].parameters
        arguments = []
        for index in rng.sample(range(len(parameters)), min(len(parameters), rng.randint(1, 2))):
            bits = parameters[index].bits or 64
            value = rng.choice((1, 5, 1 << bits - 1, rng.getrandbits(bits) | 1)) or 1
            operation = rng.choice(OPERATIONS)
            arguments.append({"argument": index, "operation": operation, "value": value})
        yield {"name": name, "arguments": arguments}


def compiled(directory: Path, abi: str, rules: Iterable[dict[str, Any]]) -> Code:
    policy = {
        "arches": [abi],
        "default_action": "errno(1)",
        "multiplexed": "errno(2)",
        "syscalls": [{"action": "allow", "names_with_args": [*rules]}],
    }
    path = directory / "policy.json"
    path.write_text(json.dumps(policy))
    model, _ = load_policy(path, TABLES)
    program = compile_policy(model, ABIS[abi], TABLES)
    return Code(program.instructions, ABIS[abi].byte_order)


@few_and_many(1, 6)
@pytest.mark.parametrize(
    "abi",
    long_but(
        ["x86_64", "s390x"], ["x86_64", "i386", "s390x", "mips64", "x32"], "more ABIs", long=2
    ),
)
def test_what_says_no_width_holds_for_random_policies(
    abi: str, tmp_path: Path, examples: int
) -> None:
    read = bits_read(TABLES, ABIS[abi])
    for seed in range(examples):
        rules = list(random_rules(random.Random(f"{abi} {seed}"), abi, 25))
        assert indistinguishable_calls(compiled(tmp_path, abi, rules), read) == (), seed


@pytest.mark.few(1, "proves many programs")
@pytest.mark.parametrize("abi", ["x86_64", "s390x"])
def test_a_width_of_64_is_found_wherever_the_kernel_reads_less(abi: str, tmp_path: Path) -> None:
    numbers = TABLES.tables[abi].numbers
    known = TABLES.facts.prototypes[abi]
    rng = random.Random(abi)
    rules = []
    less = set()
    for rule in random_rules(rng, abi, 60):
        (argument, *_) = rule["arguments"]
        argument |= {"operation": "Equal", "width": 64}
        rules.append({"name": rule["name"], "arguments": [argument]})
        if (known[rule["name"]].parameters[argument["argument"]].bits or 64) < 64:
            less.add((numbers[rule["name"]], argument["argument"]))
    pairs = indistinguishable_calls(compiled(tmp_path, abi, rules), bits_read(TABLES, ABIS[abi]))
    assert {(one.call.nr, one.argument) for one in pairs} == less
    assert len(less) > 20


@pytest.mark.long("proves many programs")
def test_a_mask_that_lets_one_bit_too_many_through_is_found(tmp_path: Path) -> None:
    rule = {"argument": 1, "operation": "Equal", "value": 0o700}
    code = compiled(tmp_path, "x86_64", [{"name": "mkdir", "arguments": [rule]}])
    read = bits_read(TABLES, ABIS["x86_64"])
    assert found(code, read) == ()
    broken = [
        replace(one, k=one.k | 0x10000) if one.code == AND and one.k == 0xFFFF else one
        for one in code.instructions
    ]
    assert broken != [*code.instructions]
    (one,) = found(Code(tuple(broken), "little"), read)
    assert (one.argument, one.bit) == (1, 16)
