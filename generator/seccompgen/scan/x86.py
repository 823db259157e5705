"""x86_64 and i386: the effects of code that matter outside its function."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from seccompgen.core.abis import ABIS
from seccompgen.scan.jump_tables import relative_targets, word_targets
from seccompgen.scan.processor import Effect, EffectKind, Register, Slot
from seccompgen.scan.stack_escape import is_only_compared
from seccompgen.scan.vectors import vector_length
from seccompgen.scan.x86_instructions import STOPS
from seccompgen.scan.x86_operands import (
    REGISTERS,
    WORDS,
    Memory,
    first_two,
    memory_of,
    word_of,
)
from seccompgen.scan.x86_values import KERNEL, X86Values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.scan.image import AddressRange, Image
    from seccompgen.scan.processor import Instruction, Location

_ABSOLUTE = re.compile(r"0x[0-9a-f]{4,16}\b")
_STUB = re.compile(rb"(?:\xf3\x0f\x1e[\xfa\xfb])?\xf2?\xff\x25(?P<displacement>.{4})", re.DOTALL)
"""A jump through a word, after an optional endbr and bnd."""
_RELATIVE = re.compile(r"\[rip(?P<offset>(?: [+-] (?:0x[0-9a-f]+|\d+))?)\]")
_U64 = (1 << 64) - 1
_LAZY_STUB = re.compile(rb"\xff\x25.{4}\x68.{4}\xe9.{4}", re.DOTALL)
"""A jump through a word, which first leads to what is behind it: push, jmp (System V ABI, 5.2)."""
_COMPARES = frozenset({"cmp", "test"})
_FAR = frozenset({"lcall", "ljmp"})
_ENTERS = frozenset({"syscall", "sysenter", "int"})
_SPECIAL = _FAR | _ENTERS | {"ret", ".byte"}


class _Kinds(dict[str, "EffectKind | None"]):
    """The kind of effect by mnemonic: a call, a jump, UNREAD if special, None for all others."""

    def __missing__(self, mnemonic: str) -> EffectKind | None:
        word = WORDS[mnemonic]
        found = EffectKind.UNREAD if word in _SPECIAL else None
        if word == "call":
            found = EffectKind.CALL
        elif word.startswith(("j", "loop")) or word == "xbegin":
            found = EffectKind.JUMP
        return self.setdefault(mnemonic, found)


_KINDS = _Kinds()


class X86(X86Values):
    """An x86 processor in 64-bit or 32-bit mode."""

    number = Register("rax")
    returned_in = c_returned_in = frozenset({"rax", "rdx"})

    def __init__(self, *, bits: int) -> None:
        import capstone  # noqa: PLC0415 - in an extra

        super().__init__(bits // 8)
        self.abi = ABIS["x86_64" if bits == 64 else "i386"]
        self.arguments: tuple[Location, Location] = (Register("rdi"), Register("rsi"))
        if bits == 32:
            self.arguments = Slot("rsp", 0), Slot("rsp", 4)
        # In a register on amd64, on the stack on 386 (Go's src/cmd/compile/abi-internal.md).
        self.go_argument: Location = Register("rax") if bits == 64 else Slot("rsp", 4)
        mode = capstone.CS_MODE_64 if bits == 64 else capstone.CS_MODE_32
        self._quick = capstone.Cs(capstone.CS_ARCH_X86, mode)
        self._quick.skipdata = True
        if bits == 64:  # in 32-bit mode these bytes may be other instructions
            self._quick.skipdata_setup = (".byte", _skipped, None)
        self._detailed = capstone.Cs(capstone.CS_ARCH_X86, mode)
        self._detailed.detail = True
        self._written = lru_cache(maxsize=100_000)(self._written_by)

    def disassemble(self, image: Image, start: int, end: int) -> list[Instruction]:
        """See ``Machine``."""
        return list(self._quick.disasm_lite(image.read(start, end - start), start))

    def events(self, image: Image, code: Sequence[Instruction]) -> Iterator[Effect]:
        """See ``Machine``."""
        absolute = not image.relocatable
        for i, instruction in enumerate(code):
            address, _, mnemonic, operands = instruction
            kind = _KINDS[mnemonic]
            if kind is None:
                if "rip" in operands:
                    yield from self._relative(image, code, i)
            elif kind is EffectKind.UNREAD:
                yield from self._special(code, i)
            elif operands[:1].isdigit():  # most are
                yield Effect(kind, address, int(operands, 0))
                continue
            else:
                yield self._transfer(instruction)
            if absolute and "0x" in operands:
                compares = mnemonic in _COMPARES
                kind = EffectKind.COMPARISON if compares else EffectKind.REFERENCE
                for text in _ABSOLUTE.findall(operands):
                    yield Effect(kind, address, int(text, 16))

    def _transfer(self, instruction: Instruction) -> Effect:
        """Return the effect of a call or jump through a register or a word of memory."""
        address, size, _, operands = instruction
        call = word_of(instruction) == "call"
        if operands.startswith(("ptr [", "fword ptr [")):
            return Effect(EffectKind.UNREAD, address)  # to another code segment
        memory = memory_of(instruction)
        if memory and memory.plain and memory.base == "rip":
            slot = memory.offset + address + size
            return Effect(EffectKind.CALL_SLOT if call else EffectKind.JUMP_SLOT, address, slot)
        if call and operands == KERNEL:
            return Effect(EffectKind.ENTER, address)
        return Effect(EffectKind.INDIRECT_CALL if call else EffectKind.INDIRECT_JUMP, address)

    def _special(self, code: Sequence[Instruction], index: int) -> Iterator[Effect]:
        """Yield the effect of a return, a kernel entry, or a far or undecodable instruction."""
        address, _, _, operands = code[index]
        word = word_of(code[index])
        if word == "ret":
            if index and _sets_return(code[index - 1]):
                yield Effect(EffectKind.INDIRECT_JUMP, address)
        elif word in _FAR or (word == ".byte" and _is_unread(code, index)):
            yield Effect(EffectKind.UNREAD, address)
        elif word in _ENTERS and (word != "int" or operands == "0x80"):
            own = (word == "syscall") == (self.word == 8) or self.word == 4
            yield Effect(EffectKind.ENTER if own else EffectKind.FOREIGN, address)

    def _relative(self, image: Image, code: Sequence[Instruction], index: int) -> Iterator[Effect]:
        """Yield the effect of an operand that is relative to the instruction pointer."""
        address, size, mnemonic, operands = code[index]
        match = _RELATIVE.search(operands)
        if match is None:
            return
        value = (int(match["offset"].replace(" ", "") or "0", 0) + address + size) & _U64
        if mnemonic in _COMPARES or (
            mnemonic in {"lea", "mov"} and is_only_compared(self, code, index)
        ):
            yield Effect(EffectKind.COMPARISON, address, value)
            return
        # The start of the slots is used as a base only with offsets, which movabs loads; else
        # this is the end of the preceding data.
        base = mnemonic == "lea" and any(table.start == value for table in image.slot_tables)
        end = base and not any(one[2] == "movabs" for one in code)
        yield Effect(
            EffectKind.REFERENCE if mnemonic == "lea" and not end else EffectKind.LOAD,
            address,
            value,
        )

    def stub_slot(self, image: Image, address: int) -> int | None:
        """See ``Machine``."""
        match = _STUB.match(image.read(address, 11))
        if match is None:
            return None
        displacement = int.from_bytes(match["displacement"], "little", signed=self.word == 8)
        return displacement + (address + match.end() if self.word == 8 else 0)

    def is_lazy_stub(self, image: Image, jump: int) -> bool:
        """See ``Machine``."""
        return bool(_LAZY_STUB.match(image.read(jump, 16)))

    def entries(
        self,
        image: Image,
        load: Instruction,  # noqa: ARG002 - of one width
        addition: Instruction | None,  # noqa: ARG002 - of one form
        table: int,
        base: int | None,
        function: AddressRange,  # noqa: ARG002 - entries are wide enough to tell
    ) -> Iterator[int]:
        """See ``Machine``."""
        if base is None:
            return word_targets(image, table, self.word)
        return relative_targets(image, table, 4, base)

    def _written_by(self, raw: bytes) -> frozenset[str]:
        """Return the whole registers that an instruction writes, in part or implicitly."""
        decoded: Any = next(self._detailed.disasm(raw, 0), None)
        if decoded is None:
            return frozenset(one.name for one in REGISTERS.values())  # not an instruction
        _, written = decoded.regs_access()
        names = (decoded.reg_name(one) for one in written)
        found = {REGISTERS[name].name for name in names if name in REGISTERS}
        if decoded.mnemonic in {"syscall", "int"}:
            found |= {"rax"} | ({"rcx", "r11"} if decoded.mnemonic == "syscall" else set())
        return frozenset(found)


def _is_unread(code: Sequence[Instruction], index: int) -> bool:
    """Return True if control may reach the undecodable bytes at ``index``.

    Vector instructions that are newer than the disassembler are skipped as a whole.
    """
    if code[index][1] > 1:
        return False
    if index == 0:
        return True
    before = code[index - 1]
    return before[1] > 1 if before[2] == ".byte" else word_of(before) not in STOPS


def _sets_return(instruction: Instruction) -> bool:
    """Return True if ``instruction`` sets the word from which a return takes its address."""
    if instruction[2] == "push":
        return True
    target, _ = first_two(instruction)
    on_top = isinstance(target, Memory) and target.slot == Slot("rsp", 0) and target.size >= 4
    return instruction[2] in {"mov", "xchg"} and on_top


def _skipped(data: Any, size: int, offset: int, user: Any) -> int:  # noqa: ARG001 - capstone's form
    """Return the number of bytes to skip that the disassembler does not know."""
    return vector_length(data[offset : min(size, offset + 16)]) or 1
