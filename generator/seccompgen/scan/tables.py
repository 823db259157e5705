"""Read what may be a jump table: code addresses, or distances from one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.scan.elf import Image


def word_targets(image: Image, table: int, word: int, most: int) -> Iterator[int]:
    """Yield the code addresses, ``word`` bytes each, that stand at ``table``, ``most`` at most."""
    data = image.read(table, most * word)
    for i in range(0, len(data) - word + 1, word):
        target = int.from_bytes(data[i : i + word], "little")
        if not image.in_code(target):
            return
        yield target


def relative_targets(
    image: Image, table: int, size: int, most: int, base: int, scale: int, *, signed: bool = True
) -> Iterator[int]:
    """Yield ``base`` plus ``scale`` times each entry of ``size`` bytes, while that is code."""
    data = image.read(table, most * size)
    for i in range(0, len(data) - size + 1, size):
        entry = int.from_bytes(data[i : i + size], "little", signed=signed)
        target = base + scale * entry
        if not image.in_code(target):
            return
        yield target
