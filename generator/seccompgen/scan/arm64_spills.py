"""The words of the stack in which an aarch64 function keeps pages, by their offset from sp."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from seccompgen.scan.arm64_instructions import memory_operand, number, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.scan.arm64_instructions import BaseOffset
    from seccompgen.scan.processor import Instruction

_WORD = 8
_WIDTHS = {"w": 4, "s": 4, "q": 16}
_WHOLE_LOADS = frozenset({"ldr", "ldur", "ldp"})
_WHOLE_STORES = frozenset({"str", "stur", "stp"})


class SpilledPages:
    """The words of the stack of the function ``code``."""

    def __init__(self, code: Sequence[Instruction]) -> None:
        self._code = code

    def stored(self, mnemonic: str, operands: str, register: str) -> list[int]:
        """Return the words in which a store keeps the whole of ``register``; none if elsewhere."""
        memory = memory_operand(operands)
        offset = self._offset(memory)
        if mnemonic not in _WHOLE_STORES or offset is None or not memory or memory.moves:
            return []
        names = _named(operands)
        if any(whole(one) == register and one[0] == "w" for one in names):
            return []
        return [offset + _WORD * i for i, one in enumerate(names) if whole(one) == register]

    def holders(self, mnemonic: str, operands: str, word: int) -> Sequence[str | int] | None:
        """Return what holds the content of ``word`` after an instruction; None if unknown."""
        memory = memory_operand(operands)
        moved = self._moved(mnemonic, operands, memory)
        names = _named(operands)
        offset = self._offset(memory)
        found: list[str | int] = [word]
        if memory and memory.base == "x29" and self._frame is None and self._has_frame:
            return None
        if offset is not None and mnemonic[:2] in {"ld", "st"}:
            width = _WIDTHS.get(names[0][0], _WORD) if names else 2 * _WORD
            places = {offset + width * i: one for i, one in enumerate(names)}
            if mnemonic in _WHOLE_STORES and width == _WORD and word in places:
                found = []
            elif mnemonic in _WHOLE_LOADS and width == _WORD and word in places:
                found.append(whole(places[word]))
            elif mnemonic[:2] == "ld" and any(
                word - width < one < word + _WORD for one in places or (offset,)
            ):
                return None
        if moved == 0 or not found:
            return found
        return None if moved is None or word >= moved else [one for one in found if one != word]

    def _moved(self, mnemonic: str, operands: str, memory: BaseOffset | None) -> int | None:
        """Return by how much an instruction frees the stack; None if it changes it otherwise."""
        if memory:
            moves = memory.moves if memory.base == "sp" else 0
            return moves if moves >= 0 else None
        parts = operands.split(", ")
        if whole(parts[0]) != "sp" or mnemonic in {"cmp", "cmn"}:
            return 0
        if mnemonic == "add" and parts[1] == "sp" and parts[2][:1] == "#" and len(parts) == 3:
            return number(parts[2])
        return None

    def _offset(self, memory: BaseOffset | None) -> int | None:
        """Return the offset from sp of an operand; None if it is not in the stack."""
        if memory is None:
            return None
        if memory.base == "sp":
            return memory.offset
        if memory.base == "x29" and self._frame is not None:
            return self._frame + memory.offset
        return None

    @cached_property
    def _has_frame(self) -> bool:
        return any(_frame_set(one) is not None for one in self._code)

    @cached_property
    def _frame(self) -> int | None:
        """The distance of x29 from sp once both are set; None if there is not one."""
        found: int | None = None
        for instruction in self._code:
            _, _, mnemonic, operands = instruction
            new = _frame_set(instruction)
            if new is not None:
                if found is not None:
                    return None
                found = new
            elif (
                found is not None
                and self._moved(mnemonic, operands, memory_operand(operands)) is None
            ):
                parts = operands.split(", ")
                if (
                    mnemonic != "sub"
                    or parts[1:2] != ["sp"]
                    or len(parts) != 3
                    or parts[2][0] != "#"
                ):
                    return None
                found += number(parts[2])
        return found


def _named(operands: str) -> list[str]:
    """Return the registers that a load or store names before its operand in memory."""
    return [one for one in operands.partition("[")[0].split(", ") if one]


def _frame_set(instruction: Instruction) -> int | None:
    """Return by how much x29 is above sp after ``instruction``; None if that does not set it so."""
    _, _, mnemonic, operands = instruction
    parts = operands.split(", ")
    if len(parts) < 2 or whole(parts[0]) != "x29" or parts[1] != "sp":
        return None
    if mnemonic == "mov":
        return 0
    return number(parts[2]) if mnemonic == "add" and parts[2][:1] == "#" else None
