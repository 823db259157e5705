"""Divide the code of an image into cells, at every address that is known to start a function."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING

from seccompgen.scan.processor import EffectKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.scan.image import Image
    from seccompgen.scan.processor import Machine

_LONG_BYTES = 1 << 14


@lru_cache(maxsize=8)
def machine_for(abi: Abi) -> Machine:
    """Return the processor for programs of ``abi``."""
    from seccompgen.scan.arm64 import Arm64  # noqa: PLC0415 - one of them is needed
    from seccompgen.scan.x86 import X86  # noqa: PLC0415

    return Arm64() if abi.name == "aarch64" else X86(bits=abi.bits)


class Layout:
    """The code of an image, divided into cells at every known start of a function."""

    def __init__(self, image: Image) -> None:
        starts = {span.start for span in image.code}
        starts |= {function.address for function in image.functions}
        starts |= {_past_signal_mark(image, frame) for frame in image.frames}
        starts |= set(image.roots)
        if image.relocatable:  # else a pointer may be a mere number
            starts |= image.pointers
        self._image = image
        self._arrange(starts)
        if image.frames and image.functions:
            return
        # A stripped file has few known starts; but targets of calls are functions, too.
        long = [
            one for one in map(self.cell, self._starts) if one and one[1] - one[0] > _LONG_BYTES
        ]
        for cell in long:
            starts |= _called_in(image, *cell)
        self._arrange(starts)

    def _arrange(self, starts: set[int]) -> None:
        self._starts = sorted(filter(self._image.in_code, starts))
        self._set = frozenset(self._starts)

    def cell(self, address: int) -> tuple[int, int] | None:
        """Return the start and end of the cell that contains ``address``; None outside code."""
        for span in self._image.code:
            if span.start <= address < span.end:
                i = bisect_right(self._starts, address)
                end = self._starts[i] if i < len(self._starts) else span.end
                return self._starts[i - 1], min(end, span.end)
        return None

    def __contains__(self, address: int) -> bool:
        """Return True if a cell starts at ``address``."""
        return address in self._set

    def __iter__(self) -> Iterator[int]:
        """Iterate over the starts of the cells."""
        return iter(self._starts)


def _called_in(image: Image, start: int, end: int) -> set[int]:
    """Return the addresses from ``start`` to ``end`` that calls in the same range target."""
    machine = machine_for(image.abi)
    code = machine.disassemble(image, start, end)
    boundaries = {instruction[0] for instruction in code}
    calls = [one for one in code if machine.is_call(one)]
    return boundaries & {
        event.value for event in machine.events(image, calls) if event.kind is EffectKind.CALL
    }


def _past_signal_mark(image: Image, frame: int) -> int:
    """Return the start of the function that ``frame`` describes.

    For its return from signals, glibc's description starts one byte early, for unwinders.
    """
    known = {b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05", b"\xb8\xad\x00\x00\x00\xcd\x80"}
    return frame + 1 if any(image.read(frame + 1, len(one)) == one for one in known) else frame
