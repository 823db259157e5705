"""A filter that refuses, as one that asks: each call that it would not make is a question.

The question is SECCOMP_RET_USER_NOTIF or SECCOMP_RET_TRACE. What the filter lets through it lets
through as before, logged or not, without anybody being asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.model import RET_DATA_MAX, U32, ActionKind
from seccompgen.program import ALU_AND_K, JMP_JA, JMP_JEQ_K, RET_K, Instruction

if TYPE_CHECKING:
    from collections.abc import Sequence

RET_A = 0x16
"""BPF_RET|BPF_A: the answer is computed. No compiler of ours does so; the kernel takes it."""
LETS_THROUGH = frozenset({ActionKind.ALLOW.value, ActionKind.LOG.value})
"""SECCOMP_RET values, without data, of calls that are made."""


def lets_through(ret: int) -> bool:
    """Return True if a call that is answered ``ret`` is made, whoever watches."""
    return ret & ~RET_DATA_MAX in LETS_THROUGH


def asking(instructions: Sequence[Instruction], question: ActionKind) -> tuple[Instruction, ...]:
    """Return the program with ``question`` for every answer that refuses."""
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
