"""Words that pass through x86's vector registers, as compilers copy structures of two words.

A half of a register is a location of its own: ``Register("xmm0+8")`` is the upper word of xmm0.
Only loads, stores and moves of whole words are followed; after all else the word is lost.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.scan.processor import KnownValue, Lost, Moved, Register, Step
from seccompgen.scan.unknown import Why
from seccompgen.scan.x86_operands import Memory, Reg, memory_of, operands_of, word_of

if TYPE_CHECKING:
    from seccompgen.scan.processor import Instruction, Slot

_WHOLE = frozenset({"movdqu", "movdqa", "movups", "movaps", "movupd", "movapd", "lddqu"})
_VECTOR = re.compile(r"[xyz](mm\d+)\b")
_CHANGES_ALL = ("vzero", "fxrstor", "xrstor", "xsetbv")
_LOST = Lost(Why.PART)


def is_half(register: str) -> bool:
    """Return True if ``register`` is a half of a vector register."""
    return register.startswith("xmm")


def stored_half(instruction: Instruction, memory: Memory, slot: Slot) -> Register | None:
    """Return the half of a vector that a store to ``memory`` puts into ``slot``; None for none."""
    word, source = word_of(instruction), instruction[3].rpartition(", ")[2]
    within = slot.offset - memory.offset
    if not re.fullmatch(r"xmm\d+", source):
        return None
    if word in _WHOLE and memory.size == 16 and within in {0, 8}:
        return Register(f"{source}+{within}")
    if word in {"movq", "movlps", "movhps"} and memory.size == 8 and within == 0:
        return Register(f"{source}+{8 if word == 'movhps' else 0}")
    return None


def half_before(instruction: Instruction, location: Register) -> Step:
    """Return the origin, before ``instruction``, of a half of a vector register after it."""
    word, (name, half) = word_of(instruction), location.name.split("+")
    target, _, source = instruction[3].partition(", ")
    if word == "call":
        return Lost(Why.CHANGED)
    if word.startswith(_CHANGES_ALL):
        return _LOST
    match = _VECTOR.fullmatch(target)
    if match is None or f"x{match[1]}" != name:
        return Moved((location,))
    if target != name:
        return _LOST
    if word in _WHOLE:
        return _word(instruction, source, int(half))
    if word == "movq":
        return KnownValue(0) if half == "8" else _word(instruction, source, 0)
    if word in {"movhps", "punpcklqdq"}:
        return Moved((location,)) if half == "0" else _word(instruction, source, 0)
    if word in {"pxor", "xorps"} and source == name:
        return KnownValue(0)
    return _LOST


def _word(instruction: Instruction, source: str, offset: int) -> Step:
    """Return the word at ``offset`` in the source of a load or move."""
    if re.fullmatch(r"xmm\d+", source):
        return Moved((Register(f"{source}+{offset}"),))
    memory = memory_of(instruction)
    if memory is None:
        register = operands_of(instruction)[1]
        whole = isinstance(register, Reg) and register.bits == 64
        return Moved((Register(register.name),)) if whole and isinstance(register, Reg) else _LOST
    moved = memory._replace(offset=memory.offset + offset).slot
    return Moved((moved,)) if moved else Lost(Why.MEMORY)
