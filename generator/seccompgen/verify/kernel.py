"""The kernel's own rules: which programs it accepts, and how it combines their answers.

A model of ``bpf_check_classic`` and ``check_load_and_stores`` (net/core/filter.c) and of
kernel/seccomp.c, as they are in Linux 6.18. The kernel accepts exactly the programs that pass here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.model import U32, ActionKind
from seccompgen.core.program import (
    ALU_AND_K,
    ARCH_OFFSET,
    BPF_MAXINSNS,
    JMP_JA,
    JMP_JEQ_K,
    JMP_JGE_K,
    JMP_JGT_K,
    JMP_JSET_K,
    LD_W_ABS,
    NR_OFFSET,
    RET_K,
)
from seccompgen.verify.call import Structure
from seccompgen.verify.machine import JUMPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.program import Instruction

_NAMES = {
    Structure.SECCOMP_DATA: "seccomp_data",
    Structure.IO_URING_CONTEXT: "io_uring_bpf_ctx",
}
_RET_ACTION_FULL = 0xFFFF0000
_SIGN = 0x80000000
_BPF_MEMWORDS = 16
_ALL_STORED = (1 << _BPF_MEMWORDS) - 1

_X, _OP = 0x08, 0xF0  # a jump's operand is X; its operation
_DIV_K, _DIV_X, _LSH_K, _RSH_K = 0x34, 0x3C, 0x64, 0x74
_RETURNS = frozenset({RET_K, 0x16})  # RET|A
_ON_CONSTANT = frozenset({JMP_JEQ_K, JMP_JGT_K, JMP_JGE_K, JMP_JSET_K})
_CONDITIONAL = _ON_CONSTANT | {code | _X for code in _ON_CONSTANT}
_MEMORY_LOADS = frozenset({0x60, 0x61})  # LD|MEM, LDX|MEM
_MEMORY_STORES = frozenset({0x02, 0x03})  # ST, STX
_ACCEPTED = (
    _CONDITIONAL
    | _MEMORY_LOADS
    | _MEMORY_STORES
    | _RETURNS
    | {JMP_JA, LD_W_ABS, 0x80, 0x81}  # LD|W|LEN, LDX|W|LEN
    | {0x00, 0x01}  # LD|IMM, LDX|IMM
    | {0x07, 0x87}  # TAX, TXA
    # ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, XOR with K and X, NEG
    | {0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, _DIV_K, _DIV_X, 0x44, 0x4C, ALU_AND_K, 0x5C}
    | {_LSH_K, 0x6C, _RSH_K, 0x7C, 0xA4, 0xAC, 0x84}
)


@dataclass(frozen=True, slots=True)
class Objection:
    """A reason for the kernel to refuse a program; ``at`` is the index of the instruction."""

    text: str
    at: int | None = None

    def __str__(self) -> str:
        """Render as a sentence that names the instruction."""
        return self.text if self.at is None else f"instruction {self.at}: {self.text}"


def kernel_objections(
    instructions: Sequence[Instruction], structure: Structure = Structure.SECCOMP_DATA
) -> list[Objection]:
    """Return the kernel's reasons to refuse the program; empty if it would accept it.

    ``bpf_check_classic`` with ``check_load_and_stores``, then ``seccomp_check_filter``. For
    operations of a ring, ``io_uring_check_cbpf_filter`` takes the same instructions. The kernel
    returns EINVAL at the first objection, whichever it is; so their order means nothing.
    """
    length = len(instructions)
    if not 0 < length <= BPF_MAXINSNS:
        return [Objection(f"{length} instructions; the kernel takes 1 to {BPF_MAXINSNS}")]
    objections = []
    for i, instruction in enumerate(instructions):
        code, k = instruction.code, instruction.k
        behind = length - i - 1
        if code not in _ACCEPTED:
            objections.append(Objection(f"opcode {code:#04x} is not allowed in seccomp", i))
        elif code == LD_W_ABS and (k % 4 or k >= structure.value):
            objections.append(Objection(f"no word of struct {_NAMES[structure]} at offset {k}", i))
        elif _furthest(instruction) >= behind:
            objections.append(Objection("jump out of the program", i))
        elif code in _MEMORY_LOADS | _MEMORY_STORES and k >= _BPF_MEMWORDS:
            objections.append(Objection(f"no scratch word {k}", i))
        elif code == _DIV_K and k == 0:
            objections.append(Objection("division by zero", i))
        elif code in {_LSH_K, _RSH_K} and k >= 32:
            objections.append(Objection(f"shift by {k} bits", i))
    if instructions[-1].code not in _RETURNS:
        objections.append(Objection("the last instruction is not a return"))
    # Scratch memory is checked only if all jumps and words exist: the kernel, too, checks it
    # last.
    return objections or _unstored(instructions)


def _furthest(instruction: Instruction) -> int:
    """Return the largest offset that the instruction can jump by, or -1 if it does not jump."""
    if instruction.code == JMP_JA:
        return instruction.k
    return max(instruction.jt, instruction.jf) if instruction.code in _CONDITIONAL else -1


def _unstored(instructions: Sequence[Instruction]) -> list[Objection]:
    """Object to each load of a scratch word that some path to it has not stored.

    ``check_load_and_stores``, bit for bit. One pass is enough, as all jumps lead forward. Behind
    a jump everything counts as stored until a jump leads there, so dead code may load what it
    likes; behind a RET nothing is reset, so dead code there must store first.
    """
    objections = []
    on_entry = [_ALL_STORED] * len(instructions)
    stored = 0
    for i, one in enumerate(instructions):
        stored &= on_entry[i]
        if one.code in _MEMORY_STORES:
            stored |= 1 << one.k
        elif one.code in _MEMORY_LOADS and not stored >> one.k & 1:
            objections.append(Objection(f"scratch word {one.k} may not have been stored", i))
        elif one.code == JMP_JA or one.code in _CONDITIONAL:
            for offset in (one.k,) if one.code == JMP_JA else (one.jt, one.jf):
                on_entry[i + 1 + offset] &= stored
            stored = _ALL_STORED
    return objections


def constant_allow(instructions: Sequence[Instruction], nr: int, audit_arch: int) -> bool:
    """Return whether an accepted program allows ``nr`` whatever its arguments are.

    ``seccomp_is_const_allow``, since Linux 5.11: if it is true of each filter in force, the
    kernel allows the call by its bitmap and runs none of them. It follows instructions that
    depend on number and architecture alone, those below, and gives up at any other.

    The bitmap covers the numbers of the kernel's own ABI and its compatible one, so neither x32's
    nor those beyond the table. Whatever the filters answer, the kernel allows uretprobe and uprobe.
    """
    a = pc = 0
    while pc < len(instructions):
        one = instructions[pc]
        pc += 1
        if one.code == LD_W_ABS and one.k == NR_OFFSET:
            a = nr & U32
        elif one.code == LD_W_ABS and one.k == ARCH_OFFSET:
            a = audit_arch
        elif one.code == ALU_AND_K:
            a &= one.k
        elif one.code == JMP_JA:
            pc += one.k
        elif one.code in _ON_CONSTANT:
            pc += one.jt if JUMPS[one.code & _OP](a, one.k) else one.jf
        else:
            return one.code == RET_K and one.k == ActionKind.ALLOW.value
    return False


def strictest(answers: Sequence[int]) -> int:
    """Return the kernel's answer, given those of all filters in the order of installation.

    ``seccomp_run_filters`` asks the newest first and keeps the least action, as a signed number,
    so KILL_PROCESS is the least of all. An equal one does not displace it: the newest filter's
    data counts. The data of ALLOW never does.
    """
    result = ActionKind.ALLOW.value
    for answer in reversed(answers):
        if rank(answer) < rank(result):
            result = answer
    return result


def rank(answer: int) -> int:
    """Return the place of an answer's action in the kernel's order, KILL_PROCESS being 0.

    That is the order of signed numbers; with the sign bit flipped, it is that of unsigned ones.
    """
    return (answer & _RET_ACTION_FULL) ^ _SIGN


def has_bitmap(abi: Abi) -> bool:
    """Return whether kernels since 5.11 have the bitmap of `constant_allow` for calls of ``abi``.

    MIPS and alpha do not define SECCOMP_ARCH_NATIVE (asm/seccomp.h), and x32's numbers are beyond.
    """
    return abi.name not in {"x32", "alpha"} and not abi.name.startswith("mips")
