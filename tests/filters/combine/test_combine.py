"""Filters made into one program answer what the three operations say, also in the kernel."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import interpreter
import pytest
from combining import (
    ALLOW,
    TABLES,
    Drawn,
    assert_answers,
    calls_to_try,
    combined,
    drawn_parts,
    in_words,
    named,
    ran,
    strictness,
)
from drawing import unshrunk as bounded
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import ABS, JEQ, JMP, JSET, LD, RET, W
from longer import long_but
from oracle import ABIS, U32, action_value
from probes import Call
from seccompgen.core.abis import ABIS as REAL_ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.model import Action
from seccompgen.filters.combine.combined import parts_of, stack_of
from seccompgen.verify import Code, Difference, Operation, Proof, prove
from strategies import plain_tables

if TYPE_CHECKING:
    from seccompgen.core.program import Instruction


@pytest.mark.long("combines many filters")
@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize(
    ("abis", "examples"),
    long_but(
        [(("x86_64", "i386"), 6), (("s390x", "ppc"), 6)],
        [(("x86_64", "i386"), 6), (("s390x", "ppc"), 6), (("mips64",), 9)],
        "an ABI whose numbers do not begin with 0",
    ),
    ids=["x86", "big-endian", "mips64"],
)
def test_the_program_answers_as_its_parts_do_together(
    operation: Operation, abis: tuple[str, ...], examples: int
) -> None:
    seen: Counter[str] = Counter()

    @settings(bounded, max_examples=examples)
    @given(data=st.data())
    def try_some(data: st.DataObject) -> None:
        abi = data.draw(st.sampled_from(abis))
        refusal = data.draw(st.sampled_from(["errno(13)", "kill_process", "trap(1)", "log"]))
        assert_answers(operation, data.draw(drawn_parts(abi)), refusal, seen)

    try_some()
    assert seen["combined"] > 2, seen
    assert seen["the first decides"] > 20, seen
    assert seen["by arguments"] > 20, seen
    if operation is Operation.SUBTRACT:
        assert seen["the refusal decides"] > 20, seen
    else:
        assert min(seen["the last decides"], seen["a tie of different data"]) > 20, seen
        assert not seen["the refusal decides"], seen


def test_what_compat_abis_answer_goes_into_the_program() -> None:
    native = named("x86_64", allow=["read", "openat"])
    both = {**named("x86_64", allow=["read"], trap=["openat"]), "compat_arches": ["i386", "x32"]}
    parts = [Drawn("x86_64", native), Drawn("x86_64", both)]
    seen: Counter[str] = Counter()
    assert_answers(Operation.UNION, parts, "errno", seen)
    assert seen["combined"]
    program = combined(Operation.UNION, parts, None)["x86_64"]
    assert [abi.name for abi in program.compat] == ["i386", "x32"]
    for abi in ("x86_64", "i386", "x32"):
        call = Call(ABIS[abi].audit_arch, plain_tables()[abi]["read"], (0,) * 6)
        assert ran(program.to_bytes(), call, "x86_64") == ALLOW
    # Alone, the first kills these.
    stack = combined(Operation.INTERSECT, parts, None)["x86_64"].to_bytes()
    call = Call(ABIS["i386"].audit_arch, plain_tables()["i386"]["read"], (0,) * 6)
    assert ran(stack, call, "x86_64") == 0x80000000


def test_numbers_of_x32_may_be_answered_by_their_arguments() -> None:
    # Four spans at the end of the numbers, as a policy has them; but no policy has rules there.
    x32 = [(JMP | JSET, 0, 3, 0x40000000)]
    arg = (LD | W | ABS, 0, 0, 16)
    program = [
        *((LD | W | ABS, 0, 0, 4), (JMP | JEQ, 1, 0, 0xC000003E), (RET, 0, 0, 0x80000000)),
        *((LD | W | ABS, 0, 0, 0), (JMP | JEQ, 8, 0, 0), (JMP | JEQ, 4, 0, U32)),
        *(*x32, arg, (JMP | JEQ, 5, 0, 1), (RET, 0, 0, 0x50003)),
        *(arg, (JMP | JEQ, 2, 0, 1), (RET, 0, 0, 0x50002), (RET, 0, 0, ALLOW)),
        (RET, 0, 0, 0x50001),
    ]
    parts = [Drawn("x86_64", interpreter.assemble(program, "little"))] * 2
    made = combined(Operation.INTERSECT, parts, None)["x86_64"].to_bytes()
    for nr in (0, 1, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xC0000000, U32 - 1, U32):
        answers = [ran(made, Call(0xC000003E, nr, (n, *(0,) * 5)), "x86_64") for n in (1, 2)]
        other = 0x50003 if nr & 0x40000000 and nr != U32 else 0x50002
        assert answers == ([0x50001, other] if nr else [ALLOW] * 2), hex(nr)


def test_numbers_that_are_told_apart_bit_by_bit_are_refused_at_once() -> None:
    odd = [
        *((LD | W | ABS, 0, 0, 4), (JMP | JEQ, 1, 0, 0xC000003E), (RET, 0, 0, 0x80000000)),
        *((LD | W | ABS, 0, 0, 0), (JMP | JSET, 0, 1, 1), (RET, 0, 0, ALLOW), (RET, 0, 0, 0)),
    ]
    policy = named("x86_64", allow=["read"])
    parts = [Drawn("x86_64", policy), Drawn("x86_64", interpreter.assemble(odd, "little"))]
    with pytest.raises(InputError, match=r"part1\.bpf: x86_64: .*lowest bits of their numbers"):
        combined(Operation.UNION, parts, None)


# --- the order of the parts ----------------------------------------------------------------------


@pytest.mark.parametrize("operation", [Operation.INTERSECT, Operation.UNION])
def test_the_order_of_parts_matters_only_for_data_of_ties(operation: Operation) -> None:
    one = named("aarch64", **{"errno(2)": ["read"], "allow": ["openat"], "trap(7)": ["ioctl"]})
    other = named("aarch64", **{"errno(3)": ["read"], "log": ["openat"], "errno(4)": ["ioctl"]})
    parts = [Drawn("aarch64", one), Drawn("aarch64", other)]
    there, back = (
        combined(operation, order, None)["aarch64"].to_bytes() for order in (parts, parts[::-1])
    )
    different = set()
    for call in calls_to_try(parts):
        answers = [ran(program, call, "aarch64") for program in (there, back)]
        assert strictness(answers[0]) == strictness(answers[1])
        if answers[0] != answers[1]:
            different.add((call.nr, *answers))
    assert different == {(plain_tables()["aarch64"]["read"], 0x50003, 0x50002)}


# --- the proof of it -----------------------------------------------------------------------------


@pytest.mark.parametrize("operation", Operation)
def test_the_proof_refutes_a_combined_program_that_was_tampered_with(operation: Operation) -> None:
    condition = [{"argument": 1, "operation": "GreaterThan", "value": 2**33, "width": 64}]
    limited = {"action": "allow", "names_with_args": [{"name": "ioctl", "arguments": condition}]}
    first = named("s390x", allow=["read", "openat"])
    second = named("s390x", allow=["openat"], trap=["read"])
    for policy in (first, second):
        policy["syscalls"].append(limited if policy is first else {**limited, "action": "errno(5)"})
    parts = [Drawn("s390x", policy) for policy in (first, second)]
    refusal = "errno(9)" if operation is Operation.SUBTRACT else None
    with tempfile.TemporaryDirectory() as directory:
        files = [part.write(Path(directory, f"part{n}")) for n, part in enumerate(parts)]
        found = parts_of(files, TABLES, None)
    action = Action.parse(refusal) if refusal else None
    stack = stack_of(operation, action, found, REAL_ABIS["s390x"])
    program = combined(operation, parts, refusal)["s390x"]
    assert isinstance(prove(stack, Code(program.instructions, "big")), Proof)
    calls = calls_to_try(parts, 400)
    right = [ran(program.to_bytes(), call, "s390x") for call in calls]
    for place, one in enumerate(program.instructions):
        wrong = _changed(one)
        code = (*program.instructions[:place], wrong, *program.instructions[place + 1 :])
        fields = [(i.code, i.jt, i.jf, i.k) for i in code]
        raw = interpreter.assemble(fields, "big")
        verdict = prove(stack, Code(code, "big"))
        shows = any(
            ran(raw, call, "s390x") != answer for call, answer in zip(calls, right, strict=True)
        )
        assert isinstance(verdict, Difference) == shows, (place, one, wrong)
        if isinstance(verdict, Difference):
            call = Call(verdict.call.arch, verdict.call.nr, verdict.call.args)
            answers = [part.answers([call])[0] for part in parts]
            expected = in_words(operation, answers, action_value(refusal or "allow", "s390x"))
            assert (verdict.left, verdict.right) == (expected, ran(raw, call, "s390x"))


def _changed(one: Instruction) -> Instruction:
    """Return ``one`` with its two ways exchanged, another constant, or another word to load."""
    jumps = one.code & 7 == JMP and one.jt != one.jf
    k = one.k if jumps else one.k ^ (4 if one.code == LD | W | ABS else 1)
    return type(one)(one.code, one.jf, one.jt, k)
