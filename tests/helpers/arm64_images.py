"""Images of encoded aarch64 instructions, for which no compiler is needed."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.scan.image import AddressRange, Image, Segment
from seccompgen.scan.objects import DataMap

if TYPE_CHECKING:
    from collections.abc import Sequence

CODE = 0x1000
DATA = 0x2000


def image_of_words(code: Sequence[int], data: bytes = b"") -> Image:
    """Return an image of one function at `CODE`, with ``data`` at `DATA`."""
    words = struct.pack(f"<{len(code)}I", *code)
    segments = (
        Segment(CODE, words, executable=True, writable=False),
        Segment(DATA, data, executable=False, writable=False),
    )
    return Image(
        path="program",
        abi=ABIS["aarch64"],
        sha256="",
        is_go=False,
        lists_functions=False,
        relocatable=True,
        segments=segments,
        code=(AddressRange(CODE, CODE + len(words)),),
        functions=(),
        exports={},
        slots={},
        own_slots={},
        slot_tables=(),
        thread_words=frozenset(),
        weak=frozenset(),
        unread=(),
        pointers=frozenset(),
        imported_pointers=frozenset(),
        standing=frozenset(),
        standing_words=frozenset(),
        standing_imports=frozenset(),
        objects=DataMap((), frozenset()),
        named_objects={},
        roots=(),
        frames=frozenset({CODE}),
        landings={},
        names=AddressRange(0, 0),
        pointed_texts=frozenset(),
        interpreter="",
        key="",
    )
