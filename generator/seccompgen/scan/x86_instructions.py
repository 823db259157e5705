"""Single x86 instructions: their effect on control and registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.scan.processor import Register, Slot, Sum, TableLoad
from seccompgen.scan.x86_operands import (
    PARTS,
    REGISTERS,
    WORDS,
    Immediate,
    Memory,
    Reg,
    first_two,
    memory_of,
    operands_of,
    registers_in,
    word_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from seccompgen.scan.image import Image
    from seccompgen.scan.processor import Instruction, Location

_BOUNDS = {("ja", False): 0, ("jae", False): 1, ("jb", True): 1, ("jbe", True): 0} | {
    ("jg", False): 0,
    ("jge", False): 1,
    ("jl", True): 1,
    ("jle", True): 0,
}
"""By how much less the compared value is, by branch and whether that is taken.

A signed branch leaves negative numbers, which are no index of a table.
"""
_EQUAL = frozenset({("je", True), ("jne", False)})
"""Branches, and whether they are taken where a comparison found equal operands."""
_KEEPS_FLAGS = frozenset({"lea", "nop", "not", "push", "pop", "pxor", "xorps", "punpcklqdq"})
_MOVES = ("mov", "cmov", "set")
"""Beginnings of mnemonics; no instruction of these changes a flag (Intel SDM, volume 1, A.2)."""
_SETS = frozenset({"mov", "movabs", "lea", "pop", "movzx", "movsxd"})
_TABLE_LOADS = frozenset({"mov", "movsxd", "jmp", "notrack jmp", "bnd jmp"})
READ_ONLY = frozenset(
    {"cmp", "test", "push", "call", "jmp", "bt", "mul", "div", "idiv", "nop", "fld", "fild"}
)
"""Mnemonics of instructions that only read their first operand."""
_RETURNS = frozenset({"ret", "retf", "iretd", "iretq"})
_DIES = frozenset({"ud2", "ud1", "ud0", "hlt", "int3"})
STOPS = _RETURNS | _DIES | {"jmp"}


class X86Instructions:
    """The questions of ``Machine`` about a single instruction."""

    word: int
    """bytes in a word"""
    _written: Callable[[bytes], frozenset[str]]
    """returns the registers that an instruction writes, in part or implicitly"""

    def stops(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return word_of(instruction) in STOPS

    def returns(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return word_of(instruction) in _RETURNS

    def any_returns(self, mnemonics: Iterable[str]) -> bool:
        """See ``Machine``."""
        return not _RETURNS.isdisjoint(map(WORDS.__getitem__, mnemonics))

    def is_call(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return word_of(instruction) == "call"

    def branches(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return word_of(instruction)[0] == "j"

    def leaves(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return word_of(instruction) in {"call", "ret", "syscall", "int"}

    def is_padding(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return word_of(instruction) in {"nop", "int3"} or instruction[2:] == ("xchg", "ax, ax")

    def dies(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in _DIES

    def makes_page(self, instruction: Instruction) -> bool:  # noqa: ARG002 - it has none
        """See ``Machine``."""
        return False

    def at_caller(self, location: Location) -> Location | None:
        """See ``Machine``."""
        if isinstance(location, Register):
            return location
        if location.base == "rsp" and location.offset >= self.word:
            return Slot("rsp", location.offset - self.word)
        return None

    def target(self, instruction: Instruction) -> Location | None:
        """See ``Machine``."""
        if self.returns(instruction):
            return Slot("rsp", 0)
        match first_two(instruction)[0]:
            case Reg(name):
                return Register(name)
            case Memory() as memory:
                return memory.slot
        return None

    def summands(self, instruction: Instruction, location: Location) -> tuple[Location, ...] | None:
        """See ``Machine``."""
        match first_two(instruction):
            case Reg(name, bits), Memory(str(base), str(by), 1, 0) if instruction[2] == "lea":
                whole = location == Register(name) and bits == 8 * self.word
                return (Register(base), Register(by)) if whole else None
            case _ if instruction[2] != "add":
                return None
            case Memory() as memory, Reg(other) if memory.size >= self.word:
                return (location, Register(other)) if memory.slot == location else None
            case Reg(name, bits), added if location == Register(name) and bits == 8 * self.word:
                if isinstance(added, Reg):
                    return location, Register(added.name)
                return (location,) if isinstance(added, Memory) else None
        return None

    def is_half(self, instruction: Instruction, location: Location) -> bool:
        """See ``Machine``."""
        if self.word == 4 or instruction[2] in READ_ONLY:
            return False
        target, _ = first_two(instruction)
        return isinstance(target, Reg) and target.bits == 32 and location == Register(target.name)

    def as_sum(self, image: Image, instruction: Instruction, register: str) -> Sum | None:
        """See ``Machine``."""
        address, size, mnemonic, _ = instruction
        target, source = first_two(instruction)
        if self.is_call(instruction):
            return None
        if not isinstance(target, Reg) or target.name != register or mnemonic in READ_ONLY:
            written = self._written(image.read(address, size))
            return None if register in written else Sum(((register, 1),))
        if target.bits < 32:
            return None
        match mnemonic, source:
            case "and", Immediate(value) if value >= 0:
                return Sum((), rest=value)
            case "shl", Immediate(value):
                return Sum(((register, 1 << value),))
            case "add", Reg(other):
                return Sum(((register, 1), (other, 1)))
            case "mov", Reg(other):
                return Sum(((other, 1),))
            case "lea", Memory() as memory:
                return _address_as_sum(memory, address + size)
        return None

    def sets(self, instruction: Instruction) -> str:
        """See ``Machine``."""
        target = REGISTERS.get(instruction[3].partition(", ")[0])
        return target.name if target and word_of(instruction) not in READ_ONLY else ""

    def mentions(self, instruction: Instruction, register: str) -> bool:
        """See ``Machine``."""
        text = instruction[3]
        for part in PARTS[register]:  # most instructions have none of them
            if part in text:
                return register in registers_in(text)
        return False

    def is_comparison(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in {"cmp", "test"} and memory_of(instruction) is None

    def only_sets(self, instruction: Instruction, register: str) -> bool:
        """See ``Machine``."""
        target, source = first_two(instruction)
        if not isinstance(target, Reg) or target.name != register or target.bits < 32:
            return False
        if instruction[2] in {"xor", "sub"} and source == target:
            return True
        others = operands_of(instruction)[1:]
        return instruction[2] in _SETS and not any(_uses(one, register) for one in others)

    def copied(self, instruction: Instruction) -> str | None:
        """See ``Machine``."""
        _, source = first_two(instruction)
        copies = instruction[2] in {"mov", "movsxd", "movzx", "movsx"}
        return source.name if copies and isinstance(source, Reg) else None

    def compared(self, instruction: Instruction) -> tuple[str, int] | None:
        """See ``Machine``."""
        return _with_number(instruction) if instruction[2] == "cmp" else None

    def masked(self, instruction: Instruction) -> tuple[str, int] | None:
        """See ``Machine``."""
        return _with_number(instruction) if instruction[2] == "and" else None

    def bounds(self, instruction: Instruction, *, jumping: bool) -> int:
        """See ``Machine``."""
        return _BOUNDS.get((instruction[2], jumping), -1)

    def shows_zero(
        self, code: Sequence[Instruction], index: int, register: str, *, jumping: bool
    ) -> bool:
        """See ``Machine``."""
        if index == 0 or (code[index][2], jumping) not in _EQUAL:
            return False
        mnemonic = code[index - 1][2]
        left, right = first_two(code[index - 1])
        if not isinstance(left, Reg) or left.name != register or left.bits < 32:
            return False
        return (mnemonic, right) in {("test", left), ("cmp", Immediate(0))}

    def keeps_flags(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in _KEEPS_FLAGS or instruction[2].startswith(_MOVES)

    def table_load(self, instruction: Instruction) -> TableLoad | None:
        """See ``Machine``."""
        address, size, mnemonic, _ = instruction
        memory = memory_of(instruction)
        if memory is None or mnemonic not in _TABLE_LOADS or memory.segment:
            return None
        if memory.base == "rip":
            return TableLoad(memory.size, None, None, memory.offset + address + size)
        if memory.by is None or memory.scale not in {1, 4, 8}:
            return None
        either = memory.scale == 1  # of two registers, one has the index in bytes
        return TableLoad(memory.size, memory.base, memory.by, memory.offset, either=either)


def _with_number(instruction: Instruction) -> tuple[str, int] | None:
    """Return the register and the number, from 0 on, that are the operands; None for others."""
    match first_two(instruction):
        case Reg(name), Immediate(value) if value >= 0:
            return name, value
    return None


def _uses(operand: object, register: str) -> bool:
    match operand:
        case Reg(name):
            return name == register
        case Memory(base, by):
            return register in {base, by}
    return False


def _address_as_sum(memory: Memory, following: int) -> Sum | None:
    """Return the sum that ``lea`` computes; the next instruction is at ``following``."""
    if memory.offset < 0:
        return None
    terms = [(memory.by, memory.scale)] if memory.by else []
    if memory.base == "rip":
        return Sum(tuple(terms), memory.offset + following)
    return Sum(tuple(([(memory.base, 1)] if memory.base else []) + terms), memory.offset)
