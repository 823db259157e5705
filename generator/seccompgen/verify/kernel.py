"""Check a program by the rules of the kernel that will be asked to take it.

A model of ``bpf_check_classic`` (net/core/filter.c) and ``seccomp_check_filter``
(kernel/seccomp.c): what passes here is accepted there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.program import (
    ALU_AND_K,
    ARGS_OFFSET,
    BPF_MAXINSNS,
    JMP_JA,
    JMP_JEQ_K,
    JMP_JGE_K,
    JMP_JGT_K,
    JMP_JSET_K,
    LD_W_ABS,
    RET_K,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.program import Instruction

SECCOMP_DATA_SIZE = ARGS_OFFSET + 6 * 8
"""sizeof(struct seccomp_data) in bytes."""

_BPF_MEMWORDS = 16
_CLASS, _RET = 0x07, 0x06
_DIV_K, _LSH_K, _RSH_K = 0x34, 0x64, 0x74
_CONDITIONAL = frozenset(
    {JMP_JEQ_K, JMP_JGT_K, JMP_JGE_K, JMP_JSET_K, 0x1D, 0x2D, 0x3D, 0x4D}  # ..._X
)
_MEMORY = frozenset({0x60, 0x61, 0x02, 0x03})  # LD|MEM, LDX|MEM, ST, STX
_ACCEPTED = (
    _CONDITIONAL
    | _MEMORY
    | {LD_W_ABS, 0x80, 0x81}  # LD|W|ABS, LD|W|LEN, LDX|W|LEN
    | {0x00, 0x01}  # LD|IMM, LDX|IMM
    | {RET_K, 0x16, JMP_JA}  # RET|K, RET|A
    | {0x07, 0x87}  # TAX, TXA
    # ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, XOR with K and X, NEG
    | {0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, _DIV_K, 0x3C, 0x44, 0x4C, ALU_AND_K, 0x5C}
    | {_LSH_K, 0x6C, _RSH_K, 0x7C, 0xA4, 0xAC, 0x84}
)


def kernel_objections(instructions: Sequence[Instruction]) -> list[str]:
    """Return why the kernel would refuse the program, a sentence each; empty if it would not.

    Scratch memory that is read before it is written is refused by the kernel as well; this
    looks at single instructions only, and the compiler uses no scratch memory.
    """
    length = len(instructions)
    if not 0 < length <= BPF_MAXINSNS:
        return [f"{length} instructions; the kernel takes 1 to {BPF_MAXINSNS}"]
    objections = []
    for i, instruction in enumerate(instructions):
        code, k = instruction.code, instruction.k
        behind = length - i - 1
        if code not in _ACCEPTED:
            objections.append(f"instruction {i}: opcode {code:#04x} is not allowed in seccomp")
        elif code == LD_W_ABS and (k % 4 or k >= SECCOMP_DATA_SIZE):
            objections.append(f"instruction {i}: no word of struct seccomp_data at offset {k}")
        elif _furthest(instruction) >= behind:
            objections.append(f"instruction {i}: jump out of the program")
        elif code in _MEMORY and k >= _BPF_MEMWORDS:
            objections.append(f"instruction {i}: no scratch word {k}")
        elif code == _DIV_K and k == 0:
            objections.append(f"instruction {i}: division by zero")
        elif code in {_LSH_K, _RSH_K} and k >= 32:
            objections.append(f"instruction {i}: shift by {k} bits")
    if instructions[-1].code & _CLASS != _RET:
        objections.append("the last instruction is not a return")
    return objections


def _furthest(instruction: Instruction) -> int:
    """Return the largest offset that the instruction can jump by, or -1 if it does not jump."""
    if instruction.code == JMP_JA:
        return instruction.k
    return max(instruction.jt, instruction.jf) if instruction.code in _CONDITIONAL else -1
