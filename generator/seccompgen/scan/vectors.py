"""The length of x86 vector instructions, for those that the disassembler does not know.

No instruction with a VEX or EVEX prefix jumps or enters the kernel, so it is enough to know where
the next one starts (Intel SDM, volume 2, "Instruction Format"). The same is true of those of VIA's
and Zhaoxin's processors that hash and encrypt (PadLock Programming Guide).
"""

from __future__ import annotations

_WITH_NUMBER = frozenset({0x70, 0x71, 0x72, 0x73, 0xC2, 0xC4, 0xC5, 0xC6})
"""Opcodes of the first map that end in an immediate byte; all of the third map do."""
_NO_OPERANDS = 0x77
_PADLOCK = frozenset({b"\xf3\x0f\xa6", b"\xf3\x0f\xa7"})


def vector_length(data: bytes) -> int:
    """Return the length in bytes of the vector instruction at the start of ``data``; 0 if none."""
    if data[:3] in _PADLOCK and data[3:4] >= b"\xc0":
        return 4
    match data[:1]:
        case b"\xc5":
            prefix, page = 2, 1
        case b"\xc4":
            prefix, page = 3, data[1] & 0x1F if len(data) > 1 else 0
        case b"\x62":
            prefix, page = 4, data[1] & 7 if len(data) > 1 else 0
        case _:
            return 0
    if page not in {1, 2, 3, 5, 6} or len(data) < prefix + 2:
        return 0
    opcode, operands = data[prefix], data[prefix + 1]
    number = 1 if page == 3 or (page == 1 and opcode in _WITH_NUMBER) else 0
    if page == 1 and opcode == _NO_OPERANDS:
        return prefix + 1
    length = prefix + 2 + number
    mode, where = operands >> 6, operands & 7
    if mode != 3:
        if where == 4:
            length += 1
            where = data[prefix + 2] & 7 if len(data) > prefix + 2 else 0
        length += {0: 4 if where == 5 else 0, 1: 1, 2: 4}[mode]
    return length if length <= len(data) else 0
