"""A classic BPF interpreter, as the kernel's documentation describes seccomp's.

Written from seccomp(2), Documentation/networking/filter.rst, net/core/filter.c
(``bpf_check_classic``, ``check_load_and_stores``) and kernel/seccomp.c
(``seccomp_check_filter``, ``seccomp_is_const_allow``). It shares no code with seccompgen, so
that agreement between the two is evidence.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

ByteOrder: TypeAlias = Literal["little", "big"]

U32 = 0xFFFFFFFF
RET_ALLOW = 0x7FFF0000
MAX_INSTRUCTIONS = 4096
SCRATCH_CELLS = 16

DATA_SIZE = 64
"""sizeof(struct seccomp_data): int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]."""
CONTEXT_SIZE = 40
"""sizeof(struct io_uring_bpf_ctx), which `ring_context` makes."""
NR, ARCH, ARGS = 0, 4, 16

# The low three bits of an opcode are its class.
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
W, IMM, ABS, MEM, LEN = 0x00, 0x00, 0x20, 0x60, 0x80
K, X, A = 0x00, 0x08, 0x10
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, XOR = (
    *(0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80),
    0xA0,
)
JA, JEQ, JGT, JGE, JSET = 0x00, 0x10, 0x20, 0x30, 0x40
TAX, TXA = 0x00, 0x80

CONDITIONAL_JUMPS = frozenset(
    JMP | op | source for op in (JEQ, JGT, JGE, JSET) for source in (K, X)
)
JEQ_K, JGT_K, JGE_K, JSET_K = (JMP | op | K for op in (JEQ, JGT, JGE, JSET))
ARITHMETIC = frozenset(
    ALU | op | source for op in (ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, XOR) for source in (K, X)
) | {ALU | NEG}
ACCEPTED = (
    CONDITIONAL_JUMPS
    | ARITHMETIC
    | {LD | W | ABS, LD | W | LEN, LD | IMM, LD | MEM}
    | {LDX | W | LEN, LDX | IMM, LDX | MEM}
    | {ST, STX, JMP | JA, RET | K, RET | A, MISC | TAX, MISC | TXA}
)
"""Every opcode that seccomp_check_filter lets through; there is no MOD, no packet access."""


class Refused(Exception):  # noqa: N818 - the kernel's word for it is a refusal
    """The kernel would not take this program, or no kernel could run it."""


class Instruction(NamedTuple):
    """One struct sock_filter."""

    code: int
    jt: int
    jf: int
    k: int


@dataclass(frozen=True, slots=True)
class Result:
    """``value`` is what the program returned, ``path`` the indices of what ran."""

    value: int
    path: tuple[int, ...]

    @property
    def executed(self) -> int:
        """The number of instructions that ran, the RET included."""
        return len(self.path)


@lru_cache(maxsize=64)
def decode(program: bytes, byte_order: ByteOrder) -> tuple[Instruction, ...]:
    """Read an array of struct sock_filter: __u16 code; __u8 jt; __u8 jf; __u32 k."""
    if len(program) % 8:
        raise Refused(f"{len(program)} bytes are no whole number of instructions")
    layout = ("<" if byte_order == "little" else ">") + "HBBI"
    return tuple(Instruction(*fields) for fields in struct.iter_unpack(layout, program))


def assemble(instructions: Sequence[tuple[int, int, int, int]], byte_order: ByteOrder) -> bytes:
    """Write (code, jt, jf, k) tuples as an array of struct sock_filter."""
    layout = ("<" if byte_order == "little" else ">") + "HBBI"
    return b"".join(struct.pack(layout, *instruction) for instruction in instructions)


def seccomp_data(
    nr: int, arch: int, args: Sequence[int] = (), ip: int = 0, byte_order: ByteOrder = "little"
) -> bytes:
    """Pack a struct seccomp_data; arguments that are not given are 0."""
    layout = ("<" if byte_order == "little" else ">") + "IIQ6Q"
    return struct.pack(layout, nr & U32, arch, ip, *args, *[0] * (6 - len(args)))


def check(program: bytes, byte_order: ByteOrder, size: int = DATA_SIZE) -> tuple[Instruction, ...]:
    """Return the instructions if the kernel would take them; raise Refused if it would not.

    ``size`` is that of what the program is run on: CONTEXT_SIZE for an operation of io_uring.
    """
    instructions = decode(program, byte_order)
    length = len(instructions)
    if not 1 <= length <= MAX_INSTRUCTIONS:
        raise Refused(f"{length} instructions; the kernel takes 1 to {MAX_INSTRUCTIONS}")
    for pc, (code, jt, jf, k) in enumerate(instructions):
        where = f"instruction {pc}"
        if code not in ACCEPTED:
            raise Refused(f"{where}: opcode {code:#06x} is not for seccomp")
        if code == LD | W | ABS and (k % 4 or k >= size):
            raise Refused(f"{where}: load at offset {k}: unaligned or outside of {size} bytes")
        if code == ALU | DIV | K and k == 0:
            raise Refused(f"{where}: division by zero")
        if code in {ALU | LSH | K, ALU | RSH | K} and k >= 32:
            raise Refused(f"{where}: shift by {k}")
        if code in {LD | MEM, LDX | MEM, ST, STX} and k >= SCRATCH_CELLS:
            raise Refused(f"{where}: scratch cell {k} does not exist")
        if code == JMP | JA and pc + 1 + k >= length:
            raise Refused(f"{where}: jumps out of the program")
        if code in CONDITIONAL_JUMPS and pc + 1 + max(jt, jf) >= length:
            raise Refused(f"{where}: jumps out of the program")
    if instructions[-1].code not in {RET | K, RET | A}:
        raise Refused("the last instruction is no RET, so the end can be run over")
    _check_scratch(instructions)
    return instructions


def _check_scratch(instructions: Sequence[Instruction]) -> None:
    """Refuse a load of a scratch cell that some path to it has not stored.

    As the kernel does, dead code is held to be reachable only by the jumps that lead to it.
    """
    everything = (1 << SCRATCH_CELLS) - 1
    on_entry = [everything] * len(instructions)
    stored = 0
    for pc, (code, jt, jf, k) in enumerate(instructions):
        stored &= on_entry[pc]
        if code in {ST, STX}:
            stored |= 1 << k
        elif code in {LD | MEM, LDX | MEM}:
            if not stored & 1 << k:
                raise Refused(f"instruction {pc}: scratch cell {k} is read before it is written")
        elif code == JMP | JA:
            on_entry[pc + 1 + k] &= stored
            stored = everything
        elif code in CONDITIONAL_JUMPS:
            on_entry[pc + 1 + jt] &= stored
            on_entry[pc + 1 + jf] &= stored
            stored = everything


def run(program: bytes, data: bytes, byte_order: ByteOrder) -> Result:
    """Run a program that ``check`` accepts on data in the same byte order.

    The data are a struct seccomp_data, or the context of an operation of io_uring. A and X start
    at 0; a division by an X of 0 ends the program with 0, and a shift by X counts modulo 32, as in
    the kernel's translation to eBPF.
    """
    size = len(data)
    if size not in {DATA_SIZE, CONTEXT_SIZE}:
        raise Refused(f"data have {DATA_SIZE} or {CONTEXT_SIZE} bytes, not {size}")
    instructions = decode(program, byte_order)
    words = struct.unpack(f"{'<' if byte_order == 'little' else '>'}{size // 4}I", data)
    path: list[int] = []
    scratch: dict[int, int] = {}
    a = x = pc = 0
    while True:
        if pc >= len(instructions):
            raise Refused(f"ran off the end, to instruction {pc}")
        path.append(pc)
        code, jt, jf, k = instructions[pc]
        pc += 1
        # Most of what runs are jumps on a constant: they come first, as this runs a million times.
        if code == JEQ_K:
            pc += jt if a == k else jf
            continue
        if code == JGE_K:
            pc += jt if a >= k else jf
            continue
        if code == JGT_K:
            pc += jt if a > k else jf
            continue
        if code == JSET_K:
            pc += jt if a & k else jf
            continue
        match code & 0x07:
            case 0x00 if code == LD | W | ABS:  # LD
                if k % 4 or k >= size:
                    raise Refused(f"load at offset {k}")
                a = words[k // 4]
            case 0x00 if code == LD | W | LEN:
                a = size
            case 0x00 if code == LD | IMM:
                a = k
            case 0x00 if code == LD | MEM and k in scratch:
                a = scratch[k]
            case 0x01 if code == LDX | W | LEN:  # LDX
                x = size
            case 0x01 if code == LDX | IMM:
                x = k
            case 0x01 if code == LDX | MEM and k in scratch:
                x = scratch[k]
            case 0x02 if code == ST:
                scratch[k] = a
            case 0x03 if code == STX:
                scratch[k] = x
            case 0x04 if code in ARITHMETIC:  # ALU
                operand = x if code & X else k
                if code & 0xF0 == DIV and operand == 0:
                    return Result(0, tuple(path))
                a = _arithmetic(code & 0xF0, a, operand)
            case 0x05 if code == JMP | JA:  # JMP
                pc += k
            case 0x05 if code in CONDITIONAL_JUMPS:
                pc += jt if _holds(code & 0xF0, a, x) else jf
            case 0x06 if code in {RET | K, RET | A}:  # RET
                return Result(a if code & A else k, tuple(path))
            case 0x07 if code == MISC | TAX:  # MISC
                x = a
            case 0x07 if code == MISC | TXA:
                a = x
            case _:
                raise Refused(f"instruction {path[-1]}: cannot run {instructions[path[-1]]}")


def _arithmetic(operation: int, a: int, operand: int) -> int:
    """Compute in 32 bits, unsigned."""
    if operation == ADD:
        result = a + operand
    elif operation == SUB:
        result = a - operand
    elif operation == MUL:
        result = a * operand
    elif operation == DIV:
        result = a // operand
    elif operation == OR:
        result = a | operand
    elif operation == AND:
        result = a & operand
    elif operation == LSH:
        result = a << operand % 32
    elif operation == RSH:
        result = a >> operand % 32
    elif operation == NEG:
        result = -a
    else:
        result = a ^ operand
    return result & U32


def _holds(operation: int, a: int, operand: int) -> bool:
    """Say whether a conditional jump takes its true side; comparisons are unsigned."""
    if operation == JEQ:
        return a == operand
    if operation == JGT:
        return a > operand
    if operation == JGE:
        return a >= operand
    return a & operand != 0


def constant_allow(program: bytes, nr: int, arch: int, byte_order: ByteOrder) -> bool:
    """Say whether the kernel's bitmap would answer call ``nr`` without running the program.

    seccomp_is_const_allow, since Linux 5.11, follows the program for one number and one
    architecture, and gives up at anything but loads of those two, jumps on constants, AND with
    a constant, and RET with one.
    """
    instructions = decode(program, byte_order)
    value = pc = 0
    while pc < len(instructions):
        code, jt, jf, k = instructions[pc]
        pc += 1
        if code == LD | W | ABS and k == NR:
            value = nr & U32
        elif code == LD | W | ABS and k == ARCH:
            value = arch
        elif code == RET | K:
            return k == RET_ALLOW
        elif code == JMP | JA:
            pc += k
        elif code in {JMP | JEQ | K, JMP | JGE | K, JMP | JGT | K, JMP | JSET | K}:
            pc += jt if _holds(code & 0xF0, value, k) else jf
        elif code == ALU | AND | K:
            value &= k
        else:
            return False
    return False
