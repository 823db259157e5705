"""aarch64 words that are decoded once, against the disassembler at each place."""

from __future__ import annotations

import random
import struct

import pytest
from seccompgen.scan.arm64_words import Words

capstone = pytest.importorskip("capstone")

_RELATIVE = [
    *(0x1400_0000, 0x9400_0000, 0x5400_0000, 0x3400_0000, 0xB500_0000, 0x3600_0000, 0xB700_0000),
    *(0x1000_0000, 0x9000_0000, 0x1800_0000, 0x5800_0000, 0x9800_0000, 0xD800_0000, 0xDC00_0000),
]
"""Highest bytes of b, bl, b.cond, cbz, cbnz, tbz, tbnz, adr, adrp, ldr, ldrsw, prfm, and none."""


@pytest.mark.parametrize("start", [0, 8, 0x40_0000, 0x7FFF_FFFF_F000, (1 << 64) - 0x10_0000])
def test_the_texts_are_those_of_the_disassembler(start: int) -> None:
    chance = random.Random(start)
    words = [0x1000_0000 | n << 29 for n in range(4)]  # adr, at 0 to 0, 5, 10, 15
    words += [chance.getrandbits(32) for _ in range(4000)]
    words += [top | chance.getrandbits(24) for top in _RELATIVE for _ in range(400)]
    words += [top | bits for top in _RELATIVE for bits in (0, 1, 1 << 5, 0xFF_FFFF)]
    decoder = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    decoder.skipdata = True
    # What is left of a word at the end is ignored.
    content = struct.pack(f"<{len(words)}I", *words) + b"\0"
    assert Words(decoder).read(content, start) == list(decoder.disasm_lite(content, start))
