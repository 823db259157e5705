"""The origin of a value before one aarch64 instruction: a register, or a word of the stack."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from seccompgen.scan.arm64_instructions import (
    CALLS,
    COMPARES,
    STOPS,
    Arm64Instructions,
    memory_operand,
    number,
    whole,
)
from seccompgen.scan.arm64_vectors import half_before, half_named, is_half, stored_half
from seccompgen.scan.processor import KnownValue, Lost, Moved, Register, Slot
from seccompgen.scan.stack_escape import Frames
from seccompgen.scan.unknown import Why

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.scan.image import Image
    from seccompgen.scan.processor import Instruction, Location, Step

_KEYS = ["ia", "ib", "da", "db", "iza", "izb", "dza", "dzb", "i", "d"]
_SIGNS = frozenset(f"{what}{which}" for what in ("pac", "aut", "xpac") for which in _KEYS)
"""Instructions that sign a pointer, check the signature, or strip it."""
_UNNAMED = frozenset({"x0", "x16", "x17", "x29", "x30", "sp"})
"""Registers that instructions may write without naming them, or by another name."""
_COMMA = re.compile(r", (?![^[]*\])")
"""A comma between operands, not within brackets."""
_STACK = ("sp", "x29")


class _RunsOn(dict[str, bool]):
    """True for mnemonics of decoded instructions after which only the next one may run."""

    def __missing__(self, mnemonic: str) -> bool:
        goes = (
            mnemonic in CALLS or mnemonic in STOPS or mnemonic.startswith(("b.", "bc.", "cb", "tb"))
        )
        return self.setdefault(mnemonic, not goes and mnemonic not in {".byte", "nop", "svc"})


_RUNS_ON = _RunsOn()


class Arm64Values(Arm64Instructions):
    """Steps back over single instructions."""

    def __init__(self) -> None:
        import capstone  # noqa: PLC0415 - in an extra

        self._detailed = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
        self._detailed.detail = True
        self._frames = Frames("sp", 0, self._frame_size, _stack_pointer)
        self._written = lru_cache(maxsize=100_000)(self._written_by)

    def ignores(self, instruction: Instruction, register: str) -> bool:
        """See ``Machine``."""
        _, _, mnemonic, operands = instruction
        return _RUNS_ON[mnemonic] and not is_half(register) and not _may_name(operands, register)

    def before(
        self, image: Image, code: Sequence[Instruction], index: int, location: Location
    ) -> Step:
        """See ``Machine``."""
        instruction = code[index]
        operands = _operands(instruction[3])
        if isinstance(location, Register) and is_half(location.name):
            return half_before(instruction, operands, location)
        if self.is_call(instruction):
            return self._over_call(image, code, instruction, location)
        if isinstance(location, Slot):
            return self._slot_before(image, code, instruction, operands, location)
        return self._register_before(image, instruction, operands, location)

    def _over_call(
        self,
        image: Image,
        code: Sequence[Instruction],
        instruction: Instruction,
        location: Location,
    ) -> Step:
        if isinstance(location, Slot):
            own = instruction[2] == "bl" and image.is_go
            if own and image.function_at(number(instruction[3])).startswith("runtime.morestack"):
                return Moved((location,))  # morestack does not change the content of the stack
            if self._frames.may_be_written(image, code, location, by_call=True):
                return Lost(Why.STORED)
            return Moved((location,))
        if self.preserves(image, location.name):
            return Moved((location,))
        if location.name == "x0":
            return Lost(Why.RETURNED)
        return Lost(Why.CHANGED)

    def _register_before(
        self, image: Image, instruction: Instruction, operands: Sequence[str], location: Register
    ) -> Step:
        mnemonic = instruction[2]
        if mnemonic in COMPARES:
            return Moved((location,))
        if not _may_name(instruction[3], location.name) and mnemonic != ".byte":
            return Moved((location,))
        target = whole(operands[0]) if operands else ""
        if target == location.name:
            match mnemonic:
                case "mov" | "movz" | "orr" | "fmov" | "umov" if len(operands) == 2:
                    return self._copied(operands[1])
                case "movn" if len(operands) == 2:
                    return KnownValue(~number(operands[1]))
                case "sxtw" | "uxtw":
                    return Moved((Register(whole(operands[1])),))
                case "adr" | "adrp":
                    return KnownValue(number(operands[1]))
                case "add" | "sub" if len(operands) == 3 and operands[2][:1] == "#":
                    source = whole(operands[1])
                    amount = number(operands[2])
                    if source and source != "sp":
                        return Moved((Register(source),), amount if mnemonic == "add" else -amount)
                case "ldr" | "ldur" | "ldrsw" | "ldar" | "ldapr" | "ldapur" | "ldaxr":
                    found = self._loaded(operands[1:])
                    narrow = mnemonic == "ldrsw" or operands[0][0] == "w"
                    return Lost(Why.NARROW) if isinstance(found, Lost) and narrow else found
                case "eor" | "ror" if len(operands) == 3:
                    return Lost(Why.DECODED, mnemonic)
                case _ if mnemonic in _SIGNS:
                    return Moved((location,))
                case "csel":
                    return self._selected(operands)
        if mnemonic == "ldp" and location.name in {target, whole(operands[1])}:
            step = 4 if operands[0][0] == "w" else 8
            return self._loaded(operands[2:], 0 if location.name == target else step)
        raw = image.read(instruction[0], instruction[1])
        if location.name in self._written(raw):
            return Lost(Why.COMPUTED, mnemonic)
        return Moved((location,))

    @staticmethod
    def _copied(source: str) -> Step:
        if source in {"wzr", "xzr"}:
            return KnownValue(0)
        if source[:1] == "#":
            return KnownValue(number(source))
        half = half_named(source)
        if half:
            return Moved((half,))
        name = whole(source)
        return Moved((Register(name),)) if name and name != "sp" else Lost(Why.COMPUTED, "mov")

    def _selected(self, operands: Sequence[str]) -> Step:
        if any(one in {"wzr", "xzr"} for one in operands[1:3]):
            return Lost(Why.COMPUTED, "csel")
        return Moved(tuple(Register(whole(one)) for one in operands[1:3]))

    @staticmethod
    def _loaded(operands: Sequence[str], further: int = 0) -> Step:
        memory = memory_operand(", ".join(operands))
        if memory and memory.base in _STACK:
            return Moved((Slot(memory.base, memory.offset + further),))
        return Lost(Why.MEMORY)

    def _written_by(self, raw: bytes) -> frozenset[str]:
        """Return the registers that an instruction writes, in part or by implication."""
        decoded: Any = next(self._detailed.disasm(raw, 0), None)
        if decoded is None:
            return frozenset({*(f"x{n}" for n in range(31)), "sp"})  # not an instruction
        _, written = decoded.regs_access()
        if decoded.mnemonic == "svc":  # the kernel preserves all others (syscall(2))
            return frozenset({"x0"})
        return frozenset(whole(decoded.reg_name(one)) for one in written)

    def _slot_before(
        self,
        image: Image,
        code: Sequence[Instruction],
        instruction: Instruction,
        operands: Sequence[str],
        slot: Slot,
    ) -> Step:
        mnemonic = instruction[2]
        memory = memory_operand(instruction[3])
        if mnemonic[:2] == "st" and "[" in instruction[3]:
            return self._after_store(image, code, instruction, operands, slot)
        if memory and memory.moves and memory.base == slot.base:
            return Moved((Slot(slot.base, slot.offset + memory.moves),))
        if operands and whole(operands[0]) == slot.base:
            if mnemonic in {"add", "sub"} and operands[2:] and operands[2][:1] == "#":
                source, amount = whole(operands[1]), number(operands[2])
                if source in _STACK and len(operands) == 3:
                    amount = amount if mnemonic == "add" else -amount
                    return Moved((Slot(source, slot.offset + amount),))
            if mnemonic == "mov" and whole(operands[1]) in _STACK:
                return Moved((Slot(whole(operands[1]), slot.offset),))
        raw = image.read(instruction[0], instruction[1])
        if slot.base in self._written(raw):
            return Lost(Why.NO_STACK, mnemonic)
        return Moved((slot,))

    def _after_store(
        self,
        image: Image,
        code: Sequence[Instruction],
        instruction: Instruction,
        operands: Sequence[str],
        slot: Slot,
    ) -> Step:
        mnemonic = instruction[2]
        memory = memory_operand(instruction[3])
        if memory is None or memory.base not in _STACK:
            if self._frames.may_be_written(image, code, slot, by_call=False):
                return Lost(Why.STORED)
            return Moved((slot,))
        if memory.base != slot.base:
            return Lost(Why.STORED)
        stored = [one for one in operands if "[" not in one and one[:1] != "#"]
        width = _width(stored[-1] if stored else "", mnemonic)
        # Pre- or post-indexed: from here, the slot's offset counts from the base before the store.
        place = slot.offset + memory.moves
        offset = memory.offset
        names = stored[-2:] if mnemonic == "stp" else stored[-1:]
        for i, name in enumerate(names):
            start = offset + i * width
            half = stored_half(name, place - start)
            if half and mnemonic in {"str", "stur", "stp"}:
                return Moved((half,))
            if start == place and width in {4, 8} and mnemonic in {"str", "stur", "stp"}:
                return self._copied(name)
            if start < place + 4 and place < start + width:
                return Lost(Why.PART)
        return Moved((Slot(slot.base, place) if memory.moves else slot,))

    @staticmethod
    def _frame_size(code: Sequence[Instruction]) -> int:
        """Return by how many bytes a function's prologue moves the stack pointer."""
        for _, _, mnemonic, operands in code:
            if mnemonic == "sub" and operands[:8] == "sp, sp, " and operands[8:9] == "#":
                return number(operands[8:])
            memory = memory_operand(operands)
            if mnemonic[:2] == "st" and memory and memory.base == "sp" and memory.moves < 0:
                return -memory.moves
            if mnemonic in CALLS:
                break
        return 0


def _may_name(operands: str, register: str) -> bool:
    """Return False only if an instruction with ``operands`` does not touch a whole register."""
    return register[1:] in operands or register in _UNNAMED


@lru_cache(maxsize=1 << 16)
def _operands(text: str) -> Sequence[str]:
    """Return the operands; one in memory is a single one."""
    return tuple(_COMMA.split(text)) if text else ()


def _stack_pointer(instruction: Instruction) -> Slot | None:
    """Return the slot to which ``instruction`` makes a pointer; None if it makes none."""
    _, _, mnemonic, operands = instruction
    parts = operands.split(", ")
    if mnemonic not in {"add", "sub", "mov"} or len(parts) < 2 or whole(parts[0]) in _STACK:
        return None
    base = whole(parts[1])
    if base not in _STACK:
        return None
    if mnemonic == "mov":
        return Slot(base, 0)
    amount = number(parts[2]) if parts[2][:1] == "#" and len(parts) == 3 else None
    if amount is None:
        return Slot("", 0)
    return Slot(base, amount if mnemonic == "add" else -amount)


def _width(name: str, mnemonic: str) -> int:
    """Return the number of bytes that a store of register ``name`` writes."""
    if mnemonic.endswith("b"):
        return 1
    if mnemonic.endswith("h"):
        return 2
    return {"w": 4, "s": 4, "q": 16, "b": 1, "h": 2}.get(name[:1], 8)
