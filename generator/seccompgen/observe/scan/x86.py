"""x86_64 and i386: where control goes, and where the number of a call came from."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from seccompgen.core.abis import ABIS
from seccompgen.observe.scan.machine import (
    Event,
    Instruction,
    Kind,
    Known,
    Location,
    Lost,
    Moved,
    Register,
    Slot,
    Step,
)
from seccompgen.observe.scan.tables import relative_targets, word_targets
from seccompgen.observe.scan.unknown import Why
from seccompgen.observe.scan.usage import Frames, is_only_compared
from seccompgen.observe.scan.vectors import vector_length
from seccompgen.observe.scan.x86_instructions import (
    READ_ONLY,
    REGISTERS,
    SETS,
    STOPS,
    X86Instructions,
    is_number,
    memory_operand,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.observe.scan.image import Image, Span

_RELATIVE = re.compile(r"\[rip(?: ([+-]) (\w+))?\]")
_ABSOLUTE = re.compile(r"0x[0-9a-f]{4,16}\b")

_ON_TOP = re.compile(r"[qd]word ptr \[[re]sp\],")

_STUB = re.compile(rb"(?:\xf3\x0f\x1e[\xfa\xfb])?\xf2?\xff\x25(?P<displacement>.{4})", re.DOTALL)
"""A jump through a word, behind endbr and bnd."""
_FAR = frozenset({"lcall", "ljmp"})
_CONDITIONAL = re.compile(r"j(?!mp)|loop|xbegin")


_LOW = frozenset({"al", "bl", "cl", "dl", "sil", "dil"})
_PRESERVED = frozenset({"rbx", "rbp", "rsp", "r12", "r13", "r14", "r15"})
"""Registers that a C function leaves as they were (System V ABI, x86-64)."""
_PRESERVED_I386 = frozenset({"rbx", "rbp", "rsp", "rsi", "rdi"})
_STACK = Register("rsp")


class X86(X86Instructions):
    """An x86 processor in 64-bit or 32-bit mode."""

    number = Register("rax")

    def __init__(self, *, bits: int) -> None:
        import capstone  # noqa: PLC0415 - in an extra

        self.abi = ABIS["x86_64" if bits == 64 else "i386"]
        self.word = bits // 8
        # In a register, but on the stack on 386 (src/cmd/compile/abi-internal.md of Go).
        self.go_argument: Location = Register("rax") if bits == 64 else Slot("rsp", 4)
        mode = capstone.CS_MODE_64 if bits == 64 else capstone.CS_MODE_32
        self._quick = capstone.Cs(capstone.CS_ARCH_X86, mode)
        self._quick.skipdata = True
        if bits == 64:  # in 32 bits the same bytes are other instructions
            self._quick.skipdata_setup = (".byte", _skipped, None)
        self._detailed = capstone.Cs(capstone.CS_ARCH_X86, mode)
        self._detailed.detail = True
        self._frames = Frames("rsp", self.word, self._frame_size, _stack_pointer)
        self._written = lru_cache(maxsize=100_000)(self._written_by)

    def disassemble(self, image: Image, start: int, end: int) -> list[Instruction]:
        """See ``Machine``."""
        return list(self._quick.disasm_lite(image.read(start, end - start), start))

    def events(self, image: Image, code: Sequence[Instruction]) -> Iterator[Event]:
        """See ``Machine``."""
        absolute = not image.relocatable
        bases = {table.start for table in image.slot_tables}
        for i, (address, size, mnemonic, operands) in enumerate(code):
            word = mnemonic.rpartition(" ")[2]
            if word == "call" or word[0] == "j" or word[:4] == "loop" or word == "xbegin":
                yield from self._transfer(address, size, word, operands)
                if operands[:1].isdigit():
                    continue
            elif word == "ret":
                if i and _sets_return(code[i - 1]):
                    yield Event(Kind.INDIRECT_JUMP, address)
            elif word in _FAR or (word == ".byte" and self._is_unread(code, i)):
                yield Event(Kind.UNREAD, address)
            elif word in {"syscall", "sysenter", "int"}:
                if word != "int" or operands == "0x80":
                    own = (word == "syscall") == (self.word == 8) or self.word == 4
                    yield Event(Kind.ENTER if own else Kind.FOREIGN, address)
            elif "rip" in operands:
                match = _RELATIVE.search(operands)
                if match:
                    only = word in {"lea", "mov"} and is_only_compared(
                        code, i, SETS, _leaves, _branches
                    )
                    value = _offset(match) + address + size
                    # The base of the slots is of use only with distances, which movabs makes;
                    # else it is the end of what lies before it.
                    end = value in bases and not any(one[2] == "movabs" for one in code)
                    made = Kind.REFERENCE if word == "lea" and not end else Kind.LOAD
                    yield Event(Kind.COMPARISON if only else made, address, value)
            if absolute and "0x" in operands:
                for text in _ABSOLUTE.findall(operands):
                    yield Event(Kind.REFERENCE, address, int(text, 16))

    def _transfer(self, address: int, size: int, word: str, operands: str) -> Iterator[Event]:
        call = word == "call"
        if operands[:1].isdigit():
            yield Event(Kind.CALL if call else Kind.JUMP, address, int(operands, 0))
            return
        if operands.startswith(("ptr [", "fword ptr [")):
            yield Event(Kind.UNREAD, address)  # to another code segment
            return
        match = _RELATIVE.search(operands)
        if match:
            target = _offset(match) + address + size
            yield Event(Kind.CALL_SLOT if call else Kind.JUMP_SLOT, address, target)
        elif call and operands == "dword ptr gs:[0x10]":
            yield Event(Kind.ENTER, address)  # AT_SYSINFO, where libc keeps it
        else:
            yield Event(Kind.INDIRECT_CALL if call else Kind.INDIRECT_JUMP, address)

    @staticmethod
    def _is_unread(code: Sequence[Instruction], index: int) -> bool:
        """Return True if control may run into the bytes there, which are no instruction.

        Instructions of vectors that are newer than the disassembler are stepped over as a whole.
        """
        if code[index][1] > 1:
            return False
        if index == 0:
            return True
        _, size, mnemonic, _ = code[index - 1]
        return size > 1 if mnemonic == ".byte" else mnemonic.rpartition(" ")[2] not in STOPS

    def stub_slot(self, image: Image, address: int) -> int | None:
        """See ``Machine``."""
        match = _STUB.match(image.read(address, 11))
        if match is None:
            return None
        displacement = int.from_bytes(match["displacement"], "little", signed=self.word == 8)
        return displacement + (address + match.end() if self.word == 8 else 0)

    def before(
        self, image: Image, code: Sequence[Instruction], index: int, location: Location
    ) -> Step:
        """See ``Machine``."""
        instruction = code[index]
        word = instruction[2].rpartition(" ")[2]
        operands = instruction[3].split(", ") if instruction[3] else []
        if word == "call":
            return self._over_call(image, code, instruction, location)
        if isinstance(location, Slot):
            return self._slot_before(image, code, instruction, word, operands, location)
        if word == "mov" and index and operands[0] in _LOW and is_number(operands[1]):
            name = REGISTERS[operands[0]][0]
            if location.name == name and _clears(code[index - 1], name):
                return Known(int(operands[1], 0) & 0xFF)
        return self._register_before(image, instruction, word, operands, location)

    def tables(
        self,
        image: Image,
        code: Sequence[Instruction],  # noqa: ARG002 - entries are wide enough to tell
        references: Iterable[int],
        bases: Iterable[int],
        function: Span,  # noqa: ARG002 - entries are wide enough to tell
    ) -> Iterator[Iterator[int]]:
        """See ``Machine``."""
        for table in references:
            yield word_targets(image, table, self.word)
            if image.is_only_go:
                continue  # whose tables are of whole addresses
            for base in (table, *bases):
                yield relative_targets(image, table, 4, base)

    def _over_call(
        self,
        image: Image,
        code: Sequence[Instruction],
        instruction: Instruction,
        location: Location,
    ) -> Step:
        if isinstance(location, Slot):
            own = instruction[3] == "dword ptr gs:[0x10]" or _grows_stack(image, instruction[3])
            if own or not self._frames.may_be_written(image, code, location, by_call=True):
                return Moved((location,))
            return Lost(Why.STORED)
        if self.preserves(image, location.name):
            return Moved((location,))
        if location.name == "rax":
            return Lost(Why.RETURNED)
        return Lost(Why.CHANGED)

    def preserves(self, image: Image, register: str) -> bool:
        """See ``Machine``."""
        preserved = _PRESERVED if self.word == 8 else _PRESERVED_I386
        return register == "rsp" or (register in preserved and not image.is_go)

    def _register_before(
        self,
        image: Image,
        instruction: Instruction,
        word: str,
        operands: list[str],
        location: Register,
    ) -> Step:
        target, width = REGISTERS.get(operands[0], ("", 0)) if operands else ("", 0)
        # cdqe extends what is below bit 32, and no more than that is the number.
        if word in {"push", "nop", "cmp", "test", "jmp", "ret", "endbr64", "cdqe"} or (
            _CONDITIONAL.match(word) and word[:4] != "loop"
        ):
            return Moved((location,))
        if word in {"popal", "popaw"}:
            return Lost(Why.MEMORY)
        if target != location.name or word in {"xadd", "cmpxchg"}:
            return self._unless_written(image, instruction, location)
        if width < 32:
            return Lost(Why.PART)
        if word in {"xor", "sub"} and operands[1] == operands[0]:
            return Known(0)
        constant = int(operands[-1], 0) if is_number(operands[-1]) else None
        match word:
            case "mov" | "movabs" | "movsxd":
                if constant is not None:
                    return Known(constant)
                return self._load(operands[1])
            case "lea":
                return self._address(instruction, operands[1])
            case "add" | "sub" if constant is not None:
                return Moved((location,), constant if word == "add" else -constant)
            case "inc" | "dec":
                return Moved((location,), 1 if word == "inc" else -1)
            case "xor" | "ror" | "rol":
                return Lost(Why.DECODED, word)
            case "xchg" | "movq" | "movd":  # out of vectors, where words are only kept
                return self._load(operands[1])
            case "or" if constant is not None and constant & 0xFFFFFFFF == 0xFFFFFFFF:
                return Known(constant)
            case "and" if constant == 0:
                return Known(0)
            case "pop":
                return Moved((Slot("rsp", 0),))
            case _ if word.startswith("cmov"):
                other = self._load(operands[1])
                if isinstance(other, Moved):
                    return Moved((location, *other.places))
                return other
        return self._unless_written(image, instruction, location)

    def _load(self, source: str) -> Step:
        if source in REGISTERS:
            name, width = REGISTERS[source]
            return Moved((Register(name),)) if width >= 32 else Lost(Why.PART)
        memory = memory_operand(source)
        if memory and memory.plain and memory.base in {"rsp", "rbp"} and memory.size >= 4:
            return Moved((Slot(memory.base, memory.offset),))
        return Lost(Why.NARROW if memory and memory.size < self.word else Why.MEMORY)

    def _address(self, instruction: Instruction, source: str) -> Step:
        memory = memory_operand(source)
        if memory and memory.plain and memory.base == "rip":
            return Known(instruction[0] + instruction[1] + memory.offset)
        if memory and memory.plain and memory.base is None:
            return Known(memory.offset)
        if memory and memory.plain and memory.base not in {"rsp", None}:
            return Moved((Register(memory.base or ""),), memory.offset)
        return Lost(Why.COMPUTED, "lea")

    def _unless_written(self, image: Image, instruction: Instruction, location: Register) -> Step:
        raw = image.read(instruction[0], instruction[1])
        if location.name in self._written(raw):
            return Lost(Why.COMPUTED, instruction[2])
        return Moved((location,))

    def _written_by(self, raw: bytes) -> frozenset[str]:
        """Return the whole registers that an instruction writes, in part or by implication."""
        decoded: Any = next(self._detailed.disasm(raw, 0), None)
        if decoded is None:
            return frozenset(name for name, _ in REGISTERS.values())  # bytes that are none
        _, written = decoded.regs_access()
        names = (decoded.reg_name(one) for one in written)
        found = {REGISTERS[name][0] for name in names if name in REGISTERS}
        if decoded.mnemonic in {"syscall", "int"}:
            found |= {"rax"} | ({"rcx", "r11"} if decoded.mnemonic == "syscall" else set())
        return frozenset(found)

    def _slot_before(
        self,
        image: Image,
        code: Sequence[Instruction],
        instruction: Instruction,
        word: str,
        operands: list[str],
        slot: Slot,
    ) -> Step:
        if slot.base == "rsp":
            moved = self._stack_before(word, operands, slot)
            if moved:
                return moved
        elif operands and REGISTERS.get(operands[0], ("", 0))[0] == slot.base:
            return self._base_before(image, instruction, word, operands, slot)
        if word == "xchg" and len(operands) > 1:
            operands = sorted(operands, key=lambda one: "[" not in one)
        if word not in READ_ONLY and operands and "[" in operands[0] and word != "lea":
            return self._after_store(image, code, word, operands, slot)
        raw = image.read(instruction[0], instruction[1])
        if slot.base in self._written(raw) and word not in {"push", "pop", "ret"}:
            return Lost(Why.NO_STACK, word)
        return Moved((slot,))

    def _stack_before(self, word: str, operands: list[str], slot: Slot) -> Step | None:
        """Follow what moves the stack pointer; None where ``word`` does not."""
        offset, step = slot.offset, self.word
        if word == "push":
            if offset == 0:
                return self._stored(operands[0])
            if abs(offset) < step:
                return Lost(Why.PART)
            return Moved((Slot("rsp", offset - step),))
        if word in {"pushfq", "pushfd"}:
            return (
                Moved((Slot("rsp", offset - step),)) if offset >= step else Lost(Why.COMPUTED, word)
            )
        if word in {"popfq", "popfd"} or (word == "pop" and operands[0] in REGISTERS):
            if word == "pop" and REGISTERS[operands[0]][0] == "rsp":
                return Lost(Why.NO_STACK, word)
            return Moved((Slot("rsp", offset + step),))
        if word == "leave":
            return Moved((Slot("rbp", offset + step),))
        if operands and operands[0] in {"rsp", "esp"}:
            if word in {"sub", "add"} and is_number(operands[1]):
                amount = int(operands[1], 0)
                return Moved((Slot("rsp", offset + (amount if word == "add" else -amount)),))
            memory = memory_operand(operands[1]) if word == "lea" else None
            if memory and memory.plain and memory.base in {"rsp", "rbp"}:
                return Moved((Slot(memory.base, offset + memory.offset),))
            if word == "mov" and operands[1] in {"rbp", "ebp"}:
                return Moved((Slot("rbp", offset),))
            if word not in {"cmp", "test"}:
                return Lost(Why.NO_STACK, word)
        return None

    def _base_before(
        self,
        image: Image,
        instruction: Instruction,
        word: str,
        operands: list[str],
        slot: Slot,
    ) -> Step:
        """Follow a slot whose base register is set: to the stack pointer, or to who knows what."""
        if word == "mov" and operands[1] in {"rsp", "esp"}:
            return Moved((Slot("rsp", slot.offset),))
        memory = memory_operand(operands[1]) if word == "lea" else None
        if memory and memory.plain and memory.base in {"rsp", "rbp"}:
            return Moved((Slot(memory.base, slot.offset + memory.offset),))
        step = self._unless_written(image, instruction, Register(slot.base))
        return Moved((slot,)) if isinstance(step, Moved) else Lost(Why.MEMORY)

    def _after_store(
        self,
        image: Image,
        code: Sequence[Instruction],
        word: str,
        operands: list[str],
        slot: Slot,
    ) -> Step:
        memory = memory_operand(operands[0])
        if memory and memory.plain and memory.base == slot.base:
            if memory.offset == slot.offset and word == "mov" and memory.size >= 4:
                return self._stored(operands[1])
            apart = memory.offset + memory.size <= slot.offset or slot.offset + 4 <= memory.offset
            return Moved((slot,)) if apart else Lost(Why.PART)
        if memory and memory.plain and memory.base in {"rip", None}:
            return Moved((slot,))
        on_stack = "sp" in operands[0] or "bp" in operands[0]
        if on_stack or self._frames.may_be_written(image, code, slot, by_call=False):
            return Lost(Why.STORED)
        return Moved((slot,))

    def _stored(self, source: str) -> Step:
        if is_number(source):
            return Known(int(source, 0))
        if source in REGISTERS:
            name, width = REGISTERS[source]
            return Moved((Register(name),)) if width >= 32 else Lost(Why.PART)
        return self._load(source)

    def _frame_size(self, code: Sequence[Instruction]) -> int:
        """Return how far a function's prologue moves the stack pointer, in bytes."""
        size = 0
        for _, _, mnemonic, operands in code:
            if mnemonic == "push":
                size += self.word
            elif mnemonic in {"sub", "add"} and operands[:5] in {"rsp, ", "esp, "}:
                amount = operands[5:]
                if is_number(amount):
                    return size + abs(int(amount, 0))
            elif mnemonic in {"call", "ret"}:
                break
        return size


def _sets_return(instruction: Instruction) -> bool:
    """Return True if ``instruction`` puts a word where a return finds its address."""
    mnemonic, operands = instruction[2:]
    return mnemonic == "push" or (
        mnemonic in {"mov", "xchg"} and _ON_TOP.match(operands) is not None
    )


def _clears(instruction: Instruction, name: str) -> bool:
    first, _, second = instruction[3].partition(", ")
    whole, width = REGISTERS.get(first, ("", 0))
    return instruction[2] == "xor" and first == second and whole == name and width >= 32


def _leaves(instruction: Instruction) -> bool:
    return instruction[2].rpartition(" ")[2] in {"call", "ret", "syscall", "int"}


def _branches(instruction: Instruction) -> bool:
    return instruction[2].rpartition(" ")[2][0] == "j"


def _stack_pointer(instruction: Instruction) -> Slot | None:
    """Return where the pointer to the stack points that ``instruction`` makes, if it does."""
    _, _, mnemonic, operands = instruction
    target, _, source = operands.partition(", ")
    if mnemonic == "lea" and target not in {"rsp", "rbp", "esp", "ebp"}:
        memory = memory_operand(source)
        if memory and memory.base in {"rsp", "rbp"}:
            return Slot(memory.base if memory.plain else "", memory.offset)
    elif (
        mnemonic in {"mov", "push"}
        and target not in {"rbp", "ebp"}
        and (source or target) in {"rsp", "esp"}
    ):
        return Slot("rsp", 0)
    return None


def _grows_stack(image: Image, target: str) -> bool:
    """Return True if the call of ``target`` makes Go's stack larger, and touches nothing on it."""
    if not image.is_go or not is_number(target):
        return False
    return image.function_at(int(target, 0)).startswith("runtime.morestack")


def _offset(match: re.Match[str]) -> int:
    """Return the displacement of ``[rip - 0x10]``; capstone may write a negative one unsigned."""
    value = int(match[2], 0) if match[2] else 0
    value = value - (1 << 64) if value >> 63 else value
    return -value if match[1] == "-" else value


def _skipped(data: Any, size: int, offset: int, user: Any) -> int:  # noqa: ARG001 - capstone's form
    """Return how many bytes to step over that the disassembler does not know."""
    return vector_length(data[offset : min(size, offset + 16)]) or 1
