"""The origin of a value before one x86 instruction: a register, or a word of the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.scan.processor import KnownValue, Lost, Moved, Register, Slot
from seccompgen.scan.stack_escape import Frames
from seccompgen.scan.unknown import Why
from seccompgen.scan.x86_instructions import READ_ONLY, X86Instructions
from seccompgen.scan.x86_operands import (
    Immediate,
    Memory,
    Reg,
    first_two,
    operands_of,
    word_of,
)
from seccompgen.scan.x86_vectors import half_before, is_half, stored_half

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.scan.image import Image
    from seccompgen.scan.processor import Instruction, Location, Step
    from seccompgen.scan.x86_operands import Operand

_PRESERVED = frozenset({"rbx", "rbp", "rsp", "r12", "r13", "r14", "r15"})
"""Registers that a C function preserves (System V ABI, x86-64)."""
_PRESERVED_I386 = frozenset({"rbx", "rbp", "rsp", "rsi", "rdi"})
_FRAME = frozenset({"rsp", "rbp"})
# cdqe changes only bits from 32 on, which are not part of the number.
_SETS_NOTHING = frozenset({"push", "nop", "cmp", "test", "jmp", "ret", "endbr64", "cdqe"})
_WRITES_FIRST = frozenset({"mov", "lea", "movzx", "movsxd", "add", "sub", "and", "or", "xor"})
"""Frequent instructions that write no register but their first operand."""
_COMPARES = frozenset({"cmp", "test"})
KERNEL = "dword ptr gs:[0x10]"
"""The place where libc stores AT_SYSINFO."""


class X86Values(X86Instructions):
    """Steps back over single instructions."""

    def __init__(self, word: int) -> None:
        self.word = word
        self._frames = Frames("rsp", word, self._frame_size, _stack_pointer)

    def preserves(self, image: Image, register: str) -> bool:
        """See ``Machine``."""
        preserved = _PRESERVED if self.word == 8 else _PRESERVED_I386
        return register == "rsp" or (register in preserved and not image.is_go)

    def ignores(self, instruction: Instruction, register: str) -> bool:
        """See ``Machine``."""
        mnemonic = instruction[2]
        first_at_most = mnemonic in _WRITES_FIRST or mnemonic in _COMPARES
        return first_at_most and not self.mentions(instruction, register)

    def before(
        self, image: Image, code: Sequence[Instruction], index: int, location: Location
    ) -> Step:
        """See ``Machine``."""
        if self.is_call(code[index]):
            return self._over_call(image, code, code[index], location)
        if isinstance(location, Slot):
            return self._slot_before(image, code, code[index], location)
        if is_half(location.name):
            return half_before(code[index], location)
        return self._register_before(image, code, index, location)

    def _over_call(
        self,
        image: Image,
        code: Sequence[Instruction],
        call: Instruction,
        location: Location,
    ) -> Step:
        if isinstance(location, Slot):
            harmless = call[3] == KERNEL or _grows_stack(image, call)
            if harmless or not self._frames.may_be_written(image, code, location, by_call=True):
                return Moved((location,))
            return Lost(Why.STORED)
        if is_half(location.name):
            return half_before(call, location)
        if self.preserves(image, location.name):
            return Moved((location,))
        return Lost(Why.RETURNED if location.name == "rax" else Why.CHANGED)

    def _register_before(
        self, image: Image, code: Sequence[Instruction], index: int, location: Register
    ) -> Step:
        instruction = code[index]
        word = word_of(instruction)
        if word in _SETS_NOTHING or word == "xbegin" or word[0] == "j":
            return Moved((location,))
        if word in {"popal", "popaw"}:
            return Lost(Why.MEMORY)
        target, source = first_two(instruction)
        if word == "xchg" and isinstance(source, Reg) and source.name == location.name:
            target, source = source, target
        if not isinstance(target, Reg) or target.name != location.name:
            return self._unless_written(image, instruction, location)
        if word in {"xadd", "cmpxchg"}:
            return self._unless_written(image, instruction, location)
        if target.bits < 32:
            low = word == "mov" and (target.bits, target.shift) == (8, 0)
            cleared = low and index > 0 and _clears(code[index - 1], target.name)
            if cleared and isinstance(source, Immediate):
                return KnownValue(source.value & 0xFF)
            return Lost(Why.PART)
        found = self._set_to(instruction, target, source)
        return found or self._unless_written(image, instruction, location)

    def _set_to(self, instruction: Instruction, target: Reg, source: Operand) -> Step | None:
        """Return the origin of ``target`` after an instruction that sets it; None for others."""
        own = Register(target.name)
        match word_of(instruction), source:
            case "xor" | "sub", Reg() if source == target:
                return KnownValue(0)
            case "mov" | "movabs" | "movsxd", Immediate(value):
                return KnownValue(value)
            case "mov" | "movabs" | "movsxd" | "xchg", _:
                return self._load(source)
            case "movq" | "movd", _:  # out of vectors, which may store words
                return self._load(source)
            case "lea", Memory() as memory:
                return _address(memory, instruction[0] + instruction[1])
            case "add", Immediate(value):
                return Moved((own,), value)
            case "sub", Immediate(value):
                return Moved((own,), -value)
            case "inc", _:
                return Moved((own,), 1)
            case "dec", _:
                return Moved((own,), -1)
            case ("xor" | "ror" | "rol") as word, _:
                return Lost(Why.DECODED, word)
            case "or", Immediate(value) if value & 0xFFFFFFFF == 0xFFFFFFFF:
                return KnownValue(value)
            case "and", Immediate(0):
                return KnownValue(0)
            case "pop", _:
                return Moved((Slot("rsp", 0),))
            case word, _ if word.startswith("cmov"):
                other = self._load(source)
                return Moved((own, *other.places)) if isinstance(other, Moved) else other
        return None

    def _load(self, source: Operand) -> Step:
        match source:
            case Immediate(value):
                return KnownValue(value)
            case Reg(name, bits):
                return Moved((Register(name),)) if bits >= 32 else Lost(Why.PART)
            case Memory(size=size) as memory:
                if memory.slot and size >= 4:
                    return Moved((memory.slot,))
                return Lost(Why.NARROW if size < self.word else Why.MEMORY)
        return Lost(Why.MEMORY)

    def _unless_written(self, image: Image, instruction: Instruction, location: Register) -> Step:
        if instruction[2] in _WRITES_FIRST and self.sets(instruction) != location.name:
            return Moved((location,))
        if self._writes(image, instruction, location.name):
            return Lost(Why.COMPUTED, instruction[2])
        return Moved((location,))

    def _writes(self, image: Image, instruction: Instruction, register: str) -> bool:
        return register in self._written(image.read(instruction[0], instruction[1]))

    def _slot_before(
        self, image: Image, code: Sequence[Instruction], instruction: Instruction, slot: Slot
    ) -> Step:
        word = word_of(instruction)
        target, source = first_two(instruction)
        if slot.base == "rsp":
            moved = self._stack_before(word, target, source, slot)
            if moved:
                return moved
        elif isinstance(target, Reg) and target.name == slot.base:
            return self._base_before(image, instruction, source, slot)
        if word == "xchg" and isinstance(source, Memory):
            target, source = source, target
        if isinstance(target, Memory) and word not in READ_ONLY and word != "lea":
            half = stored_half(instruction, target, slot)
            if half and target.plain and target.base == slot.base:
                return Moved((half,))
            return self._after_store(image, code, word, target, source, slot)
        if self._writes(image, instruction, slot.base) and word not in {"push", "pop", "ret"}:
            return Lost(Why.NO_STACK, word)
        return Moved((slot,))

    def _stack_before(self, word: str, target: Operand, source: Operand, slot: Slot) -> Step | None:
        """Step back over an instruction that moves the stack pointer; None if ``word`` does not."""
        offset, size = slot.offset, self.word
        match word, target:
            case "push", _ if offset == 0:
                return self._load(target)
            case "push", _:
                apart = abs(offset) >= size
                return Moved((Slot("rsp", offset - size),)) if apart else Lost(Why.PART)
            case "pushfq" | "pushfd", _:
                apart = offset >= size
                return Moved((Slot("rsp", offset - size),)) if apart else Lost(Why.COMPUTED, word)
            case "popfq" | "popfd", _:
                return Moved((Slot("rsp", offset + size),))
            case "pop", Reg(name) if name != "rsp":
                return Moved((Slot("rsp", offset + size),))
            case "pop", _:
                return Lost(Why.NO_STACK, word)
            case "leave", _:
                return Moved((Slot("rbp", offset + size),))
            case (("cmp" | "test"), _):
                return None
            case _, Reg("rsp"):
                return _stack_set(word, source, slot)
        return None

    def _base_before(
        self, image: Image, instruction: Instruction, source: Operand, slot: Slot
    ) -> Step:
        """Step back over an instruction that sets the frame pointer."""
        match word_of(instruction), source:
            case "mov", Reg("rsp"):
                return Moved((Slot("rsp", slot.offset),))
            case "lea", Memory(slot=Slot(base, offset)):
                return Moved((Slot(base, slot.offset + offset),))
        written = self._writes(image, instruction, slot.base)
        return Lost(Why.MEMORY) if written else Moved((slot,))

    def _after_store(
        self,
        image: Image,
        code: Sequence[Instruction],
        word: str,
        memory: Memory,
        source: Operand,
        slot: Slot,
    ) -> Step:
        if memory.plain and memory.base == slot.base:
            if memory.offset == slot.offset and word == "mov" and memory.size >= 4:
                return self._load(source)
            apart = memory.offset + memory.size <= slot.offset or slot.offset + 4 <= memory.offset
            return Moved((slot,)) if apart else Lost(Why.PART)
        if memory.plain and memory.base in {"rip", None}:
            return Moved((slot,))
        on_stack = not _FRAME.isdisjoint({memory.base, memory.by})
        if on_stack or self._frames.may_be_written(image, code, slot, by_call=False):
            return Lost(Why.STORED)
        return Moved((slot,))

    def _frame_size(self, code: Sequence[Instruction]) -> int:
        """Return by how many bytes a function's prologue moves the stack pointer."""
        size = 0
        for instruction in code:
            match instruction[2], operands_of(instruction):
                case "push", _:
                    size += self.word
                case "sub" | "add", (Reg("rsp"), Immediate(value)):
                    return size + abs(value)
                case "call" | "ret", _:
                    break
        return size


def _address(memory: Memory, following: int) -> Step:
    """Return the origin of ``lea``'s result; the next instruction is at ``following``."""
    if memory.plain and memory.base == "rip":
        return KnownValue(following + memory.offset)
    if memory.plain and memory.base is None:
        return KnownValue(memory.offset)
    if memory.plain and memory.base and memory.base != "rsp":
        return Moved((Register(memory.base),), memory.offset)
    return Lost(Why.COMPUTED, "lea")


def _stack_set(word: str, source: Operand, slot: Slot) -> Step:
    """Step back over an instruction, not a push or pop, that sets the stack pointer."""
    match word, source:
        case "add", Immediate(value):
            return Moved((Slot("rsp", slot.offset + value),))
        case "sub", Immediate(value):
            return Moved((Slot("rsp", slot.offset - value),))
        case "lea", Memory(slot=Slot(base, offset)):
            return Moved((Slot(base, slot.offset + offset),))
        case "mov", Reg("rbp"):
            return Moved((Slot("rbp", slot.offset),))
    return Lost(Why.NO_STACK, word)


def _clears(instruction: Instruction, register: str) -> bool:
    target, source = first_two(instruction)
    whole = isinstance(target, Reg) and target.name == register and target.bits >= 32
    return whole and instruction[2] == "xor" and source == target


def _stack_pointer(instruction: Instruction) -> Slot | None:
    """Return the slot to which ``instruction`` makes a pointer; None if it makes none."""
    match instruction[2], operands_of(instruction):
        case "lea", (Reg(name), Memory(base) as memory) if base in _FRAME and name not in _FRAME:
            return Slot(base if memory.plain and base else "", memory.offset)
        case "push", (Reg("rsp"),):
            return Slot("rsp", 0)
        case "mov", (target, Reg("rsp")) if not isinstance(target, Reg) or target.name != "rbp":
            return Slot("rsp", 0)
    return None


def _grows_stack(image: Image, call: Instruction) -> bool:
    """Return True if ``call`` grows Go's stack, which preserves its content."""
    target, _ = first_two(call)
    if not image.is_go or not isinstance(target, Immediate):
        return False
    return image.function_at(target.value).startswith("runtime.morestack")
