"""A classic BPF assembler: programs for seccomp, made of instructions and labels.

Jumps lead forwards to labels, over any distance: if a conditional jump cannot reach, the answer at
its target is repeated after it, or a ``ja`` leads there. A program that the kernel would refuse is
not made.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from seccompgen.core.abis import require_abi
from seccompgen.core.errors import Diagnostic, InputError
from seccompgen.core.model import Action, Op
from seccompgen.core.problems import Problem
from seccompgen.core.program import (
    ALU_AND_K,
    ARCH_OFFSET,
    JMP_JA,
    JMP_JEQ_K,
    JMP_JGE_K,
    JMP_JGT_K,
    JMP_JSET_K,
    LD_W_ABS,
    NR_OFFSET,
    RET_K,
    Instruction,
    Program,
    word_offset,
)
from seccompgen.core.word import ARGS, Word
from seccompgen.verify import kernel_objections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position

_MAX_OFFSET = 255
_CLASS, _JMP, _RET = 0x07, 0x05, 0x06
_BITS = {"code": 16, "k": 32, "jt": 8, "jf": 8}
_JUMPS = {
    Op.EQ: (JMP_JEQ_K, True),
    Op.NE: (JMP_JEQ_K, False),
    Op.GT: (JMP_JGT_K, True),
    Op.LE: (JMP_JGT_K, False),
    Op.GE: (JMP_JGE_K, True),
    Op.LT: (JMP_JGE_K, False),
    Op.ANY_BITS: (JMP_JSET_K, True),
    Op.NO_BITS: (JMP_JSET_K, False),
}
"""The jump that tests for an operation, and whether it then goes its true way."""


@dataclass(frozen=True, slots=True)
class _Item:
    """An instruction before its jumps are known; None leads to the next one."""

    code: int
    k: int
    jt: int
    jf: int
    true: str | None
    false: str | None
    position: Position | None

    @property
    def is_ret(self) -> bool:
        return self.code & _CLASS == _RET


class Assembler:
    """Collects the instructions of a program for ``abi``, a name or an ABI.

    Methods raise ValueError for a value that does not fit into its field. All other mistakes are
    reported together, by `program`.
    """

    def __init__(self, abi: str | Abi) -> None:
        self.abi = require_abi(abi)
        self._items: list[_Item] = []
        self._labels: dict[str, int] = {}
        self._problems: list[Diagnostic] = []

    def __len__(self) -> int:
        """Return the number of instructions so far, without those that long jumps add."""
        return len(self._items)

    def label(self, name: str, position: Position | None = None) -> None:
        """Let jumps to ``name`` lead to the instruction that comes next."""
        if name in self._labels:
            text = f"the label {name!r} is defined twice"
            self._problems.append(Diagnostic(text, position, Problem.WRONG_ASSEMBLY))
        self._labels[name] = len(self._items)

    def load_nr(self) -> None:
        """Load the number of the call, ``seccomp_data.nr``."""
        self.emit(LD_W_ABS, NR_OFFSET)

    def load_arch(self) -> None:
        """Load the audit value of the ABI that the call is made through, ``seccomp_data.arch``."""
        self.emit(LD_W_ABS, ARCH_OFFSET)

    def load_low(self, argument: int) -> None:
        """Load the low 32 bits of an argument, 0 to 5, by the byte order of the ABI."""
        self._load(argument, Word.low)

    def load_high(self, argument: int) -> None:
        """Load the high 32 bits of an argument, 0 to 5, by the byte order of the ABI."""
        self._load(argument, Word.high)

    def _load(self, argument: int, half: Callable[[int], Word]) -> None:
        if argument not in range(6):
            raise ValueError(f"a system call has arguments 0 to 5, not {argument}")
        self.emit(LD_W_ABS, word_offset(half(ARGS + argument), self.abi))

    def and_mask(self, mask: int) -> None:
        """Keep the bits of ``mask``, of the word that is loaded."""
        self.emit(ALU_AND_K, mask)

    def jump(self, target: str) -> None:
        """Go on at the label ``target``."""
        self.emit(JMP_JA, true=target)

    def jump_if(self, op: Op, k: int, true: str | None = None, false: str | None = None) -> None:
        """Compare the loaded word with ``k``, unsigned, and go on at one label or the other.

        None is the next instruction. Raises ValueError for Op.MASKED_EQ, which takes two
        instructions: `and_mask`, and a jump for Op.EQ.
        """
        if op not in _JUMPS:
            raise ValueError(f"no jump tests for {op!r}: use and_mask, then Op.EQ")
        code, straight = _JUMPS[op]
        self.emit(code, k, true=true if straight else false, false=false if straight else true)

    def ret(self, action: Action | int) -> None:
        """Answer the call with an action, or with a SECCOMP_RET value."""
        self.emit(RET_K, action.ret(self.abi) if isinstance(action, Action) else action)

    def emit(
        self,
        code: int,
        k: int = 0,
        *,
        jt: int = 0,
        jf: int = 0,
        true: str | None = None,
        false: str | None = None,
        position: Position | None = None,
    ) -> None:
        """Append any instruction; ``code`` is its opcode, as in linux/bpf_common.h.

        ``true`` and ``false`` are the labels of a jump; a ``ja`` has the first; None is the next
        instruction. In other instructions ``jt`` and ``jf`` mean nothing, and are kept.
        ``position`` is for messages about it.
        """
        for name, value in {"code": code, "k": k, "jt": jt, "jf": jf}.items():
            if not 0 <= value < 1 << _BITS[name]:
                raise ValueError(f"{name} {value:#x} does not fit into {_BITS[name]} bits")
        if code & _CLASS != _JMP and (true is not None or false is not None):
            raise ValueError(f"{code:#x} is no jump, so it leads to no label")
        if code & _CLASS == _JMP and code != JMP_JA and (jt or jf):
            raise ValueError("a jump leads to labels, not over jt and jf instructions")
        self._items.append(_Item(code, k, jt, jf, true, false, position))

    def program(self) -> Program:
        """Return the program; more instructions may be added to this assembler.

        Raises InputError with every label that is missing or behind its jump, or else with all of
        the kernel's objections to the program (`verify.kernel`).
        """
        problems = [*self._problems, *self._misled()]
        if problems:
            raise InputError(*problems)
        starts, far = self._lay_out()
        instructions = tuple(
            one for i in range(len(self._items)) for one in self._finished(i, starts, far)
        )
        objections = kernel_objections(instructions)
        if objections:
            refused = Problem.REFUSED_PROGRAM
            raise InputError(
                *(
                    Diagnostic(str(one), self._position(one.at, starts), refused)
                    for one in objections
                )
            )
        return Program(self.abi, instructions)

    def _position(self, at: int | None, starts: Sequence[int]) -> Position | None:
        return None if at is None else self._items[bisect_right(starts, at) - 1].position

    def _misled(self) -> list[Diagnostic]:
        """Return each jump to a label that is missing, or behind it."""
        problems = []
        for i, item in enumerate(self._items):
            for name in dict.fromkeys(one for one in (item.true, item.false) if one is not None):
                at = self._labels.get(name)
                if at is None:
                    text = f"there is no label {name!r}"
                elif at <= i:
                    text = f"the label {name!r} is behind its jump: jumps only lead forwards"
                elif at == len(self._items):
                    text = f"the label {name!r} is at the end, where no instruction follows"
                else:
                    continue
                problems.append(Diagnostic(text, item.position, Problem.WRONG_ASSEMBLY))
        return problems

    def _lay_out(self) -> tuple[list[int], set[tuple[int, bool]]]:
        """Return where each item begins, and which branches are out of a jump's reach.

        Each of these takes an instruction after its jump, which may push others out of reach; but
        none comes back into it, so this ends.
        """
        far: set[tuple[int, bool]] = set()
        while True:
            extra = (((i, True) in far) + ((i, False) in far) for i in range(len(self._items)))
            starts = list(accumulate((1 + one for one in extra), initial=0))
            new = {
                (i, way)
                for i, item in enumerate(self._items)
                for way, name in ((True, item.true), (False, item.false))
                if name is not None and item.code != JMP_JA and (i, way) not in far
                if starts[self._labels[name]] - starts[i] - 1 > _MAX_OFFSET
            }
            if not new:
                return starts, far
            far |= new

    def _finished(
        self, i: int, starts: Sequence[int], far: set[tuple[int, bool]]
    ) -> list[Instruction]:
        """Return the instructions of an item: itself, and those that extend its jumps."""
        item, start = self._items[i], starts[i]
        if item.code == JMP_JA and item.true is not None:
            distance = starts[self._labels[item.true]] - start - 1
            return [Instruction(JMP_JA, item.jt, item.jf, distance)]
        added: list[Instruction] = []
        offsets = []
        for way, name, plain in ((True, item.true, item.jt), (False, item.false, item.jf)):
            if (i, way) in far and name is not None:
                target = self._labels[name]
                there = self._items[target]
                offsets.append(len(added))
                distance = starts[target] - start - 2 - len(added)
                added.append(
                    Instruction(there.code, there.jt, there.jf, there.k)
                    if there.is_ret
                    else Instruction(JMP_JA, 0, 0, distance)
                )
            elif name is not None:
                offsets.append(starts[self._labels[name]] - start - 1)
            else:
                offsets.append(plain + starts[i + 1] - start - 1)
        return [Instruction(item.code, offsets[0], offsets[1], item.k), *added]
