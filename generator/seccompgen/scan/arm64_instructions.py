"""Single aarch64 instructions: their operands, and their effect on control and registers."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.scan.processor import (
    Instruction,
    Location,
    Register,
    Sum,
    TableLoad,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from seccompgen.scan.image import Image

NUMBER = re.compile(r"#?(-?(?:0x[0-9a-f]+|\d+))")

WORD = re.compile(r"\b[a-z]\w*")

MEMORY = re.compile(r"\[(?P<base>\w+)(?:, #(?P<offset>-?\w+))?\](?P<pre>!)?(?:, #(?P<post>-?\w+))?")

REGISTER = re.compile(r"[wx](\d+|zr)|[wx]?sp|fp|lr")

STOPS = frozenset(
    {"b", "br", "ret", "udf", "brk", "hlt", "retaa", "retab", "braa", "brab", "braaz", "brabz"}
)

CALLS = frozenset({"bl", "blr", "blraa", "blrab", "blraaz", "blrabz"})

COMPARES = frozenset({"cmp", "cmn", "tst", "ccmp", "ccmn"})
"""Instructions that write no register, although the disassembler lists one first."""

SETS = frozenset({"mov", "adrp", "adr", "ldr"})

INDEXED = re.compile(r"\[(?P<base>\w+), (?P<index>[wx]\d+)")

_BOUNDS = {("b.hi", False): 0, ("b.hs", False): 1, ("b.lo", True): 1, ("b.ls", True): 0}
"""By how much less the compared value is, by unsigned branch and whether that is taken."""

_ZERO = frozenset({("cbz", True), ("cbnz", False)})
"""Branches, and whether they are taken, after which the register that they test is 0."""

KEEPS_FLAGS = frozenset(
    {"mov", "adrp", "adr", "add", "nop", "movz", "movk", "movn", "sub", "and", "orr", "eor"}
    | {"ldr", "ldrb", "ldrh", "ldrsw", "ldp", "ldur", "str", "strb", "strh", "stp", "stur"}
    | {"sxtw", "uxtw", "uxtb", "uxth", "ubfx", "ubfiz", "lsl", "lsr", "csel", "cset", "movi"}
)
"""Only mnemonics that end in an s, and comparisons, change the flags."""

ENTRY_SIZES = {"ldrb": 1, "ldrsb": 1, "ldrh": 2, "ldrsh": 2, "ldr": 4, "ldrsw": 4}
"""The bytes of a jump table's entry, by the instruction that loads it."""


_RETURNS = frozenset({"ret", "retaa", "retab"})


@lru_cache(maxsize=1 << 12)
def whole(name: str) -> str:
    """Return the name of the whole register: x0 for w0; "" for other operands."""
    if name in {"fp", "lr"}:
        return "x29" if name == "fp" else "x30"
    if name in {"sp", "wsp"}:
        return "sp"
    return f"x{name[1:]}" if REGISTER.fullmatch(name) else ""


@lru_cache(maxsize=1 << 16)
def number(text: str) -> int:
    """Return the value of ``text``, or -1 if it is not a number."""
    match = NUMBER.fullmatch(text.strip())
    return int(match[1], 0) if match else -1


class BaseOffset(NamedTuple):
    """An operand in memory; ``base`` changes by ``moves``, before or after the access."""

    base: str
    offset: int
    moves: int


@lru_cache(maxsize=1 << 16)
def memory_operand(operands: str) -> BaseOffset | None:
    """Return the memory operand of the form register plus number; None if there is none."""
    match = MEMORY.search(operands)
    base = whole(match["base"]) if match else ""
    if not match or not base:
        return None
    offset = int(match["offset"] or "0", 0)
    if match["pre"]:
        return BaseOffset(base, offset, offset)
    if match["post"]:
        return BaseOffset(base, 0, int(match["post"], 0))
    return BaseOffset(base, offset, 0)


@lru_cache(maxsize=1 << 16)
def registers_in(operands: str) -> frozenset[str]:
    """Return the whole registers of which ``operands`` name a part."""
    return frozenset(map(whole, WORD.findall(operands)))


class Arm64Instructions:
    """The questions of ``Machine`` about a single instruction."""

    word: int
    """bytes in a word"""
    _written: Callable[[bytes], frozenset[str]]
    """returns the registers that an instruction writes, in part or implicitly"""

    def stops(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in STOPS

    def returns(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in _RETURNS

    def any_returns(self, mnemonics: Iterable[str]) -> bool:
        """See ``Machine``."""
        return not _RETURNS.isdisjoint(mnemonics)

    def is_call(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in CALLS

    def branches(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2][0] == "b" or instruction[2] in {"cbz", "cbnz", "tbz", "tbnz"}

    def leaves(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in {"bl", "blr", "ret", "svc"}

    def is_padding(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in {"nop", "udf"}

    def at_caller(self, location: Location) -> Location | None:
        """See ``Machine``."""
        if isinstance(location, Register):
            return location
        return location if location.base == "sp" and location.offset >= 0 else None

    def target(self, instruction: Instruction) -> Location | None:
        """See ``Machine``."""
        return Register(whole(instruction[3].partition(", ")[0]) or "x30")

    def summands(self, instruction: Instruction, location: Location) -> tuple[Location, ...] | None:
        """See ``Machine``."""
        parts = instruction[3].split(", ")
        names = [whole(part) for part in parts]
        if instruction[2] == "csel" and location == Register(names[0]) and "xzr" in parts:
            return tuple(Register(one) for one in names[1:3] if one != "xzr")  # or null
        if instruction[2] != "add" or len(parts) < 3 or location != Register(names[0]):
            return None
        if not all(names[:3]) or parts[0][0] != "x":
            return None
        return Register(names[1]), Register(names[2])

    def is_half(self, instruction: Instruction, location: Location) -> bool:
        """See ``Machine``."""
        half = instruction[3][:1] == "w" and self.sets(instruction)
        return bool(half) and location == Register(str(half))

    def as_sum(self, image: Image, instruction: Instruction, register: str) -> Sum | None:
        """See ``Machine``."""
        address, size, mnemonic, operands = instruction
        if self.is_call(instruction):
            return None
        if self.sets(instruction) != register:
            written = self._written(image.read(address, size))
            return None if register in written else Sum(((register, 1),))
        match mnemonic, operands.split(", ")[1:]:
            case "adr" | "adrp", [place]:
                return Sum((), number(place))
            case "and", [_, mask] if number(mask) >= 0:
                return Sum((), rest=number(mask))
            case "add", [one, other, *shift] if operands[0] == "x" and whole(one) and whole(other):
                factor = _factor(shift)
                return Sum(((whole(one), 1), (whole(other), factor))) if factor else None
        return None

    def sets(self, instruction: Instruction) -> str:
        """See ``Machine``."""
        if instruction[2][:2] in {"st", "cm", "cb", "tb", "b."}:
            return ""
        return whole(instruction[3].partition(", ")[0])

    def makes_page(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] == "adrp"

    def preserves(self, image: Image, register: str) -> bool:
        """See ``Machine``."""
        return not image.is_go and (register == "sp" or 19 <= int(register[1:]) <= 29)

    def dies(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in {"udf", "brk", "hlt"}

    def mentions(self, instruction: Instruction, register: str) -> bool:
        """See ``Machine``."""
        return register in registers_in(instruction[3])

    def is_comparison(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in {*COMPARES, "cbz", "cbnz", "tbz", "tbnz"}

    def only_sets(self, instruction: Instruction, register: str) -> bool:
        """See ``Machine``."""
        first, _, rest = instruction[3].partition(", ")
        others = {whole(one) for one in WORD.findall(rest)}
        if instruction[2] == "ldp":
            return "[" in rest and register not in {
                whole(one) for one in WORD.findall(rest.partition("[")[2])
            }
        return whole(first) == register and instruction[2] in SETS and register not in others

    def copied(self, instruction: Instruction) -> str | None:
        """See ``Machine``."""
        if instruction[2] not in {"mov", "uxtw", "sxtw", "uxtb", "uxth", "ubfiz"}:
            return None
        return whole(instruction[3].split(", ")[1]) or None

    def compared(self, instruction: Instruction) -> tuple[str, int] | None:
        """See ``Machine``."""
        return _with_number(instruction, 2) if instruction[2] == "cmp" else None

    def masked(self, instruction: Instruction) -> tuple[str, int] | None:
        """See ``Machine``."""
        return _with_number(instruction, 3) if instruction[2] == "and" else None

    def bounds(self, instruction: Instruction, *, jumping: bool) -> int:
        """See ``Machine``."""
        return _BOUNDS.get((instruction[2], jumping), -1)

    def shows_zero(
        self, code: Sequence[Instruction], index: int, register: str, *, jumping: bool
    ) -> bool:
        """See ``Machine``."""
        tested = whole(code[index][3].partition(", ")[0])
        return (code[index][2], jumping) in _ZERO and tested == register

    def keeps_flags(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in KEEPS_FLAGS

    def table_load(self, instruction: Instruction) -> TableLoad | None:
        """See ``Machine``."""
        match = INDEXED.search(instruction[3])
        if match is None or instruction[2] not in ENTRY_SIZES:
            return None
        wide = instruction[2] == "ldr" and instruction[3][0] == "x"
        size = 8 if wide else ENTRY_SIZES[instruction[2]]
        return TableLoad(size, whole(match["base"]), whole(match["index"]))


def _factor(shift: Sequence[str]) -> int:
    """Return by how much ``shift``, the end of an operand, multiplies; 0 if it extends a part."""
    if not shift:
        return 1
    kind, _, amount = shift[0].partition(" ")
    return 1 << number(amount) if kind == "lsl" else 0


def _with_number(instruction: Instruction, count: int) -> tuple[str, int] | None:
    """Return the first of ``count`` operands and the last, if that is a number from 0 on."""
    parts = instruction[3].split(", ")
    last = number(parts[-1]) if parts[-1][:1] == "#" and len(parts) == count else -1
    return (whole(parts[0]), last) if last >= 0 else None
