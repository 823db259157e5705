"""Finished filters: classic BPF instructions, and the part of the policy each comes from."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import RET_DATA_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin
    from seccompgen.core.word import Word

# include/uapi/linux/bpf_common.h; the codes that seccomp accepts and that we emit.
LD_W_ABS = 0x20
ALU_AND_K = 0x54
JMP_JA = 0x05
JMP_JEQ_K = 0x15
JMP_JGT_K = 0x25
JMP_JGE_K = 0x35
JMP_JSET_K = 0x45
RET_K = 0x06

BPF_MAXINSNS = 4096
"""The greatest length of a program, in instructions (include/uapi/linux/bpf_common.h)."""
INSTRUCTION_SIZE = 8
"""sizeof(struct sock_filter) in bytes."""

NR_OFFSET = 0
ARCH_OFFSET = 4
ARGS_OFFSET = 16
"""Offsets in bytes into struct seccomp_data (include/uapi/linux/seccomp.h)."""


class ContextLayout(NamedTuple):
    """The structure that a program reads: ``size`` bytes, with 64-bit words from ``args_offset``.

    These words count as arguments, wherever they are; a structure has six of them at most.
    """

    size: int
    args_offset: int


SECCOMP_DATA = ContextLayout(64, ARGS_OFFSET)
"""struct seccomp_data: a system call."""
IO_URING_CONTEXT = ContextLayout(40, 0)
"""struct io_uring_bpf_ctx: an operation of a ring (include/uapi/linux/io_uring/bpf_filter.h)."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One ``struct sock_filter``: ``code`` is 16 bits, ``jt`` and ``jf`` 8, ``k`` 32."""

    code: int
    jt: int
    jf: int
    k: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Numbers of instructions: in all, on the longest path, and executed per call on average.

    The average is over the calls with the program's own audit value, weighted by the frequencies
    that the compiler assumed.
    """

    length: int
    longest: int
    expected: float


@dataclass(frozen=True)
class Program:
    """A program for ``abi``, from any source.

    ``origins[i]`` are the parts of a policy that instruction ``i`` comes from; ``origins`` is empty
    if the program was read from bytes.
    """

    abi: Abi
    instructions: tuple[Instruction, ...]
    origins: tuple[tuple[Origin, ...], ...] = ()

    @property
    def actions(self) -> tuple[int, ...]:
        """The actions that the program can return: see `actions_of`."""
        return actions_of(self.instructions)

    def to_bytes(self) -> bytes:
        """Return the array of ``struct sock_filter`` in the byte order of ``abi``."""
        return encode(self.instructions, self.abi)

    @classmethod
    def from_bytes(cls, data: bytes, abi: Abi) -> Program:
        """Read an array of ``struct sock_filter`` in the byte order of ``abi``.

        Raises ValueError if the length is not a multiple of 8 bytes. The kernel may still refuse
        the program.
        """
        return cls(abi, decode(data, abi))


@dataclass(frozen=True)
class CompiledProgram(Program):
    """The program of a policy for ``abi``.

    ``compat`` are the other ABIs that it covers. ``cost`` is its cost, and each number in ``bound``
    is a lower bound for all programs of the same policy. ``in_order`` has the first rule of each
    call whose rules are tested one after the other, because finding a better order was too much
    work.
    """

    compat: tuple[Abi, ...] = field(kw_only=True)
    cost: Cost = field(kw_only=True)
    bound: Cost = field(kw_only=True)
    in_order: tuple[Origin, ...] = field(kw_only=True, default=())


def actions_of(instructions: Iterable[Instruction]) -> tuple[int, ...]:
    """Return the constants that a program returns, without their data, in ascending order.

    These are SECCOMP_RET values under the mask SECCOMP_RET_ACTION_FULL.
    """
    return tuple(sorted({one.k & ~RET_DATA_MAX for one in instructions if one.code == RET_K}))


def programs_sha256(programs: Mapping[str, bytes]) -> str:
    """Return one sha256, as hex, over ``programs``, which are keyed by ABI names."""
    lines = (f"{abi} {data.hex()}\n" for abi, data in sorted(programs.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def encode(instructions: Iterable[Instruction], abi: Abi) -> bytes:
    """Return an array of ``struct sock_filter`` in the byte order of ``abi``."""
    layout = _layout(abi)
    return b"".join(layout.pack(i.code, i.jt, i.jf, i.k) for i in instructions)


def decode(data: bytes, abi: Abi) -> tuple[Instruction, ...]:
    """Read an array of ``struct sock_filter`` in the byte order of ``abi``.

    Raises ValueError if the length is not a multiple of 8 bytes.
    """
    if len(data) % INSTRUCTION_SIZE:
        raise ValueError(f"{len(data)} bytes are not a whole number of 8-byte instructions")
    return tuple(Instruction(*fields) for fields in _layout(abi).iter_unpack(data))


def _layout(abi: Abi) -> struct.Struct:
    return struct.Struct("<HBBI" if abi.byte_order == "little" else ">HBBI")


def word_offset(word: Word, abi: Abi, layout: ContextLayout = SECCOMP_DATA) -> int:
    """Return the offset of ``word``, half of an argument, in the structure of ``layout``.

    Arguments are 64-bit values in the target's byte order, so the high word comes first on
    big-endian ABIs.
    """
    second = word.is_high == (abi.byte_order == "little")
    return layout.args_offset + 8 * word.argument + 4 * second
