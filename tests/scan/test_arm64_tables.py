"""Jump tables of aarch64 code, from encoded instructions: no compiler for it is needed."""

from __future__ import annotations

import struct

import pytest
from seccompgen.core.abis import ABIS
from seccompgen.scan.arm64 import Arm64
from seccompgen.scan.image import AddressRange, Image, Segment
from seccompgen.scan.jumps import FunctionBody, table_targets

CODE, TABLE = AddressRange(0x1000, 0x1030), AddressRange(0x2000, 0x2010)
JUMP, DEFAULT = 7, 9
FIRST = 0x1020
COPY, SUM = 0x2A0003E2, 0x11000402  # mov w2, w0; add w2, w0, #1


def function(index: int) -> FunctionBody:
    """Return a function that jumps by a table of four, at ``index``, if w0 is at most 2."""
    code = [
        0x7100081F,  # cmp w0, #2
        0x54000108,  # b.hi, to DEFAULT
        0xB0000001,  # adrp x1, TABLE
        0x100000A4,  # adr x4, FIRST
        index,
        0xB8A27823,  # ldrsw x3, [x1, x2, lsl #2]
        0x8B030083,  # add x3, x4, x3
        0xD61F0060,  # br x3, which is JUMP
        0xD503201F,  # nop
        0xD65F03C0,  # ret
        0xD503201F,
        0xD503201F,
    ]
    segments = (
        Segment(CODE.start, struct.pack("<12I", *code), executable=True, writable=False),
        Segment(TABLE.start, struct.pack("<4i", 0, 4, 8, 12), executable=False, writable=False),
    )
    nothing = AddressRange(0, 0)
    image = Image(
        *("program", ABIS["aarch64"], "", False, True, segments, (CODE,), (), {}, {}, {}, ()),
        *(frozenset(), (), frozenset(), frozenset(), (), frozenset(), {}, nothing, frozenset(), ""),
    )
    instructions = Arm64().disassemble(image, CODE.start, CODE.end)
    addresses = [one[0] for one in instructions]
    leads = {addresses[1]: addresses[DEFAULT]}
    sources = {to: [at] for at, to in leads.items()}
    return FunctionBody(image, CODE, instructions, addresses, sources, leads, lambda _: False)


@pytest.mark.parametrize(
    ("index", "entries"),
    [
        pytest.param(COPY, 3, id="a copy of what was compared"),
        pytest.param(SUM, 4, id="another number, so the whole table"),
    ],
)
def test_a_table_is_read_as_far_as_its_index_is_checked(index: int, entries: int) -> None:
    targets = table_targets(Arm64(), function(index), JUMP, lambda _: False)
    assert targets == [FIRST + 4 * n for n in range(entries)]
