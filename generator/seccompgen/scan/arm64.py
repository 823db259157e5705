"""aarch64: where control goes, and where the number of a call came from."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from seccompgen.architectures import ABIS
from seccompgen.scan.machine import (
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
from seccompgen.scan.tables import relative_targets, word_targets
from seccompgen.scan.usage import Frames, is_only_compared

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.scan.image import Image, Span

_NUMBER = re.compile(r"#?(-?(?:0x[0-9a-f]+|\d+))")
_MEMORY = re.compile(
    r"\[(?P<base>\w+)(?:, #(?P<offset>-?\w+))?\](?P<pre>!)?(?:, #(?P<post>-?\w+))?"
)
_REGISTER = re.compile(r"[wx](\d+|zr)|[wx]?sp|fp|lr")
_STOPS = frozenset(
    {"b", "br", "ret", "udf", "brk", "hlt", "retaa", "retab", "braa", "brab", "braaz", "brabz"}
)
_CALLS = frozenset({"bl", "blr", "blraa", "blrab", "blraaz", "blrabz"})
_MAX_BOUND = 4096
_SETS = frozenset({"mov", "adrp", "adr", "ldr"})
_INDEXED = re.compile(r"\[\w+, [wx]\d+")
_STACK = ("sp", "x29")
_STUB_BYTES = 20
_ENTRY_SIZES = {"ldrb": 1, "ldrsb": 1, "ldrh": 2, "ldrsh": 2, "ldr": 4, "ldrsw": 4}
"""How many bytes an entry of a jump table has, by what loads it."""


class _Memory(NamedTuple):
    """An operand in memory; ``moves`` is by how much ``base`` changes, before or after."""

    base: str
    offset: int
    moves: int


def _whole(name: str) -> str:
    """Return the name of all of a register: x0 for w0."""
    if name in {"fp", "lr"}:
        return "x29" if name == "fp" else "x30"
    if name in {"sp", "wsp"}:
        return "sp"
    return f"x{name[1:]}" if _REGISTER.fullmatch(name) else ""


class Arm64:
    """A 64-bit Arm processor, little-endian."""

    abi = ABIS["aarch64"]
    number = Register("x8")
    go_argument: Location = Register("x0")

    def __init__(self) -> None:
        import capstone  # noqa: PLC0415 - in an extra

        self._quick = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
        self._quick.skipdata = True
        self._detailed = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
        self._detailed.detail = True
        self._frames = Frames("sp", 0, self._frame_size, _stack_pointer)
        self._written = lru_cache(maxsize=100_000)(self._written_by)

    def disassemble(self, image: Image, start: int, end: int) -> list[Instruction]:
        """See ``Machine``."""
        start += -start % 4
        return list(self._quick.disasm_lite(image.read(start, end - start), start))

    def events(
        self,
        image: Image,  # noqa: ARG002 - a page says that an address is meant, wherever it is loaded
        code: Sequence[Instruction],
    ) -> Iterator[Event]:
        """See ``Machine``.

        An address is made of a page and the rest; they need not stand together, so every page that
        the function puts into the register counts.
        """
        pages: dict[str, set[int]] = defaultdict(set)
        for _, _, mnemonic, operands in code:
            if mnemonic == "adrp":
                name, _, page = operands.partition(", ")
                pages[_whole(name)].add(_number(page))
        for i, (address, _, mnemonic, operands) in enumerate(code):
            if mnemonic in {"bl", "b"} or mnemonic[:2] == "b.":
                kind = Kind.CALL if mnemonic == "bl" else Kind.JUMP
                yield Event(kind, address, _number(operands))
            elif mnemonic in {"cbz", "cbnz", "tbz", "tbnz"}:
                yield Event(Kind.JUMP, address, _number(operands.rpartition(", ")[2]))
            elif mnemonic in {"br", "braa", "brab", "braaz", "brabz"}:
                yield Event(Kind.INDIRECT_JUMP, address)
            elif mnemonic in {"blr", "blraa", "blrab", "blraaz", "blrabz"}:
                yield Event(Kind.INDIRECT_CALL, address)
            elif mnemonic == "svc":
                yield Event(Kind.ENTER, address)
            elif mnemonic == "adr":
                yield Event(Kind.REFERENCE, address, _number(operands.partition(", ")[2]))
            elif mnemonic in {"cmp", "and", "subs"}:
                last = operands.rpartition(", ")[2]
                if last[:1] == "#" and 0 < _number(last) < _MAX_BOUND:
                    yield Event(Kind.BOUND, address, _number(last))
            elif pages and (mnemonic == "add" or mnemonic[:3] == "ldr"):
                yield from self._reference(code, i, pages)

    @staticmethod
    def _reference(
        code: Sequence[Instruction], index: int, pages: dict[str, set[int]]
    ) -> Iterator[Event]:
        """Yield what ``adrp`` and this ``add`` or ``ldr`` together name."""
        address, _, mnemonic, operands = code[index]
        if mnemonic == "add":
            parts = operands.split(", ")
            if len(parts) != 3 or parts[2][:1] != "#":
                return
            base, offset = _whole(parts[1]), _number(parts[2])
        else:
            memory = _memory(operands)
            if memory is None or memory.moves:
                return
            base, offset = memory.base, memory.offset
        made = Kind.REFERENCE if mnemonic == "add" else Kind.LOAD
        only = is_only_compared(code, index, _SETS, _leaves, _branches)
        kind = Kind.COMPARISON if only else made
        for page in sorted(pages.get(base, ())):
            yield Event(kind, address, page + offset)

    def stops(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in _STOPS

    def returns(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in {"ret", "retaa", "retab"}

    def is_call(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in _CALLS

    def stub_slot(self, image: Image, address: int) -> int | None:
        """See ``Machine``."""
        code = self.disassemble(image, address, address + _STUB_BYTES)
        code = [one for one in code if one[2] not in {"bti", "hint"}]
        if [one[2] for one in code[:4]] != ["adrp", "ldr", "add", "br"]:
            return None
        loads = [one for one in self.events(image, code[:2]) if one.kind is Kind.LOAD]
        goes_there = code[1][3].startswith("x17, [x16") and code[0][3].startswith("x16, ")
        return loads[0].value if loads and goes_there else None

    def is_padding(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in {"nop", "udf"}

    def before(
        self, image: Image, code: Sequence[Instruction], index: int, location: Location
    ) -> Step:
        """See ``Machine``."""
        instruction = code[index]
        if self.is_call(instruction):
            return self._over_call(image, code, instruction, location)
        operands = re.split(r", (?![^[]*\])", instruction[3]) if instruction[3] else []
        if isinstance(location, Slot):
            return self._slot_before(image, code, instruction, operands, location)
        return self._register_before(image, instruction, operands, location)

    def at_caller(self, location: Location) -> Location | None:
        """See ``Machine``."""
        if isinstance(location, Register):
            return location
        return location if location.base == "sp" and location.offset >= 0 else None

    def table_targets(
        self,
        image: Image,
        code: Sequence[Instruction],
        references: Iterable[int],
        bases: Iterable[int],
        most: int,
        function: Span,
        within: Span,
    ) -> Iterator[int]:
        """See ``Machine``."""
        loads = {
            mnemonic: _ENTRY_SIZES[mnemonic]
            for _, _, mnemonic, operands in code
            if mnemonic in _ENTRY_SIZES
            and _INDEXED.search(operands)
            and (operands[0] == "w" or mnemonic == "ldrsw")
        }
        signs = {"sxt" in one[3] for one in code if one[2] == "add" and "xt" in one[3]}
        for table in references:
            yield from word_targets(image, table, 8, most, within)
            if image.is_only_go:
                continue  # whose tables are of whole addresses
            yield from relative_targets(image, table, 4, most, table, within)
            for base in bases:
                for mnemonic, size in (loads or _ENTRY_SIZES).items():
                    # Small entries lead to some place near, whatever they are.
                    limits = within if size == 4 else function
                    for signed in {mnemonic[3:4] == "s"} | signs:
                        yield from relative_targets(
                            image, table, size, most, base, limits, scale=4, signed=signed
                        )

    def _over_call(
        self,
        image: Image,
        code: Sequence[Instruction],
        instruction: Instruction,
        location: Location,
    ) -> Step:
        if isinstance(location, Slot):
            own = instruction[2] == "bl" and image.is_go
            if own and image.function_at(_number(instruction[3])).startswith("runtime.morestack"):
                return Moved((location,))  # which touches nothing that is on the stack
            if self._frames.may_be_written(image, code, location, by_call=True):
                return Lost("a call may have changed it on the stack")
            return Moved((location,))
        preserved = location.name == "sp" or 19 <= int(location.name[1:]) <= 29
        if preserved and not image.is_go:
            return Moved((location,))
        if location.name == "x0":
            return Lost("it is what a call returned")
        return Lost("a call may have changed it")

    def _register_before(
        self, image: Image, instruction: Instruction, operands: list[str], location: Register
    ) -> Step:
        mnemonic = instruction[2]
        target = _whole(operands[0]) if operands else ""
        if target == location.name:
            match mnemonic:
                case "mov" | "movz" | "orr" if operands[1:] and len(operands) == 2:
                    return self._copied(operands[1])
                case "movn" if len(operands) == 2:
                    return Known(~_number(operands[1]))
                case "sxtw" | "uxtw":
                    return Moved((Register(_whole(operands[1])),))
                case "adr" | "adrp":
                    return Known(_number(operands[1]))
                case "add" | "sub" if len(operands) == 3 and operands[2][:1] == "#":
                    source = _whole(operands[1])
                    amount = _number(operands[2])
                    if source and source != "sp":
                        return Moved((Register(source),), amount if mnemonic == "add" else -amount)
                case "ldr" | "ldur" | "ldrsw":
                    return self._loaded(operands[1:])
                case "csel":
                    return self._selected(operands)
        if mnemonic == "ldp" and location.name in {target, _whole(operands[1])}:
            step = 4 if operands[0][0] == "w" else 8
            return self._loaded(operands[2:], 0 if location.name == target else step)
        raw = image.read(instruction[0], instruction[1])
        if location.name in self._written(raw):
            return Lost(f"it is computed ({mnemonic})")
        return Moved((location,))

    @staticmethod
    def _copied(source: str) -> Step:
        if source in {"wzr", "xzr"}:
            return Known(0)
        if source[:1] == "#":
            return Known(_number(source))
        name = _whole(source)
        return Moved((Register(name),)) if name and name != "sp" else Lost("it is computed (mov)")

    def _selected(self, operands: list[str]) -> Step:
        if any(one in {"wzr", "xzr"} for one in operands[1:3]):
            return Lost("it is computed (csel)")
        return Moved(tuple(Register(_whole(one)) for one in operands[1:3]))

    @staticmethod
    def _loaded(operands: list[str], further: int = 0) -> Step:
        memory = _memory(", ".join(operands))
        if memory and memory.base in _STACK:
            return Moved((Slot(memory.base, memory.offset + further),))
        return Lost("it is loaded from memory")

    def _written_by(self, raw: bytes) -> frozenset[str]:
        """Return the registers that an instruction writes, in part or by implication."""
        decoded: Any = next(self._detailed.disasm(raw, 0), None)
        if decoded is None:
            return frozenset({*(f"x{n}" for n in range(31)), "sp"})  # bytes that are none
        _, written = decoded.regs_access()
        found = {_whole(decoded.reg_name(one)) for one in written}
        return frozenset(found | ({"x0"} if decoded.mnemonic == "svc" else set()))

    def _slot_before(
        self,
        image: Image,
        code: Sequence[Instruction],
        instruction: Instruction,
        operands: list[str],
        slot: Slot,
    ) -> Step:
        mnemonic = instruction[2]
        memory = _memory(instruction[3])
        if mnemonic[:2] == "st" and "[" in instruction[3]:
            return self._after_store(image, code, instruction, operands, slot)
        if memory and memory.moves and memory.base == slot.base:
            return Moved((Slot(slot.base, slot.offset + memory.moves),))
        if operands and _whole(operands[0]) == slot.base:
            if mnemonic in {"add", "sub"} and operands[2:] and operands[2][:1] == "#":
                source, amount = _whole(operands[1]), _number(operands[2])
                if source in _STACK and len(operands) == 3:
                    amount = amount if mnemonic == "add" else -amount
                    return Moved((Slot(source, slot.offset + amount),))
            if mnemonic == "mov" and _whole(operands[1]) in _STACK:
                return Moved((Slot(_whole(operands[1]), slot.offset),))
        raw = image.read(instruction[0], instruction[1])
        if slot.base in self._written(raw):
            return Lost(f"the stack pointer is computed ({mnemonic})")
        return Moved((slot,))

    def _after_store(
        self,
        image: Image,
        code: Sequence[Instruction],
        instruction: Instruction,
        operands: list[str],
        slot: Slot,
    ) -> Step:
        mnemonic = instruction[2]
        memory = _memory(instruction[3])
        if memory is None or memory.base not in _STACK:
            if self._frames.may_be_written(image, code, slot, by_call=False):
                return Lost("a store may have changed it on the stack")
            return Moved((slot,))
        if memory.base != slot.base:
            return Lost("a store may have changed it on the stack")
        stored = [one for one in operands if "[" not in one and one[:1] != "#"]
        width = _width(stored[-1] if stored else "", mnemonic)
        # Before or after, the slot counts from where the base was when the instruction began.
        place = slot.offset + memory.moves
        offset = memory.offset
        names = stored[-2:] if mnemonic == "stp" else stored[-1:]
        for i, name in enumerate(names):
            start = offset + i * width
            if start == place and width in {4, 8} and mnemonic in {"str", "stur", "stp"}:
                return self._copied(name)
            if start < place + 4 and place < start + width:
                return Lost("a part of it is set alone")
        return Moved((Slot(slot.base, place),))

    @staticmethod
    def _frame_size(code: Sequence[Instruction]) -> int:
        """Return how far a function's prologue moves the stack pointer, in bytes."""
        for _, _, mnemonic, operands in code:
            if mnemonic == "sub" and operands[:8] == "sp, sp, " and operands[8:9] == "#":
                return _number(operands[8:])
            memory = _memory(operands)
            if mnemonic[:2] == "st" and memory and memory.base == "sp" and memory.moves < 0:
                return -memory.moves
            if mnemonic in _CALLS:
                break
        return 0


def _stack_pointer(instruction: Instruction) -> Slot | None:
    """Return where the pointer to the stack points that ``instruction`` makes, if it does."""
    _, _, mnemonic, operands = instruction
    parts = operands.split(", ")
    if mnemonic not in {"add", "sub", "mov"} or len(parts) < 2 or _whole(parts[0]) in _STACK:
        return None
    base = _whole(parts[1])
    if base not in _STACK:
        return None
    if mnemonic == "mov":
        return Slot(base, 0)
    amount = _number(parts[2]) if parts[2][:1] == "#" and len(parts) == 3 else None
    if amount is None:
        return Slot("", 0)
    return Slot(base, amount if mnemonic == "add" else -amount)


def _leaves(instruction: Instruction) -> bool:
    return instruction[2] in {"bl", "blr", "ret", "svc"}


def _branches(instruction: Instruction) -> bool:
    return instruction[2][0] == "b" or instruction[2] in {"cbz", "cbnz", "tbz", "tbnz"}


def _memory(operands: str) -> _Memory | None:
    """Return the operand in memory whose address is a register and a number."""
    match = _MEMORY.search(operands)
    base = _whole(match["base"]) if match else ""
    if not match or not base:
        return None
    offset = int(match["offset"] or "0", 0)
    if match["pre"]:
        return _Memory(base, offset, offset)
    if match["post"]:
        return _Memory(base, 0, int(match["post"], 0))
    return _Memory(base, offset, 0)


def _width(name: str, mnemonic: str) -> int:
    """Return how many bytes a store of register ``name`` writes."""
    if mnemonic.endswith("b"):
        return 1
    if mnemonic.endswith("h"):
        return 2
    return {"w": 4, "s": 4, "q": 16, "b": 1, "h": 2}.get(name[:1], 8)


def _number(text: str) -> int:
    match = _NUMBER.fullmatch(text.strip())
    return int(match[1], 0) if match else -1
