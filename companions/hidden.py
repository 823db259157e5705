"""Find the functions of a stripped library that none of its tables names, such as those of musl.

Such a library names only the functions that it exports. The code between the end of one and the
start of the next belongs to hidden functions: one starts after that end, others wherever calls or
jumps from elsewhere lead.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.scan.image import FunctionSymbol
from seccompgen.scan.layout import Layout, machine_for
from seccompgen.scan.processor import EffectKind

if TYPE_CHECKING:
    from seccompgen.scan.image import Image


def with_hidden(image: Image) -> Image:
    """Return ``image`` with hidden functions; unchanged if .eh_frame describes most functions."""
    if len(image.frames) > len(image.functions) // 2:
        return image
    machine, layout = machine_for(image.abi), Layout(image)
    ends = {one.address: one.address + one.size for one in image.functions if one.size}
    behind: set[int] = set()
    first: set[int] = set()
    targets: set[int] = set()
    for start, end in filter(None, map(layout.cell, layout)):
        code = machine.disassemble(image, start, end)
        past = ends.get(start, end)
        for event in machine.events(image, code):
            from_elsewhere = event.address < past or not start <= event.value < end
            if event.kind is EffectKind.CALL or (event.kind is EffectKind.JUMP and from_elsewhere):
                targets.add(event.value)
        others = [one for one in code if one[0] >= past]
        behind |= {one[0] for one in others}
        first.update([one[0] for one in others if not machine.is_padding(one)][:1])
    found = (FunctionSymbol(one, 0, "") for one in first | targets & behind)
    return replace(image, functions=tuple(sorted((*image.functions, *found))))
