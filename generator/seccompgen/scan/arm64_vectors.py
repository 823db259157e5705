"""Words that pass through aarch64's vector registers, as compilers copy structures of two words.

A half of a register is a location of its own: ``Register("v0+8")`` is the upper word of v0. Only
loads, stores and moves of whole words are followed; after all else the word is lost.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.scan.arm64_instructions import CALLS, COMPARES, memory_operand, whole
from seccompgen.scan.processor import KnownValue, Lost, Moved, Register, Slot, Step
from seccompgen.scan.unknown import Why

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.scan.processor import Instruction

_VECTOR = re.compile(r"\b[bhsdqvz](\d+)\b")
_WORD = re.compile(r"(?:d(?P<low>\d+)|v(?P<number>\d+)\.d\[(?P<index>[01])\])")
_WHOLE = re.compile(r"v(\d+)\.(?:16b|2d)")
_ZERO = re.compile(r"#(?:0x)?0+")
_STACK = ("sp", "x29")
_READ_ONLY = frozenset({*COMPARES, "fcmp", "fcmpe", "fccmp", "fccmpe"})
_LOADS = frozenset({"ldr", "ldur", "ldp"})
_CHANGES_ALL = frozenset({"smstart", "smstop"})
_LOST = Lost(Why.PART)


def is_half(register: str) -> bool:
    """Return True if ``register`` is a half of a vector register."""
    return register.startswith("v")


def half_named(operand: str) -> Register | None:
    """Return the half of a vector that an operand is: d0, or v0.d[1]; None for others."""
    match = _WORD.fullmatch(operand)
    if not match:
        return None
    return Register(f"v{match['low'] or match['number']}+{8 * int(match['index'] or 0)}")


def stored_half(stored: str, within: int) -> Register | None:
    """Return the half that a store of ``stored`` puts ``within`` bytes behind it; None for none."""
    if stored[:1] == "q" and within in {0, 8}:
        return Register(f"v{stored[1:]}+{within}")
    return half_named(stored) if within == 0 else None


def half_before(instruction: Instruction, operands: Sequence[str], location: Register) -> Step:
    """Return the origin, before ``instruction``, of a half of a vector register after it."""
    mnemonic, (name, half) = instruction[2], location.name.split("+")
    if mnemonic in CALLS:
        # Functions preserve the lower words of v8 to v15 (AAPCS64).
        preserved = half == "0" and 8 <= int(name[1:]) <= 15
        return Moved((location,)) if preserved else Lost(Why.CHANGED)
    if mnemonic in _CHANGES_ALL:
        return _LOST
    if name[1:] not in _written(mnemonic, operands):
        return Moved((location,))
    if half == "8" and any(f"{one}{name[1:]}" in _targets(mnemonic, operands) for one in "bhsd"):
        return KnownValue(0)  # what writes less of a vector clears the rest
    if mnemonic in _LOADS:
        return _loaded(instruction, operands, name, int(half))
    return _set_to(mnemonic, operands, location)


def _written(mnemonic: str, operands: Sequence[str]) -> list[str]:
    """Return the numbers of the vector registers that an instruction writes."""
    return [number for one in _targets(mnemonic, operands) for number in _VECTOR.findall(one)]


def _targets(mnemonic: str, operands: Sequence[str]) -> Sequence[str]:
    """Return the operands that an instruction writes."""
    if mnemonic in _READ_ONLY or mnemonic[:2] == "st":
        return ()
    if mnemonic[:2] == "ld":
        return [one for one in operands if one[:1] != "["]
    return operands[:1]


def _loaded(instruction: Instruction, operands: Sequence[str], name: str, half: int) -> Step:
    """Return the origin of a half that ``ldr`` or ``ldp`` loads."""
    memory = memory_operand(instruction[3])
    at = next((i for i, one in enumerate(operands) if one[1:] == name[1:]), 0)
    size = {"d": 8, "q": 16}.get(operands[at][0])
    if size is None:
        return _LOST
    if memory is None or memory.base not in _STACK:
        return Lost(Why.MEMORY)
    return Moved((Slot(memory.base, memory.offset + size * at + half),))


def _set_to(mnemonic: str, operands: Sequence[str], location: Register) -> Step:
    """Return the origin of a half that an instruction other than a load writes."""
    number, half = location.name[1:].split("+")
    target, source = operands[0], operands[1] if len(operands) == 2 else ""
    named, copied = half_named(target), _WHOLE.fullmatch(source)
    if mnemonic in {"mov", "ins", "fmov"} and named:
        return _word(source) if named == location else Moved((location,))
    if mnemonic == "mov" and copied and target == f"v{number}.16b":
        return Moved((Register(f"v{copied[1]}+{half}"),))
    if mnemonic == "dup" and target == f"v{number}.2d":
        return _word(source)
    if mnemonic == "movi" and target.endswith((".2d", ".4s", ".16b")) and _ZERO.fullmatch(source):
        return KnownValue(0)
    return _LOST


def _word(source: str) -> Step:
    """Return the origin of a word that is copied from ``source``."""
    if source == "xzr":
        return KnownValue(0)
    half = half_named(source)
    if half:
        return Moved((half,))
    return Moved((Register(whole(source)),)) if whole(source) else _LOST
