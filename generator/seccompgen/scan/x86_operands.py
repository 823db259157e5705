"""x86 operands as values, parsed from the disassembler's text."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.scan.processor import Slot

if TYPE_CHECKING:
    from seccompgen.scan.processor import Instruction

_MEMORY = re.compile(r"(?:(?P<size>\w+) ptr )?(?:(?P<segment>[c-gs]s):)?\[(?P<sum>[^]]+)\]")
_NUMBER = re.compile(r"-?(?:0x[0-9a-f]+|\d+)")
_TERM = re.compile(r"(?P<sign>[+-] )?(?P<name>\w+)(?:\*(?P<scale>\d))?")
_SIZES = {"byte": 1, "word": 2, "dword": 4, "qword": 8, "xword": 10, "xmmword": 16}
_LARGEST = 64
_FRAME = frozenset({"rsp", "rbp"})


class Reg(NamedTuple):
    """A part of the register ``name``: ``bits`` bits from bit ``shift`` on."""

    name: str
    bits: int
    shift: int = 0


class Immediate(NamedTuple):
    """A constant."""

    value: int


class Memory(NamedTuple):
    """The ``size`` bytes at ``base`` plus ``scale`` times ``by`` plus ``offset``."""

    base: str | None
    by: str | None
    scale: int
    offset: int
    size: int
    segment: str

    @property
    def plain(self) -> bool:
        """True if base and offset alone determine the address: no other register, flat segment."""
        return self.by is None and self.segment in {"", "ds", "ss"}

    @property
    def slot(self) -> Slot | None:
        """The word of the stack at this address, None if it is not known to be one."""
        on_stack = self.plain and self.base in _FRAME
        return Slot(self.base, self.offset) if on_stack and self.base else None


Operand: TypeAlias = Reg | Immediate | Memory | None
"""None for operands that cannot hold the number of a call: vectors, segments, far pointers."""


def _registers() -> dict[str, Reg]:
    found: dict[str, Reg] = {}
    for letter in "abcd":
        whole = f"r{letter}x"
        for name, bits in ((whole, 64), (f"e{letter}x", 32), (f"{letter}x", 16), (f"{letter}l", 8)):
            found[name] = Reg(whole, bits)
        found[f"{letter}h"] = Reg(whole, 8, 8)
    for stem in ("si", "di", "bp", "sp"):
        for name, bits in ((f"r{stem}", 64), (f"e{stem}", 32), (stem, 16), (f"{stem}l", 8)):
            found[name] = Reg(f"r{stem}", bits)
    for n in range(8, 16):
        for suffix, bits in (("", 64), ("d", 32), ("w", 16), ("b", 8)):
            found[f"r{n}{suffix}"] = Reg(f"r{n}", bits)
    return found


REGISTERS = _registers()
"""All names of registers that can hold the number of a call or a part of it."""


class _Parts(dict[str, tuple[str, ...]]):
    """Texts, one of which is in the name of each part of a register."""

    def __missing__(self, register: str) -> tuple[str, ...]:
        names = [name for name, part in REGISTERS.items() if part.name == register]
        short = {name for name in names if not any(one in name for one in names if one != name)}
        return self.setdefault(register, tuple(sorted(short)) or (register,))


PARTS = _Parts()


class _LastWords(dict[str, str]):
    """Mnemonics without prefixes such as lock, rep and notrack; there are some hundred."""

    def __missing__(self, mnemonic: str) -> str:
        return self.setdefault(mnemonic, mnemonic.rpartition(" ")[2])


WORDS = _LastWords()


def word_of(instruction: Instruction) -> str:
    """Return the mnemonic without prefixes such as lock, rep and notrack."""
    return WORDS[instruction[2]]


def operands_of(instruction: Instruction) -> tuple[Operand, ...]:
    """Return the operands, the destination first."""
    return _parsed(instruction[3])


def first_two(instruction: Instruction) -> tuple[Operand, Operand]:
    """Return the first two operands; None for a missing one."""
    operands = _parsed(instruction[3])
    return operands[0] if operands else None, operands[1] if len(operands) > 1 else None


def memory_of(instruction: Instruction) -> Memory | None:
    """Return the operand in memory, None if there is none."""
    for operand in _parsed(instruction[3]):
        if isinstance(operand, Memory):
            return operand
    return None


@lru_cache(maxsize=1 << 16)
def registers_in(text: str) -> frozenset[str]:
    """Return the whole registers of which the operands ``text`` are or contain a part."""
    found: set[str | None] = set()
    for operand in _parsed(text):
        match operand:
            case Reg(name):
                found.add(name)
            case Memory(base, by):
                found |= {base, by}
    return frozenset(name for name in found if name)


@lru_cache(maxsize=1 << 16)
def _parsed(text: str) -> tuple[Operand, ...]:
    return tuple(map(_operand, text.split(", "))) if text else ()


@lru_cache(maxsize=1 << 16)
def _operand(text: str) -> Operand:
    if text in REGISTERS:
        return REGISTERS[text]
    if _NUMBER.fullmatch(text):
        return Immediate(int(text, 0))
    match = _MEMORY.search(text)
    return _memory(match) if match else None


def _memory(match: re.Match[str]) -> Memory:
    base = by = None
    scale, offset = 1, 0
    for term in _TERM.finditer(match["sum"]):
        name = term["name"]
        if _NUMBER.fullmatch(name):
            value = int(name, 0)
            # The disassembler prints some negative numbers as unsigned.
            value -= (1 << 64) if value >> 63 else 0
            offset += -value if term["sign"] == "- " else value
        elif base is None and not term["scale"]:
            base = REGISTERS[name].name if name in REGISTERS else name
        else:
            by = REGISTERS[name].name if name in REGISTERS else name
            scale = int(term["scale"] or 1)
    size = _SIZES.get(match["size"] or "", _LARGEST)
    return Memory(base, by, scale, offset, size, match["segment"] or "")
