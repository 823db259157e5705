"""aarch64: where control goes, and where the number of a call came from."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from itertools import takewhile
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
    Sum,
    TableLoad,
)
from seccompgen.scan.tables import relative_targets, word_targets
from seccompgen.scan.unknown import Why
from seccompgen.scan.usage import Frames, is_only_compared

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.scan.image import Image, Span

_NUMBER = re.compile(r"#?(-?(?:0x[0-9a-f]+|\d+))")
_MEMORY = re.compile(
    r"\[(?P<base>\w+)(?:, #(?P<offset>-?\w+))?\](?P<pre>!)?(?:, #(?P<post>-?\w+))?"
)
_WORD = re.compile(r"[a-z]\w*")
_REGISTER = re.compile(r"[wx](\d+|zr)|[wx]?sp|fp|lr")
_CONDITIONS = (
    *("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc"),
    *("hi", "ls", "ge", "lt", "gt", "le", "al", "nv"),
)
_KEYS = ["ia", "ib", "da", "db", "iza", "izb", "dza", "dzb", "i", "d"]
_STOPS = frozenset(
    {"b", "br", "ret", "udf", "brk", "hlt", "retaa", "retab", "braa", "brab", "braaz", "brabz"}
)
_GOES = frozenset({"b", "cbz", "cbnz", "tbz", "tbnz"} | {f"b.{one}" for one in _CONDITIONS})
_SIGNS = frozenset(f"{what}{which}" for what in ("pac", "aut", "xpac") for which in _KEYS)
"""Sign a pointer, check that, or take it off again."""
_CALLS = frozenset({"bl", "blr", "blraa", "blrab", "blraaz", "blrabz"})
_COMPARES = frozenset({"cmp", "cmn", "tst", "ccmp", "ccmn"})
"""What writes no register, whatever the disassembler says of its first."""
_SETS = frozenset({"mov", "adrp", "adr", "ldr"})
_INDEXED = re.compile(r"\[(?P<base>\w+), (?P<index>[wx]\d+)")
_UNSIGNED = frozenset({"b.hi", "b.ls", "b.hs", "b.lo"})
"""Branches on which of two numbers without a sign is larger."""
_KEEPS_FLAGS = frozenset({"mov", "adrp", "adr", "add", "ldr", "nop", "movz", "sub"})
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
        image: Image,
        code: Sequence[Instruction],
    ) -> Iterator[Event]:
        """See ``Machine``.

        An address is made of a page and the rest; they need not stand together, so every page that
        the function puts into the register counts.
        """
        pages = _pages_of(code)
        for place, page in _carried(code, pages):
            yield Event(Kind.PAGE, place, page)
        for i, (address, _, mnemonic, operands) in enumerate(code):
            if mnemonic in {"bl", "b"} or mnemonic[:2] == "b." or mnemonic[:3] == "bc.":
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
            elif mnemonic == "ret":
                if _return_register(code, i):
                    yield Event(Kind.INDIRECT_JUMP, address)
            elif mnemonic == ".byte":
                if _is_unread(image, code, i):
                    yield Event(Kind.UNREAD, address)
            elif mnemonic == "movk" and not image.relocatable:
                yield from _parts(code, i)
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

    def target(self, instruction: Instruction) -> Location | None:
        """See ``Machine``."""
        return Register(_whole(instruction[3].partition(", ")[0]) or "x30")

    def summands(self, instruction: Instruction, location: Location) -> tuple[Location, ...] | None:
        """See ``Machine``."""
        parts = instruction[3].split(", ")
        names = [_whole(part) for part in parts]
        if instruction[2] == "csel" and location == Register(names[0]) and "xzr" in parts:
            return tuple(Register(one) for one in names[1:3] if one != "xzr")  # or null
        if instruction[2] != "add" or len(parts) != 3 or location != Register(names[0]):
            return None
        if not all(names) or parts[0][0] != "x":
            return None
        return Register(names[1]), Register(names[2])

    def is_half(self, instruction: Instruction, location: Location) -> bool:
        """See ``Machine``."""
        half = instruction[3][:1] == "w" and self.sets(instruction)
        return bool(half) and location == Register(str(half))

    def as_sum(
        self,
        image: Image,  # noqa: ARG002
        instruction: Instruction,  # noqa: ARG002
        register: str,  # noqa: ARG002
    ) -> Sum | None:
        """See ``Machine``; no library is known that jumps so."""
        return None

    def sets(self, instruction: Instruction) -> str:
        """See ``Machine``."""
        if instruction[2][:2] in {"st", "cm", "cb", "tb", "b."}:
            return ""
        return _whole(instruction[3].partition(", ")[0])

    def dies(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in {"udf", "brk", "hlt"}

    def mentions(self, instruction: Instruction, register: str) -> bool:
        """See ``Machine``."""
        return any(_whole(one) == register for one in _WORD.findall(instruction[3]))

    def is_comparison(self, instruction: Instruction) -> bool:
        """See ``Machine``."""
        return instruction[2] in {*_COMPARES, "cbz", "cbnz", "tbz", "tbnz"}

    def only_sets(self, instruction: Instruction, register: str) -> bool:
        """See ``Machine``."""
        first, _, rest = instruction[3].partition(", ")
        others = {_whole(one) for one in _WORD.findall(rest)}
        if instruction[2] == "ldp":
            return "[" in rest and register not in {
                _whole(one) for one in _WORD.findall(rest.partition("[")[2])
            }
        return _whole(first) == register and instruction[2] in _SETS and register not in others

    def copied(self, instruction: Instruction) -> str | None:
        """See ``Machine``."""
        if instruction[2] not in {"mov", "uxtw", "sxtw", "uxtb", "uxth", "ubfiz"}:
            return None
        return _whole(instruction[3].split(", ")[1]) or None

    def compared(self, code: Sequence[Instruction], index: int) -> tuple[str, int] | None:
        """See ``Machine``."""
        _, _, mnemonic, operands = code[index]
        parts = operands.split(", ")
        last = _number(parts[-1]) if parts[-1][:1] == "#" else -1
        if last < 0:
            return None
        if mnemonic == "and" and len(parts) == 3:
            return _whole(parts[0]), last
        if mnemonic == "cmp" and len(parts) == 2:
            following = (one[2] for one in code[index + 1 :] if one[2] not in _KEEPS_FLAGS)
            if next(following, "") in _UNSIGNED:
                return _whole(parts[0]), last
        return None

    def table_load(self, instruction: Instruction) -> TableLoad | None:
        """See ``Machine``."""
        match = _INDEXED.search(instruction[3])
        if match is None or instruction[2] not in _ENTRY_SIZES:
            return None
        return TableLoad(_whole(match["base"]), _whole(match["index"]))

    def tables(
        self,
        image: Image,
        code: Sequence[Instruction],
        references: Iterable[int],
        bases: Iterable[int],
        function: Span,
    ) -> Iterator[Iterator[int]]:
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
            yield word_targets(image, table, 8)
            if image.is_only_go:
                continue  # whose tables are of whole addresses
            yield relative_targets(image, table, 4, table)
            for base in bases:
                for mnemonic, size in loads.items():
                    for signed in {mnemonic[3:4] == "s"} | signs:
                        targets = relative_targets(image, table, size, base, scale=4, signed=signed)
                        # Small entries lead to some place near, whatever they are.
                        yield targets if size == 4 else takewhile(function.contains, targets)

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
                return Lost(Why.STORED)
            return Moved((location,))
        preserved = location.name == "sp" or 19 <= int(location.name[1:]) <= 29
        if preserved and not image.is_go:
            return Moved((location,))
        if location.name == "x0":
            return Lost(Why.RETURNED)
        return Lost(Why.CHANGED)

    def _register_before(
        self, image: Image, instruction: Instruction, operands: list[str], location: Register
    ) -> Step:
        mnemonic = instruction[2]
        target = _whole(operands[0]) if operands else ""
        if mnemonic in _COMPARES:
            return Moved((location,))
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
                    found = self._loaded(operands[1:])
                    narrow = mnemonic == "ldrsw" or operands[0][0] == "w"
                    return Lost(Why.NARROW) if isinstance(found, Lost) and narrow else found
                case "eor" | "ror" if len(operands) == 3:
                    return Lost(Why.DECODED, mnemonic)
                case _ if mnemonic in _SIGNS:
                    return Moved((location,))
                case "csel":
                    return self._selected(operands)
        if mnemonic == "ldp" and location.name in {target, _whole(operands[1])}:
            step = 4 if operands[0][0] == "w" else 8
            return self._loaded(operands[2:], 0 if location.name == target else step)
        raw = image.read(instruction[0], instruction[1])
        if location.name in self._written(raw):
            return Lost(Why.COMPUTED, mnemonic)
        return Moved((location,))

    @staticmethod
    def _copied(source: str) -> Step:
        if source in {"wzr", "xzr"}:
            return Known(0)
        if source[:1] == "#":
            return Known(_number(source))
        name = _whole(source)
        return Moved((Register(name),)) if name and name != "sp" else Lost(Why.COMPUTED, "mov")

    def _selected(self, operands: list[str]) -> Step:
        if any(one in {"wzr", "xzr"} for one in operands[1:3]):
            return Lost(Why.COMPUTED, "csel")
        return Moved(tuple(Register(_whole(one)) for one in operands[1:3]))

    @staticmethod
    def _loaded(operands: list[str], further: int = 0) -> Step:
        memory = _memory(", ".join(operands))
        if memory and memory.base in _STACK:
            return Moved((Slot(memory.base, memory.offset + further),))
        return Lost(Why.MEMORY)

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
            return Lost(Why.NO_STACK, mnemonic)
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
                return Lost(Why.STORED)
            return Moved((slot,))
        if memory.base != slot.base:
            return Lost(Why.STORED)
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
                return Lost(Why.PART)
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


def _pages_of(code: Sequence[Instruction]) -> dict[str, set[int]]:
    """Return the pages that ``adrp`` puts into each register."""
    pages: dict[str, set[int]] = defaultdict(set)
    for _, _, mnemonic, operands in code:
        if mnemonic == "adrp":
            name, _, page = operands.partition(", ")
            pages[_whole(name)].add(_number(page))
    return pages


def _carried(code: Sequence[Instruction], pages: dict[str, set[int]]) -> Iterator[tuple[int, int]]:
    """Yield the pages that a function does not only load from, or add to: by place.

    They may be in another register then, or in another function, when the rest is added.
    """
    if not pages:
        return
    end = code[-1][0] + code[-1][1]
    for i, (place, _, mnemonic, operands) in enumerate(code):
        if mnemonic == "adrp":
            name, _, page = operands.partition(", ")
            if _is_carried(code, i, _whole(name), end):
                yield place, _number(page)


def _is_carried(code: Sequence[Instruction], index: int, register: str, end: int) -> bool:
    word = re.compile(rf"\b[wx]{register[1:]}\b")
    for _, _, mnemonic, operands in code[index + 1 :]:
        if mnemonic in {"ret", "br"}:
            return bool(word.search(operands))
        if mnemonic in _GOES:
            # What is called gets no halves of addresses, but a part laid elsewhere may.
            target = _number(operands.rpartition(", ")[2])
            if not code[0][0] <= target < end:
                return True
            if mnemonic == "b":
                return False  # how it goes on elsewhere in the function, the rest of it shows
            continue
        if not word.search(operands):
            continue
        first, _, rest = operands.partition(", ")
        memory = _memory(operands)
        based = memory is not None and memory.base == register and not memory.moves
        if mnemonic[:2] == "st" and based:
            if word.search(operands.partition("[")[0]):
                return True
            continue
        added = mnemonic == "add" and rest.count(", ") == 1 and ", #" in rest
        if (
            word.search(rest)
            and not (mnemonic[:3] in {"ldr", "ldp", "prf"} and based)
            and not added
        ):
            return True
        if _whole(first) == register or (mnemonic == "ldp" and word.search(rest.partition(",")[0])):
            return False
    return False


def _parts(code: Sequence[Instruction], index: int) -> Iterator[Event]:
    """Yield the number that ``movz`` and some ``movk`` put together, the last at ``index``."""
    register = _whole(code[index][3].partition(", ")[0])
    value, known = 0, 0
    for _, _, mnemonic, operands in reversed(code[: index + 1]):
        parts = operands.split(", ")
        if _whole(parts[0]) != register:
            continue
        if mnemonic not in {"movk", "movz", "mov"} or parts[1][:1] != "#":
            return
        shift = _number(parts[2].removeprefix("lsl ")) if len(parts) > 2 else 0
        if mnemonic != "movk":
            value |= _number(parts[1]) & ~known
            break
        value |= (_number(parts[1]) << shift) & ~known
        known |= 0xFFFF << shift
    yield Event(Kind.REFERENCE, code[index][0], value)


def _return_register(code: Sequence[Instruction], index: int) -> bool:
    """Return True if the return at ``index`` goes where the function says, not the caller."""
    operands = code[index][3]
    if operands and _whole(operands) != "x30":
        return True
    before = code[index - 1] if index else code[index]
    return before[2] in {"mov", "add", "sub", "orr"} and before[3][:3] in {"x30", "lr,"}


def _is_unread(image: Image, code: Sequence[Instruction], index: int) -> bool:
    """Return True if control may run into the word there, which no instruction is known for.

    Whatever goes elsewhere, or enters the kernel, is in one group of encodings (Arm ARM, C4.1).
    """
    place, size, _, _ = code[index]
    word = int.from_bytes(image.read(place, 4), "little")
    branches = size < 4 or word >> 26 & 7 == 5
    return branches and (index == 0 or code[index - 1][2] not in _STOPS)


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
