"""Read what may be a jump table: code addresses, or distances from one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.scan.image import Image, Span


def word_targets(image: Image, table: int, word: int, most: int, within: Span) -> Iterator[int]:
    """Yield the addresses, ``word`` bytes each, that stand at ``table``, while ``within``.

    ``most`` is how many there are at most.
    """
    data = image.read(table, most * word)
    for i in range(0, len(data) - word + 1, word):
        target = int.from_bytes(data[i : i + word], "little")
        if not within.start <= target < within.end:
            return
        yield target


def relative_targets(
    image: Image,
    table: int,
    size: int,
    most: int,
    base: int,
    within: Span,
    *,
    scale: int = 1,
    signed: bool = True,
) -> Iterator[int]:
    """Yield ``base`` plus ``scale`` times each entry of ``size`` bytes, while ``within``."""
    data = image.read(table, most * size)
    for i in range(0, len(data) - size + 1, size):
        target = base + scale * int.from_bytes(data[i : i + size], "little", signed=signed)
        if not within.start <= target < within.end:
            return
        yield target
