"""The stock policies as one program, and programs taken apart and made again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import interpreter
import pytest
from combining import FEW, ROOT, TABLES
from drawing import unshrunk as bounded
from hypothesis import given, settings
from hypothesis import strategies as st
from longer import few_and_many, long_but
from oracle import ABIS
from seccompgen.compile import ProgramBuilder
from seccompgen.core.abis import ABIS as REAL_ABIS
from seccompgen.core.errors import InputError, Position
from seccompgen.core.model import Origin
from seccompgen.core.objective import DEFAULT_OBJECTIVE
from seccompgen.filters.combine.combined import combine, parts_of
from seccompgen.filters.find.lift import lift
from seccompgen.filters.find.loaded_filter import load_filter
from seccompgen.pipeline.build import PLAIN_OPTIONS
from seccompgen.verify import Code, Operation, Proof, prove
from strategies import compiled, policies

if TYPE_CHECKING:
    from seccompgen.core.program import CompiledProgram, Instruction


def stock(abi: str) -> dict[str, tuple[Instruction, ...]]:
    """Return the committed programs for ``abi`` by the name of the filter."""
    found = {}
    for policy in sorted((ROOT / "policies").glob("*.yml")):
        path = ROOT / "generated" / "seccomp_filters" / policy.stem
        with contextlib.suppress(InputError):  # not for this ABI
            loaded = load_filter(path, TABLES, REAL_ABIS[abi])
            found[policy.stem] = loaded.programs[abi].instructions
    return found


@pytest.mark.long("makes and proves filters of many forms")
def test_the_stock_policies_are_one_program_shorter_than_their_stack() -> None:
    parts = parts_of(sorted((ROOT / "policies").glob("*.yml")), TABLES, REAL_ABIS["x86_64"])
    made = combine("all", Operation.INTERSECT, None, parts, TABLES, PLAIN_OPTIONS)
    (program,) = made.programs
    lengths = [len(instructions) for instructions in stock("x86_64").values()]
    assert len(lengths) == len(parts) == 8
    assert len(program.instructions) < 0.5 * sum(lengths)


def again(code: Code, abi: str) -> CompiledProgram:
    """Take ``code`` apart, and compile what comes of it."""
    builder = ProgramBuilder(REAL_ABIS[abi], (), DEFAULT_OBJECTIVE)
    origin = Origin("code", Position("code"))
    apart = lift(code, [REAL_ABIS[abi]], builder.functions, TABLES, origin)
    otherwise = apart.otherwise, origin
    return builder.compilation(apart.lines, otherwise, origin, apart.constants).program


@pytest.mark.parametrize(
    "abi",
    long_but([], ["x86_64", "s390x", "mips64"], "proves large programs"),
)
def test_a_stock_program_taken_apart_makes_one_that_is_proved_equal(abi: str) -> None:
    order = ABIS[abi].byte_order
    programs = stock(abi)
    assert len(programs) >= 2
    for name, instructions in programs.items():
        if name == "web_worker" and abi != "x86_64":
            continue  # it takes seconds
        code = Code(instructions, order)
        found = again(code, abi).instructions
        assert isinstance(prove(code, Code(found, order)), Proof), name
        assert len(found) <= len(instructions) + max(5, len(instructions) // 16), name


@few_and_many(2, 8)
@pytest.mark.parametrize("abi", ["x86_64", "ppc64"])
def test_a_random_program_taken_apart_makes_one_that_is_proved_equal(
    abi: str, examples: int
) -> None:
    @settings(bounded, max_examples=examples)
    @given(data=st.data())
    def examine(data: st.DataObject) -> None:
        assert_goes_round(abi, data)

    examine()


def assert_goes_round(abi: str, data: st.DataObject) -> None:
    order = ABIS[abi].byte_order
    (program,) = compiled(data.draw(policies({abi: FEW[abi]}, abi))).values()
    fields = interpreter.decode(program, order)
    code = Code(tuple(as_instruction(one) for one in fields), order)
    found = again(code, abi).instructions
    assert isinstance(prove(code, Code(found, order)), Proof)


def as_instruction(one: tuple[int, int, int, int]) -> Instruction:
    from seccompgen.core.program import Instruction

    return Instruction(*one)
