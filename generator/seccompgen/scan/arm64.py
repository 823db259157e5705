"""aarch64: the effects of code that matter outside its function."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.scan.arm64_instructions import (
    CALLS,
    ENTRY_SIZES,
    STOPS,
    memory_operand,
    number,
    whole,
)
from seccompgen.scan.arm64_pages import PageFlow, parts_of
from seccompgen.scan.arm64_values import Arm64Values
from seccompgen.scan.arm64_words import Words
from seccompgen.scan.endless import NO_RETURN
from seccompgen.scan.jump_tables import relative_targets, word_targets
from seccompgen.scan.processor import (
    Effect,
    EffectKind,
    Instruction,
    Location,
    Register,
)
from seccompgen.scan.stack_escape import is_only_compared
from seccompgen.scan.ways import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.scan.image import AddressRange, Image

_EXTENDED = re.compile(r", (?:lsl|[su]xt[bhwx])(?: #(?P<shift>\d+))?$")
_STUB_BYTES = 20
_BY_REGISTER = b"\x1f\xd6"
"""The last bytes of each jump to an address in a register."""
_BTI_C, _ADRP_X16 = b"\x5f\x24\x03\xd5", 0x90000010
"""The beginning of an import's stub, or of the way to a far function: only linkers use x16 so."""
_PART_BYTES = 4096
"""The bytes of code that are looked at outside a function that jumps there."""
_STUB = re.compile(
    r"adrp x16, #\w+\nldr x17, \[x16(?:, (?P<slot>#\w+))?\]\nadd x16, x16, (?P<also>#\w+)\nbr x17"
)


class _Kinds(dict[str, "EffectKind | None"]):
    """The kind of effect by mnemonic: LOAD if a page may be part of it, UNREAD if special."""

    def __missing__(self, mnemonic: str) -> EffectKind | None:
        found = None
        if mnemonic in CALLS:
            found = EffectKind.CALL if mnemonic == "bl" else EffectKind.INDIRECT_CALL
        elif mnemonic in {"b", "cbz", "cbnz", "tbz", "tbnz"} or mnemonic.startswith(("b.", "bc.")):
            found = EffectKind.JUMP
        elif mnemonic in {"br", "braa", "brab", "braaz", "brabz"}:
            found = EffectKind.INDIRECT_JUMP
        elif mnemonic == "svc":
            found = EffectKind.ENTER
        elif mnemonic in {"adr", "ret", ".byte", "movk"}:
            found = EffectKind.UNREAD
        elif mnemonic == "add" or mnemonic.startswith("ldr"):
            found = EffectKind.LOAD
        return self.setdefault(mnemonic, found)


_KINDS = _Kinds()


class Arm64(Arm64Values):
    """A 64-bit Arm processor, little-endian."""

    abi = ABIS["aarch64"]
    number = Register("x8")
    returned_in = frozenset(f"x{n}" for n in range(8))
    c_returned_in = frozenset({"x0", "x1"})  # AAPCS64: what is larger is in memory
    arguments: tuple[Location, Location] = (Register("x0"), Register("x1"))
    go_argument: Location = Register("x0")

    def __init__(self) -> None:
        import capstone  # noqa: PLC0415 - in an extra

        super().__init__()
        quick = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
        quick.skipdata = True
        self._words = Words(quick)

    def disassemble(self, image: Image, start: int, end: int) -> list[Instruction]:
        """See ``Machine``."""
        start += -start % 4
        code = self._words.read(image.read(start, end - start), start)
        if image.lost_calls:  # what is called is not there, so control ends as in a fault
            return [(*one[:2], "brk", "#0") if one[0] in image.lost_calls else one for one in code]
        return code

    def events(
        self,
        image: Image,
        code: Sequence[Instruction],
    ) -> Iterator[Effect]:
        """See ``Machine``.

        Two instructions, which need not be adjacent, make an address of a page and an offset.
        """
        flow = PageFlow(
            code,
            lambda call, register: self._may_keep(image, call, register),
            image.pads,
            lambda target: self._part(image, target),
            whole=bool(code) and _is_function(image, code[0][0], code[-1][0] + code[-1][1]),
        )
        for place, page in flow.carried:
            yield Effect(EffectKind.PAGE, place, page)
        for i, (address, _, mnemonic, operands) in enumerate(code):
            kind = _KINDS[mnemonic]
            if kind is None:
                continue
            if kind is EffectKind.CALL or kind is EffectKind.JUMP:
                yield Effect(kind, address, number(operands.rpartition(", ")[2]))
            elif kind is EffectKind.LOAD:
                if flow.pages:
                    yield from self._reference(image, code, i, flow)
            elif kind is EffectKind.UNREAD:
                yield from _special(image, code, i)
            else:
                yield Effect(kind, address)

    def _part(self, image: Image, target: int) -> Sequence[Instruction] | None:
        """Return the code at ``target``; None if no part of the function that jumps there."""
        if _is_stub(image, target):
            return None
        return self.disassemble(image, target, target + _PART_BYTES)

    def _may_keep(self, image: Image, call: Instruction, register: str) -> bool:
        """Return True if ``call`` may leave ``register`` as it is, by what a compiler may know.

        It knows nothing of what another file has, or a pointer leads to, but if it never returns.
        """
        if image.is_go or register in self.c_returned_in:
            return False
        if call[2] != "bl" or not _is_stub(image, number(call[3])):
            return call[2] == "bl" or self.preserves(image, register)
        slot = self.stub_slot(image, number(call[3]))
        never_returns = slot is not None and image.slots.get(slot) in NO_RETURN
        return not never_returns and self.preserves(image, register)

    def _reference(
        self, image: Image, code: Sequence[Instruction], index: int, flow: PageFlow
    ) -> Iterator[Effect]:
        """Yield references or loads that ``adrp`` and this ``add`` or ``ldr`` make together.

        The address of a slot that an import's stub puts into x16 is for the loader's code, which
        finds the import there if nothing has called it before; others do not read x16 (AAPCS64).
        """
        address, _, mnemonic, operands = code[index]
        if mnemonic == "add":
            parts = operands.split(", ")
            if len(parts) != 3 or parts[2][:1] != "#":
                return
            base, offset = whole(parts[1]), number(parts[2])
            if parts[0][0] == "w" and image.relocatable:
                return  # such a file is loaded above addresses that fit half a word
            if parts[0] == "x16" and _STUB.fullmatch(_text(code, index)):
                return
        else:
            memory = memory_operand(operands)
            if memory is None or memory.moves:
                return
            base, offset = memory.base, memory.offset
        pages = flow.at(index, base)
        if not pages:
            return
        made = EffectKind.REFERENCE if mnemonic == "add" else EffectKind.LOAD
        only = is_only_compared(self, code, index)
        kind = EffectKind.COMPARISON if only else made
        for page in sorted(pages):
            yield Effect(kind, address, page + offset)

    def stub_slot(self, image: Image, address: int) -> int | None:
        """See ``Machine``."""
        if _BY_REGISTER not in image.read(address, _STUB_BYTES):
            return None
        code = self.disassemble(image, address, address + _STUB_BYTES)
        code = [one for one in code if one[2] not in {"bti", "hint"}]
        if [one[2] for one in code[:4]] != ["adrp", "ldr", "add", "br"]:
            return None
        loads = [one for one in self.events(image, code[:2]) if one.kind is EffectKind.LOAD]
        goes_there = code[1][3].startswith("x17, [x16") and code[0][3].startswith("x16, ")
        return loads[0].value if loads and goes_there else None

    def is_lazy_stub(self, image: Image, jump: int) -> bool:  # noqa: ARG002 - jumps by x17
        """See ``Machine``."""
        return False

    def entries(
        self,
        image: Image,
        load: Instruction,
        addition: Instruction | None,
        table: int,
        base: int | None,
        function: AddressRange,
    ) -> Iterator[int]:
        """See ``Machine``."""
        if base is None or addition is None:
            return word_targets(image, table, 8)
        size = 8 if load[2] == "ldr" and load[3][0] == "x" else ENTRY_SIZES[load[2]]
        signed = load[2][3:4] == "s" or "sxt" in addition[3]
        # GCC extends what it adds, "w3, sxth #2"; LLVM only shifts it, "x3, lsl #2".
        extended = _EXTENDED.search(addition[3])
        if addition[3].count(", ") > 2 and not extended:
            return iter(())
        scale = 1 << int(extended["shift"] or 0) if extended else 1
        targets = relative_targets(image, table, size, base, scale=scale, signed=signed)
        return targets if size >= 4 else takewhile(function.contains, targets)


def _special(image: Image, code: Sequence[Instruction], index: int) -> Iterator[Effect]:
    """Yield the effect of a return, a whole address, or a word that is not decoded."""
    address, _, mnemonic, operands = code[index]
    if mnemonic == "adr":
        value = number(operands.partition(", ")[2])
        # A page of slots: only its slots are taken that are loaded, as with adrp.
        if value % PAGE or not any(one.contains(value) for one in image.slot_tables):
            yield Effect(EffectKind.REFERENCE, address, value)
    elif mnemonic == "ret":
        if _return_register(code, index):
            yield Effect(EffectKind.INDIRECT_JUMP, address)
    elif mnemonic == ".byte":
        if _is_unread(image, code, index):
            yield Effect(EffectKind.UNREAD, address)
    elif not image.relocatable:
        yield from parts_of(code, index)


def _is_stub(image: Image, address: int) -> bool:
    """Return True if the code at ``address`` is a linker's, on the way to another function."""
    start = image.read(address, 8).removeprefix(_BTI_C)
    return int.from_bytes(start[:4], "little") & 0x9F00001F == _ADRP_X16


def _is_function(image: Image, start: int, end: int) -> bool:
    """Return True if the code from ``start`` to ``end`` is no part of another function."""
    return image.starts_function(start) and (not image.in_code(end) or image.starts_function(end))


def _text(code: Sequence[Instruction], index: int) -> str:
    """Return the instructions of an import's stub whose address of the slot is ``code[index]``."""
    return "\n".join(f"{one[2]} {one[3]}" for one in code[max(index - 2, 0) : index + 2])


def _return_register(code: Sequence[Instruction], index: int) -> bool:
    """Return True if the return at ``index`` jumps to a target that the function itself sets."""
    operands = code[index][3]
    if operands and whole(operands) != "x30":
        return True
    before = code[index - 1] if index else code[index]
    return before[2] in {"mov", "add", "sub", "orr"} and before[3][:3] in {"x30", "lr,"}


def _is_unread(image: Image, code: Sequence[Instruction], index: int) -> bool:
    """Return True if control may reach the undecodable word at ``index``, and it may be a branch.

    All branches and kernel entries are in one group of encodings (Arm ARM, C4.1).
    """
    place, size, _, _ = code[index]
    word = int.from_bytes(image.read(place, 4), "little")
    branches = size < 4 or word >> 26 & 7 == 5
    return branches and (index == 0 or code[index - 1][2] not in STOPS)
