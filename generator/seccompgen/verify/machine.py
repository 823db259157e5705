"""A program as the kernel runs it, on one call: what it answers, and by which instructions.

Sources: seccomp(2), Documentation/networking/filter.rst, net/core/filter.c. A and X are 0 at
first; arithmetic is of 32 bits, unsigned; a division by an X of 0 ends the program with the
answer 0, and a shift counts by X modulo 32, as in the kernel's translation to eBPF.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from seccompgen.core.model import U32
from seccompgen.verify.call import DATA_SIZE, word_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.core.program import Instruction
    from seccompgen.verify.call import Call

# An opcode is a class, and in it an operation and where the operand is: K, or X (A for RET).
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
ABS, MEM, LEN = 0x20, 0x60, 0x80
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG = range(0, 0x90, 0x10)
XOR = 0xA0
JA, JEQ, JGT, JGE, JSET = range(0, 0x50, 0x10)
SOURCE_X, RET_A, TXA = 0x08, 0x10, 0x80

ARITHMETIC: dict[int, Callable[[int, int], int]] = {
    ADD: operator.add,
    SUB: operator.sub,
    MUL: operator.mul,
    DIV: operator.floordiv,
    OR: operator.or_,
    AND: operator.and_,
    LSH: lambda a, operand: a << operand % 32,
    RSH: lambda a, operand: a >> operand % 32,
    NEG: lambda a, _: -a,
    XOR: operator.xor,
}
"""What A becomes, before it is cut to 32 bits; a DIV by 0 does not get here."""
JUMPS: dict[int, Callable[[int, int], bool]] = {
    JEQ: operator.eq,
    JGT: operator.gt,
    JGE: operator.ge,
    JSET: lambda a, operand: a & operand != 0,
}
"""When a conditional jump goes its true way."""


@dataclass(frozen=True)
class Code:
    """A program that ``kernel_objections`` has no objection to, and the target's byte order."""

    instructions: tuple[Instruction, ...]
    byte_order: Literal["little", "big"]

    def answer(self, call: Call) -> int:
        """Return the SECCOMP_RET value for ``call``."""
        return self.run(call)[0]

    def run(self, call: Call) -> tuple[int, tuple[int, ...]]:
        """Return the SECCOMP_RET value for ``call``, and the indices of what was executed."""
        path: list[int] = []
        memory = [0] * 16
        a = x = at = 0
        while True:
            path.append(at)
            one = self.instructions[at]
            code, k = one.code, one.k
            mode, operation = code & 0xE0, code & 0xF0
            operand = x if code & SOURCE_X else k
            at += 1
            if code & 0x07 == LD and mode == ABS:
                a = call.word(word_at(k, self.byte_order))
            elif code & 0x07 == LD:
                a = loaded(mode, k, memory)
            elif code & 0x07 == LDX:
                x = loaded(mode, k, memory)
            elif code & 0x07 == ST:
                memory[k] = a
            elif code & 0x07 == STX:
                memory[k] = x
            elif code & 0x07 == ALU:
                if operation == DIV and operand == 0:
                    return 0, tuple(path)
                a = ARITHMETIC[operation](a, operand) & U32
            elif code & 0x07 == JMP:
                at += k if operation == JA else one.jt if JUMPS[operation](a, operand) else one.jf
            elif code & 0x07 == RET:
                return a if code & RET_A else k, tuple(path)
            elif code & TXA:
                a = x
            else:
                x = a


_T = TypeVar("_T")


def loaded(mode: int, k: int, memory: Sequence[_T]) -> _T | int:
    """Return what a load gets that does not look at the call: scratch memory, 64, or ``k``."""
    return memory[k] if mode == MEM else DATA_SIZE if mode == LEN else k
