"""x86 instructions, one at a time: their operands, and what they do to a register."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.observe.scan.machine import (
    Instruction,
    Location,
    Register,
    Slot,
    Sum,
    TableLoad,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.observe.scan.image import Image

MEMORY = re.compile(r"(?:(?P<size>\w+) ptr )?(?:(?P<segment>[c-gs]s):)?\[(?P<inside>[^]]+)\]")

WORD = re.compile(r"[a-z]\w*")

SIZES = {"byte": 1, "word": 2, "dword": 4, "qword": 8, "xword": 10, "xmmword": 16}

INDEXED = re.compile(
    r"\[(?:(?P<base>\w+) \+ )?(?P<index>\w+)(?:\*(?P<scale>[48]))?(?: [+-] \w+)?\]"
)

UNSIGNED = frozenset({"ja", "jae", "jb", "jbe"})
"""Branches on which of two numbers without a sign is larger."""

KEEPS_FLAGS = frozenset({"mov", "movsxd", "movzx", "movsx", "lea", "nop"})

SETS = frozenset({"mov", "lea", "pop", "movzx", "movsxd"})

READ_ONLY = frozenset(
    {"cmp", "test", "push", "call", "jmp", "bt", "mul", "div", "idiv", "nop", "fld", "fild"}
)
"""Mnemonics whose first operand may be memory that they only read."""

STOPS = frozenset({"jmp", "ret", "retf", "iretd", "iretq", "ud2", "hlt", "int3", "ud1", "ud0"})


class Memory(NamedTuple):
    """An operand in memory; ``base`` is None unless it is one register without an index."""

    base: str | None
    offset: int
    size: int
    plain: bool
    """neither index nor segment: base and offset say it all"""


def register_names() -> dict[str, tuple[str, int]]:
    """Return the name of the whole register, and the width in bits, by the name of any part."""
    names: dict[str, tuple[str, int]] = {}
    for letter in "abcd":
        parts = ((f"r{letter}x", 64), (f"e{letter}x", 32), (f"{letter}x", 16))
        for name, width in (*parts, (f"{letter}l", 8), (f"{letter}h", 8)):
            names[name] = (f"r{letter}x", width)
    for stem in ("si", "di", "bp", "sp"):
        for name, width in ((f"r{stem}", 64), (f"e{stem}", 32), (stem, 16), (f"{stem}l", 8)):
            names[name] = (f"r{stem}", width)
    for n in range(8, 16):
        for suffix, width in (("", 64), ("d", 32), ("w", 16), ("b", 8)):
            names[f"r{n}{suffix}"] = (f"r{n}", width)
    return names


REGISTERS = register_names()


def lea_sum(following: int, source: str) -> Sum | None:
    """Return what ``lea`` of ``source`` makes, before the instruction at ``following``."""
    match = MEMORY.search(source)
    terms: list[tuple[str, int]] = []
    constant = 0
    if not match or " - " in match["inside"]:
        return None
    for part in match["inside"].split(" + "):
        name, _, factor = part.partition("*")
        if is_number(name):
            constant += int(name, 0)
        elif name == "rip":
            constant += following
        else:
            terms.append((REGISTERS.get(name, (name, 0))[0], int(factor or "1")))
    return Sum(tuple(terms), constant)


def memory_operand(operand: str) -> Memory | None:
    """Return the operand in memory that ``operand`` is, or None."""
    match = MEMORY.search(operand)
    if not match:
        return None
    size = SIZES.get(match["size"] or "", 64)
    parts = re.split(r" ([+-]) ", match["inside"])
    base: str | None = None
    offset, plain = 0, not match["segment"] or match["segment"] in {"ds", "ss"}
    signs = ["+", *parts[1::2]]
    for sign, part in zip(signs, parts[::2], strict=True):
        if is_number(part):
            offset += int(part, 0) if sign == "+" else -int(part, 0)
        elif base is None and "*" not in part:
            base = REGISTERS.get(part, (part, 0))[0]
        else:
            plain = False
    return Memory(base, offset, size, plain)


def is_number(text: str) -> bool:
    """Return True if ``text`` is a number, perhaps negative."""
    return text[:1].isdigit() or (text[:1] == "-" and text[1:2].isdigit())


class X86Instructions:
    """Facts about an instruction by itself."""

    word: int
    """bytes in a word"""
    _written: Callable[[bytes], frozenset[str]]
    """which registers an instruction writes, in part or by implication"""

    def stops(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2].rpartition(" ")[2] in STOPS

    def returns(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2].rpartition(" ")[2] in {"ret", "retf", "iretd", "iretq"}

    def is_call(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2].rpartition(" ")[2] == "call"

    def is_padding(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        words = instruction[2].split()
        return words[-1] in {"nop", "int3"} or instruction[2:] == ("xchg", "ax, ax")

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
        operand = instruction[3]
        if operand in REGISTERS:
            return Register(REGISTERS[operand][0])
        memory = memory_operand(operand)
        if memory and memory.plain and memory.base in {"rsp", "rbp"}:
            return Slot(memory.base, memory.offset)
        return None

    def summands(self, instruction: Instruction, location: Location) -> tuple[Location, ...] | None:
        """See ``Machine``."""
        first, _, second = instruction[3].partition(", ")
        if instruction[2] != "add":
            return None
        if isinstance(location, Slot):
            memory = memory_operand(first)
            same = (
                memory
                and memory.plain
                and (memory.base, memory.offset)
                == (
                    location.base,
                    location.offset,
                )
            )
            if not same or second not in REGISTERS or not memory or memory.size < self.word:
                return None
            return location, Register(REGISTERS[second][0])
        if first not in REGISTERS:
            return None
        name, width = REGISTERS[first]
        if location != Register(name) or width != 8 * self.word:
            return None
        if second in REGISTERS:
            return location, Register(REGISTERS[second][0])
        return (location,) if "[" in second else None

    def is_half(self, instruction: Instruction, location: Location) -> bool:
        """See ``Machine``."""
        if self.word == 4 or instruction[2] in READ_ONLY:
            return False
        name, width = REGISTERS.get(instruction[3].partition(", ")[0], ("", 0))
        return width == 32 and location == Register(name)

    def as_sum(self, image: Image, instruction: Instruction, register: str) -> Sum | None:
        """See ``Machine``."""
        address, size, mnemonic, operands = instruction
        parts = operands.split(", ")
        name, width = REGISTERS.get(parts[0], ("", 0))
        if self.is_call(instruction):
            return None
        if name != register or mnemonic in READ_ONLY:
            written = self._written(image.read(address, size))
            return None if register in written else Sum(((register, 1),))
        if width < 32:
            return None
        number = int(parts[-1], 0) if is_number(parts[-1]) else None
        other = REGISTERS.get(parts[-1], ("", 0))[0]
        match mnemonic:
            case "and" if number is not None and number >= 0:
                return Sum((), rest=number)
            case "shl" if number is not None:
                return Sum(((register, 1 << number),))
            case "add" if other:
                return Sum(((register, 1), (other, 1)))
            case "mov" if other:
                return Sum(((other, 1),))
            case "lea":
                return lea_sum(address + size, parts[1])
        return None

    def sets(self, instruction: Instruction) -> str:
        """See ``Machine``."""
        if instruction[2].rpartition(" ")[2] in READ_ONLY:
            return ""
        return REGISTERS.get(instruction[3].partition(", ")[0], ("", 0))[0]

    def makes_page(self, instruction: Instruction) -> bool:  # noqa: ARG002 - it has none
        """See ``Machine``."""
        return False

    def dies(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in {"ud2", "ud1", "ud0", "hlt", "int3"}

    def mentions(self, instruction: Instruction, register: str) -> bool:
        """See ``Machine``."""
        return any(
            REGISTERS.get(one, ("", 0))[0] == register for one in WORD.findall(instruction[3])
        )

    def is_comparison(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in {"cmp", "test"} and "[" not in instruction[3]

    def only_sets(self, instruction: Instruction, register: str) -> bool:
        """See ``Machine``."""
        first, _, rest = instruction[3].partition(", ")
        name, width = REGISTERS.get(first, ("", 0))
        if name != register or width < 32:
            return False
        if instruction[2] in {"xor", "sub"} and rest == first:
            return True
        others = {REGISTERS.get(one, ("", 0))[0] for one in WORD.findall(rest)}
        return instruction[2] in SETS and register not in others

    def copied(self, instruction: Instruction) -> str | None:
        """See ``Machine``."""
        if instruction[2] not in {"mov", "movsxd", "movzx", "movsx"}:
            return None
        return REGISTERS.get(instruction[3].rpartition(", ")[2], (None, 0))[0]

    def compared(self, code: Sequence[Instruction], index: int) -> tuple[str, int] | None:
        """See ``Machine``."""
        _, _, mnemonic, operands = code[index]
        first, _, last = operands.rpartition(", ")
        if mnemonic not in {"cmp", "and"} or first not in REGISTERS or not last[:1].isdigit():
            return None
        if mnemonic == "cmp":
            following = (one[2] for one in code[index + 1 :] if one[2] not in KEEPS_FLAGS)
            if next(following, "") not in UNSIGNED:
                return None
        return REGISTERS[first][0], int(last, 0)

    def table_load(self, instruction: Instruction) -> TableLoad | None:
        """See ``Machine``."""
        match = INDEXED.search(instruction[3])
        if match is None or instruction[2] in {"lea", "nop"}:
            return None
        base = REGISTERS.get(match["base"] or "", (None, 0))[0] if match["scale"] else None
        return TableLoad(base, REGISTERS.get(match["index"], ("", 0))[0])
