"""Rewrite a filter so that it asks a supervisor about each call that it would refuse.

The question is SECCOMP_RET_USER_NOTIF or SECCOMP_RET_TRACE. Calls that the filter lets through
still pass, logged or not, without a question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.model import RET_DATA_MAX, U32, ActionKind
from seccompgen.core.program import (
    ALU_AND_K,
    ARCH_OFFSET,
    JMP_JA,
    JMP_JEQ_K,
    LD_W_ABS,
    NR_OFFSET,
    RET_K,
    Instruction,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.tables import Table

RET_A = 0x16
"""BPF_RET|BPF_A: the answer is computed. Our compiler does not emit it; the kernel accepts it."""
LETS_THROUGH = frozenset({ActionKind.ALLOW.value, ActionKind.LOG.value})
"""SECCOMP_RET values, without data, that let a call through."""


def lets_through(ret: int) -> bool:
    """Return True if the answer ``ret`` lets a call through, with or without a supervisor."""
    return ret & ~RET_DATA_MAX in LETS_THROUGH


def asking(instructions: Sequence[Instruction], question: ActionKind) -> tuple[Instruction, ...]:
    """Return the program with every refusing answer replaced by ``question``."""
    ask = Instruction(RET_K, 0, 0, question.value)
    computed = any(one.code == RET_A for one in instructions)
    end = len(instructions)
    code = []
    for at, one in enumerate(instructions):
        if one.code == RET_K and not lets_through(one.k):
            code.append(ask)
        elif one.code == RET_A:
            code.append(Instruction(JMP_JA, 0, 0, end - at - 1))
        else:
            code.append(one)
    if computed:
        code += [
            Instruction(ALU_AND_K, 0, 0, U32 & ~RET_DATA_MAX),
            Instruction(JMP_JEQ_K, 1, 0, ActionKind.ALLOW.value),
            Instruction(JMP_JEQ_K, 1, 2, ActionKind.LOG.value),
            Instruction(RET_K, 0, 0, ActionKind.ALLOW.value),
            Instruction(RET_K, 0, 0, ActionKind.LOG.value),
            ask,
        ]
    return tuple(code)


def asking_about(
    names: Sequence[str],
    tables: Sequence[Table],
    instructions: Sequence[Instruction],
    question: ActionKind,
) -> tuple[Instruction, ...]:
    """Return the program, extended to answer ``question`` to the calls ``names`` on all ABIs."""
    code = []
    for table in tables:
        numbers = [table.numbers[name] for name in names]
        code += [
            Instruction(LD_W_ABS, 0, 0, ARCH_OFFSET),
            Instruction(JMP_JEQ_K, 0, 1 + 2 * len(numbers), table.abi.audit_arch),
            Instruction(LD_W_ABS, 0, 0, NR_OFFSET),
        ]
        for nr in numbers:
            code += [Instruction(JMP_JEQ_K, 0, 1, nr), Instruction(RET_K, 0, 0, question.value)]
    # A program may rely on A being 0, as it was before the loads.
    return (*code, Instruction(ALU_AND_K, 0, 0, 0), *instructions)
