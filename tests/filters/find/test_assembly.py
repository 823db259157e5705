"""Assembly: every program goes through its text and back, long jumps reach, mistakes are told."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import corpus
import interpreter
import pytest
from command import ROOT, inside
from hypothesis import given
from hypothesis import strategies as st
from longer import long_but
from mutants import random_program
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.model import Action, Op
from seccompgen.core.program import Instruction, Program, decode
from seccompgen.filters.find.assembler import Assembler
from seccompgen.filters.find.assembly import assemble
from seccompgen.filters.find.loaded_filter import load_filter
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.render.disassembly import disassembly
from seccompgen.verify import kernel_objections

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seccompgen.core.abis import Abi

TABLES = shipped_tables()
FILTERED = [table.abi for table in TABLES.tables.values() if table.has_filters]
STOCK = ("compute_only", "no_exec", "no_network", "web_worker")
CODES = (
    *(0x20, 0x15, 0x25, 0x35, 0x45, 0x1D, 0x2D, 0x3D, 0x4D, 0x05, 0x06, 0x16, 0x54, 0x80, 0x81),
    *(0x00, 0x01, 0x60, 0x61, 0x02, 0x03, 0x07, 0x87, 0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, 0x34),
    *(0x3C, 0x44, 0x4C, 0x5C, 0x64, 0x6C, 0x74, 0x7C, 0xA4, 0xAC, 0x84),
)
"""Every opcode that the kernel takes in a filter."""


def goes_round(*programs: Program) -> None:
    text = disassembly(programs, TABLES)
    again = assemble(text, "text", TABLES)
    assert [one.abi for one in again] == [one.abi for one in programs]
    for one, other in zip(again, programs, strict=True):
        assert one.to_bytes() == other.to_bytes(), text


@pytest.mark.few(1, "makes and proves filters of many forms")
@pytest.mark.parametrize("name", STOCK)
def test_the_stock_filters_go_round_on_all_abis(name: str) -> None:
    found = load_filter(ROOT / "generated/seccomp_filters" / name, TABLES).programs
    assert len(found) >= 20
    goes_round(*(Program(ABIS[abi], code.instructions) for abi, code in found.items()))


@pytest.mark.parametrize(
    "name",
    long_but(
        ["container-default", "journal", "vm-gpu"],
        sorted({"container-default", "journal", "vm-gpu", *corpus.NAMES[::5]}),
        "more realistic policies, also of ../shared",
    ),
)
def test_the_corpus_goes_round(name: str) -> None:
    goes_round(Program.from_bytes(corpus.our_program(name), ABIS["x86_64"]))


@pytest.mark.parametrize(
    "abi",
    long_but(
        ["x86_64", "i386", "s390x", "alpha"], [abi.name for abi in FILTERED], "every other ABI"
    ),
)
def test_random_programs_go_round(abi: str) -> None:
    rng = random.Random(abi)
    for i in range(40):
        code = random_program(rng, ABIS[abi].byte_order, plain=i % 2 == 0)
        goes_round(Program(ABIS[abi], code.instructions))


@st.composite
def instructions(draw: st.DrawFn) -> tuple[Instruction, ...]:
    """Draw a program that the kernel takes, with bits set that it does not look at."""
    length = draw(st.integers(1, 12))
    drawn = [Instruction(0x02, draw(st.integers(0, 3)), 0, cell) for cell in range(2)]
    for left in reversed(range(length)):
        code = draw(st.sampled_from(CODES))
        k = draw(st.integers(0, 0xFFFFFFFF) | st.integers(0, 31))
        jt, jf = draw(st.integers(0, 255)), draw(st.integers(0, 255))
        if code == 0x20:
            k = 4 * (k % 16)
        elif code in {0x60, 0x61, 0x02, 0x03}:
            k %= 2
        elif code in {0x64, 0x74, 0x34}:
            k = k % 31 + 1
        elif code == 0x05:
            k %= left + 1
        elif code & 7 == 5:
            jt, jf = jt % (left + 1), jf % (left + 1)
        drawn.append(Instruction(code, jt, jf, k))
    drawn.append(Instruction(0x06, draw(st.integers(0, 1)), 0, draw(st.integers(0, 0xFFFFFFFF))))
    return tuple(drawn)


@given(instructions(), st.sampled_from(FILTERED))
def test_bits_without_a_meaning_go_round(drawn: tuple[Instruction, ...], abi: Abi) -> None:
    assert not kernel_objections(drawn)
    goes_round(Program(abi, drawn))


# --- the assembler -------------------------------------------------------------------------------


def answer(program: Program, nr: int, args: Sequence[int] = (0,) * 6) -> int:
    data = interpreter.seccomp_data(nr, program.abi.audit_arch, args, 0, program.abi.byte_order)
    return interpreter.run(program.to_bytes(), data, program.abi.byte_order).value


@pytest.mark.parametrize(
    "distance",
    long_but(
        [253, 254, 255, 256, 600],
        [*range(250, 262), 511, 600],
        "each distance; test_assembler tries them with the compiler's",
    ),
)
@pytest.mark.parametrize("to_ret", [True, False])
def test_jumps_reach_over_any_distance(distance: int, *, to_ret: bool) -> None:
    asm = Assembler("x86_64")
    asm.load_nr()
    asm.jump_if(Op.EQ, 1, "far", "near")
    asm.jump_if(Op.GT, 3, "never", "far")
    asm.label("near")
    asm.jump_if(Op.NE, 2, "far")
    for _ in range(distance):
        asm.and_mask(0xFFFFFFFF)
    asm.ret(Action.KILL_PROCESS)
    asm.label("never")
    asm.ret(Action.LOG)
    asm.label("far")
    if not to_ret:
        asm.load_nr()
    asm.ret(Action.ALLOW)
    program = asm.program()
    assert not kernel_objections(program.instructions)
    kill, allow = Action.KILL_PROCESS.ret(program.abi), Action.ALLOW.ret(program.abi)
    assert [answer(program, nr) for nr in range(4)] == [allow, allow, kill, allow]
    goes_round(program)


@pytest.mark.parametrize("abi", ["x86_64", "s390x", "mips", "mipsel", "i386", "ppc64le"])
def test_halves_of_arguments_lie_where_the_abi_has_them(abi: str) -> None:
    asm = Assembler(abi)
    asm.load_high(3)
    asm.jump_if(Op.EQ, 7, None, "no")
    asm.load_low(3)
    asm.jump_if(Op.ANY_BITS, 8, "yes")
    asm.label("no")
    asm.ret(Action.errno("EACCES"))
    asm.label("yes")
    asm.ret(Action.ALLOW)
    program = asm.program()
    args = [0, 0, 0, 7 << 32 | 8, 0, 0]
    assert answer(program, 0, args) == Action.ALLOW.ret(program.abi)
    for other in (8 << 32 | 7, 7 << 32 | 4, 8):
        args[3] = other
        assert answer(program, 0, args) == Action.errno("EACCES").ret(program.abi)


@pytest.mark.parametrize("op", [op for op in Op if op is not Op.MASKED_EQ])
def test_every_operation_jumps_as_it_says(op: Op) -> None:
    asm = Assembler("x86_64")
    asm.load_nr()
    asm.jump_if(op, 6, "yes")
    asm.ret(Action.KILL_PROCESS)
    asm.label("yes")
    asm.ret(Action.ALLOW)
    program = asm.program()
    holds = {
        Op.EQ: [6],
        Op.NE: [*range(6), *range(7, 16)],
        Op.GT: range(7, 16),
        Op.LT: range(6),
        Op.GE: range(6, 16),
        Op.LE: range(7),
        Op.ANY_BITS: [nr for nr in range(16) if nr & 6],
        Op.NO_BITS: [nr for nr in range(16) if not nr & 6],
    }[op]
    allow = Action.ALLOW.ret(program.abi)
    assert [nr for nr in range(16) if answer(program, nr) == allow] == [*holds]


def test_mistakes_are_told_together() -> None:
    asm = Assembler("x86_64")
    asm.label("back")
    asm.load_nr()
    asm.jump_if(Op.EQ, 1, "back", "nowhere")
    asm.label("back")
    asm.ret(Action.ALLOW)
    asm.jump("end")
    asm.label("end")
    with pytest.raises(InputError) as caught:
        asm.program()
    assert [one.message for one in caught.value.diagnostics] == [
        "the label 'back' is defined twice",
        "there is no label 'nowhere'",
        "the label 'end' is at the end, where no instruction follows",
    ]


@pytest.mark.parametrize("label_first", [True, False])
def test_jumps_lead_forwards_only(*, label_first: bool) -> None:
    asm = Assembler("x86_64")
    asm.label("behind")
    if label_first:
        asm.load_nr()
    asm.jump("behind")
    asm.ret(Action.ALLOW)
    with pytest.raises(
        InputError, match="the label 'behind' is behind its jump: jumps only lead forwards"
    ):
        asm.program()


def test_what_the_kernel_refuses_is_not_made() -> None:
    asm = Assembler("x86_64")
    with pytest.raises(InputError, match="0 instructions; the kernel takes 1 to 4096"):
        asm.program()
    asm.emit(0x60, 3)
    with pytest.raises(InputError, match="the last instruction is not a return"):
        asm.program()
    asm.ret(Action.ALLOW)
    with pytest.raises(InputError, match="instruction 0: scratch word 3 may not have been stored"):
        asm.program()
    for _ in range(4095):
        asm.ret(Action.ALLOW)
    with pytest.raises(InputError, match="4097 instructions"):
        asm.program()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda asm: asm.load_low(6), "arguments 0 to 5, not 6"),
        (lambda asm: asm.and_mask(1 << 32), "k 0x100000000 does not fit into 32 bits"),
        (lambda asm: asm.ret(-1), "does not fit into 32 bits"),
        (lambda asm: asm.jump_if(Op.MASKED_EQ, 1, "a"), "use and_mask"),
        (lambda asm: asm.emit(0x20, 0, true="a"), "is no jump"),
        (lambda asm: asm.emit(0x15, 0, jt=1), "a jump leads to labels"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_at_once(wrong: object, text: str) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match=text):
        wrong(Assembler("x86_64"))


# --- the text ------------------------------------------------------------------------------------


def test_people_write_it() -> None:
    (program,) = assemble(
        """
        abi x86_64              ; comments are free
                ld   arch
                jne  AUDIT_ARCH_X86_64 -> kill
                ld   nr
                jeq  openat -> deny
                jlt  0x200 -> fine
        kill:   ; a label stands alone
                ret  kill_process
        deny:
                ret  errno(EACCES)
        fine:
                ret  0x7fff0000
        """,
        "a.s",
        TABLES,
    )
    assert answer(program, 257) == 0x0005000D
    assert answer(program, 0x1FF) == 0x7FFF0000
    assert answer(program, 0x200) == 0x80000000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ld nr", "1:1: begin with its ABI, such as: abi x86_64, or say --arch"),
        ("abi vax", "1:5: unknown architecture 'vax'"),
        ("abi", "1:1: write abi and one name, such as: abi x86_64"),
        ("abi i386\nabi 386", "2:1: a second program for i386"),
        ("abi i386\n  lod nr", "2:3: unknown instruction 'lod' (did you mean 'ld'?)"),
        ("abi i386\nld args[6].lo", "2:4: 'args[6].lo' is not an operand of ld"),
        ("abi i386\nret alow", "2:5: unknown action 'alow' (did you mean 'allow'?)"),
        ("abi i386\nret errno(4096)", "2:5: errno(4096): the kernel delivers 0 to 4095 here"),
        ("abi i386\njeq opne -> a", "2:5: 'opne' is neither a number nor a call of i386 (did"),
        ("abi i386\njeq 5 -> 3a", "2:10: '3a' is not a label"),
        ("abi i386\nja", "2:1: write ja -> LABEL"),
        ("abi i386\njeq -> a", "2:1: write jeq VALUE -> LABEL else LABEL"),
        ("abi i386\n 3 ret allow", "2:2: this is instruction 0"),
        ("abi i386\nret allow more", "2:11: too much for ret"),
        ("abi i386\nld nr\njeq 1 -> x\nret allow", "3:1: there is no label 'x'"),
        ("abi i386\nand 0x1ffffffff\nret allow", "2:1: k 0x1ffffffff does not fit into 32 bits"),
        ("abi i386\nop 0x95 -> a\na:\nret allow", "2:1: instruction 0: opcode 0x95 is not allowed"),
        ("abi i386\nop k 5", "2:1: write op CODE k K jt N jf N -> LABEL else LABEL"),
        ("abi i386\nld nr", "2:1: the last instruction is not a return"),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        assemble(text, "a.s", TABLES)
    shown = [str(one) for one in caught.value.diagnostics]
    assert any(one.startswith(f"a.s:{said}") or said.endswith(one) for one in shown), shown
    assert all(one.kind for one in caught.value.diagnostics)


@given(st.text(st.sampled_from("ldjeqnr arch0x1 abi386\n:;->else#M[]()"), max_size=60))
def test_no_text_does_harm(text: str) -> None:
    try:
        assemble(f"abi i386\n{text}", "a.s", TABLES)
    except InputError as error:
        assert error.diagnostics


# --- the commands --------------------------------------------------------------------------------


@pytest.mark.long("makes and proves filters of many forms")
def test_the_command_is_the_inverse_of_disasm(tmp_path: Path) -> None:
    shown = inside("disasm", "no_exec")
    (tmp_path / "no_exec.s").write_text(shown.out)
    assert inside("asm", "no_exec.s", cwd=tmp_path).code == 0
    committed = load_filter(ROOT / "generated/seccomp_filters/no_exec", TABLES).programs
    built = {
        f"no_exec.{abi}.bpf": Program(ABIS[abi], code.instructions).to_bytes()
        for abi, code in committed.items()
    }
    assert built == {path.name: path.read_bytes() for path in tmp_path.glob("*.bpf")}
    assert len(built) > 20
    assert inside("asm", "no_exec.s", "--check", cwd=tmp_path).code == 0
    (tmp_path / "no_exec.x86_64.bpf").write_bytes(b"")
    assert inside("asm", "no_exec.s", "--check", cwd=tmp_path).code == 1


def test_the_command_writes_all_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.s").write_text("abi x86_64\nret allow\nabi i386\nret alow\n")
    run = inside("asm", "a.s", cwd=tmp_path)
    assert run.code == 2
    assert run.err.startswith("a.s:4:5: unknown action 'alow'")
    assert [path.name for path in tmp_path.iterdir()] == ["a.s"]
    assert inside("asm", "a.s", "--arch", "i386", cwd=tmp_path).code == 2
    (tmp_path / "a.s").write_text("ret allow\n")
    assert inside("asm", "a.s", "--arch", "s390x", cwd=tmp_path).code == 0
    data = (tmp_path / "a.s390x.bpf").read_bytes()
    assert decode(data, ABIS["s390x"]) == (Instruction(0x06, 0, 0, 0x7FFF0000),)
