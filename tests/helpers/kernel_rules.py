"""Programs as plain tuples, and the verdicts on them: the kernel's, the model's, the interpreter's.

Programs start with a RET that allows, wherever nothing but their acceptance is asked for: what
follows is checked, translated and counted all the same, and cannot confine the child.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, TypeAlias

import interpreter as bpf
import running_kernel as kernel
from hypothesis import strategies as st
from seccompgen.core.program import Instruction
from seccompgen.verify.kernel import (
    kernel_objections,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

kernel.require_x86_64()

Program: TypeAlias = "list[tuple[int, int, int, int]]"

LD_ABS, LEN = bpf.LD | bpf.W | bpf.ABS, bpf.LD | bpf.W | bpf.LEN
LD_MEM, LDX_MEM = bpf.LD | bpf.MEM, bpf.LDX | bpf.MEM
DIV, LSH, RSH = (bpf.ALU | operation for operation in (bpf.DIV, bpf.LSH, bpf.RSH))
AND, DIV_X = bpf.ALU | bpf.AND, bpf.ALU | bpf.DIV | bpf.X
JA, JEQ = bpf.JMP | bpf.JA, bpf.JMP | bpf.JEQ
JUMPS = sorted(bpf.CONDITIONAL_JUMPS)
MEMORY = {LD_MEM, LDX_MEM, bpf.ST, bpf.STX}

ALLOW = (bpf.RET | bpf.K, 0, 0, bpf.RET_ALLOW)
KILL = (bpf.RET | bpf.K, 0, 0, 0)
RET_A = (bpf.RET | bpf.A, 0, 0, 0)
LOAD_NR = (LD_ABS, 0, 0, bpf.NR)

HIGH_CODES = [
    *(0x0100 | code for code in (0x00, 0x06, 0x16, 0x20, 0x15, 0x05, 0x60)),
    *(0x8020, 0x8006, 0xFF06, 0xFFFF, 0x1006, 0x0200),
]
U32_EDGES = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def model(program: Program) -> list[Instruction]:
    return [Instruction(*one) for one in program]


def install(program: Program) -> int:
    """Load the program; return 0 or the errno."""
    try:
        return kernel.install_raw(bpf.assemble(program, "little"))
    except OSError as error:
        return error.errno or -1


def answers(programs: Sequence[Program]) -> list[int]:
    """Load one after the other in a child; return 0 or the errno of each."""
    outcome = kernel.run(lambda: [install(program) for program in programs])
    assert outcome.error is None, outcome
    return list(outcome.value)


def interpreter_takes(program: Program) -> bool:
    try:
        bpf.check(bpf.assemble(program, "little"), "little")
    except bpf.Refused:
        return False
    return True


def taken(programs: Sequence[Program]) -> list[bool]:
    """Return which the kernel takes, having seen that both models say the same."""
    verdicts = []
    for program, answer in zip(programs, answers(programs), strict=True):
        assert answer in {0, errno.EINVAL}, program
        objections = kernel_objections(model(program))
        assert (answer == 0) == (not objections), (program, objections)
        assert (answer == 0) == interpreter_takes(program), program
        verdicts.append(answer == 0)
    return verdicts


NEAR = [0, 1, 2, 3, 4, 15, 16, 31, 32, 60, 62, 64, *U32_EDGES]


@st.composite
def instructions(draw: st.DrawFn, behind: int, *, valid: bool) -> tuple[int, int, int, int]:
    """Draw one with ``behind`` more to come; if ``valid``, nothing but scratch can be wrong."""
    code = draw(st.sampled_from([*sorted(bpf.ACCEPTED), *sorted(MEMORY) * 4, JA, *JUMPS]))
    short = st.integers(0, min(max(behind - 1, 0), 3))
    if not valid and draw(st.integers(0, 30)) == 0:
        code = draw(st.sampled_from([code ^ 1 << bit for bit in range(16)]))
    if not valid and draw(st.integers(0, 12)) == 0:
        near = st.integers(max(behind - 2, 0), behind + 1)
        return code, draw(near), draw(near), draw(st.sampled_from(NEAR) | near)
    if code in {JA, *JUMPS} and not behind:
        code = LEN
    if code == JA:
        return code, 0, 0, draw(short)
    if code in JUMPS:
        return code, draw(short), draw(short), draw(st.sampled_from(NEAR))
    if code == LD_ABS:
        return code, 0, 0, draw(st.integers(0, 15)) * 4
    return code, 0, 0, draw(st.integers(1, 2))


@st.composite
def programs(draw: st.DrawFn, *, valid: bool) -> Program:
    """Draw a program that allows everything, and of which much is valid."""
    length = draw(st.integers(0, 10))
    body = [draw(instructions(left, valid=valid)) for left in reversed(range(length))]
    prefix = [(bpf.ST, 0, 0, 1)] * draw(st.integers(0, 1))
    end = [LOAD_NR] if not valid and draw(st.integers(0, 30)) == 0 else []
    return [*prefix, ALLOW, *body, draw(st.sampled_from([KILL, RET_A])), *end]


def batches(*, valid: bool) -> st.SearchStrategy[list[Program]]:
    return st.lists(programs(valid=valid), min_size=8, max_size=16)
