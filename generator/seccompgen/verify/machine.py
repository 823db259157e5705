"""A program as the kernel runs it: what each instruction does, on numbers or on terms.

`step` is the only interpreter of instructions. Modules that follow programs on many calls at once,
such as `followers` and `smt`, define what values are, and decide where to go at a branch.

Sources: seccomp(2), Documentation/networking/filter.rst, net/core/filter.c. A and X are 0 at
first; arithmetic is of 32 bits, unsigned; a division by an X of 0 ends the program with the
answer 0, and a shift counts by X modulo 32, as in the kernel's translation to eBPF.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

from seccompgen.core.model import U32
from seccompgen.verify.call import Structure, word_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.core.program import Instruction
    from seccompgen.core.word import Word
    from seccompgen.verify.call import Call

# An opcode consists of a class, an operation, and the operand's source: K, or X (A for RET).
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
ABS, MEM, LEN = 0x20, 0x60, 0x80
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG = range(0, 0x90, 0x10)
XOR = 0xA0
JA, JEQ, JGT, JGE, JSET = range(0, 0x50, 0x10)
SOURCE_X, RET_A, TXA = 0x08, 0x10, 0x80
DIV_X = ALU | DIV | SOURCE_X

ARITHMETIC: dict[int, Callable[[int, int], int]] = {
    ADD: operator.add,
    SUB: operator.sub,
    MUL: operator.mul,
    DIV: lambda a, operand: a // operand if operand else 0,
    OR: operator.or_,
    AND: operator.and_,
    LSH: lambda a, operand: a << operand % 32,
    RSH: lambda a, operand: a >> operand % 32,
    NEG: lambda a, _: -a,
    XOR: operator.xor,
}
"""The new value of A, before it is cut to 32 bits; a DIV by 0 ends the program instead."""
JUMPS: dict[int, Callable[[int, int], bool]] = {
    JEQ: operator.eq,
    JGT: operator.gt,
    JGE: operator.ge,
    JSET: lambda a, operand: a & operand != 0,
}
"""True if a conditional jump takes its true branch."""


V = TypeVar("V")
"""A 32-bit value, as a number or in symbolic form: see `ValueDomain`."""


class Registers(NamedTuple, Generic[V]):
    """The state of a program before the instruction at ``at``."""

    at: int
    a: V
    x: V
    memory: tuple[V, ...]


class Return(NamedTuple, Generic[V]):
    """The end of the program, and its answer."""

    value: V


class Branch(NamedTuple, Generic[V]):
    """Two ways to go on: ``true`` if ``operation`` of `JUMPS` holds for ``a`` and ``operand``."""

    operation: int
    a: V
    operand: V
    true: Registers[V] | Return[V]
    false: Registers[V] | Return[V]


class ValueDomain(NamedTuple, Generic[V]):
    """A kind of values: functions for constants of the program, words of the call, ALU results."""

    number: Callable[[int], V]
    word: Callable[[Word], V]
    computed: Callable[[int, V, V], V]

    @property
    def start(self) -> Registers[V]:
        """The state in which every program begins."""
        zero = self.number(0)
        return Registers(0, zero, zero, (zero,) * 16)


def step(
    code: Code, registers: Registers[V], values: ValueDomain[V]
) -> Registers[V] | Branch[V] | Return[V]:
    """Return the state, branch or end after the next instruction."""
    at, a, x, memory = registers
    one = code.instructions[at]
    opcode, k = one.code, one.k
    kind, mode, operation = opcode & 0x07, opcode & 0xE0, opcode & 0xF0
    operand = x if opcode & SOURCE_X else values.number(k)
    at += 1
    if kind in {LD, LDX}:
        if mode == ABS:
            loaded = values.word(word_at(k, code.byte_order, code.structure))
        else:
            size = code.structure.value
            loaded = memory[k] if mode == MEM else values.number(size if mode == LEN else k)
        a, x = (loaded, x) if kind == LD else (a, loaded)
    elif kind in {ST, STX}:
        memory = (*memory[:k], a if kind == ST else x, *memory[k + 1 :])
    elif kind == ALU:
        a = values.computed(operation, a, operand)
        if opcode == DIV_X:
            zero = values.number(0)
            return Branch(JEQ, x, zero, Return(zero), Registers(at, a, x, memory))
    elif kind == JMP and operation != JA:
        true, false = (Registers(at + way, a, x, memory) for way in (one.jt, one.jf))
        return Branch(operation, a, operand, true, false)
    elif kind == JMP:
        at += k
    elif kind == RET:
        return Return(a if opcode & RET_A else operand)
    else:
        a, x = (x, x) if opcode & TXA else (a, a)
    return Registers(at, a, x, memory)


@dataclass(frozen=True)
class Code:
    """A program that ``kernel_objections`` has no objection to, and the target's byte order.

    ``structure`` is what it reads.
    """

    instructions: tuple[Instruction, ...]
    byte_order: Literal["little", "big"]
    structure: Structure = Structure.SECCOMP_DATA

    def answer(self, call: Call) -> int:
        """Return the SECCOMP_RET value for ``call``."""
        return self.run(call)[0]

    def run(self, call: Call) -> tuple[int, tuple[int, ...]]:
        """Return the SECCOMP_RET value for ``call``, and the indices of executed instructions."""
        values = ValueDomain(
            int, call.word, lambda operation, *of: ARITHMETIC[operation](*of) & U32
        )
        path: list[int] = []
        here: Registers[int] | Branch[int] | Return[int] = values.start
        while not isinstance(here, Return):
            if isinstance(here, Branch):
                true = JUMPS[here.operation](here.a, here.operand)
                here = here.true if true else here.false
            else:
                path.append(here.at)
                here = step(self, here, values)
        return here.value, tuple(path)
