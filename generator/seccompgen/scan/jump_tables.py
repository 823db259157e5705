"""Read a possible jump table: code addresses, or offsets from one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.scan.image import Image

_READ_BYTES = 1 << 15


def word_targets(image: Image, table: int, word: int) -> Iterator[int]:
    """Yield the words of ``word`` bytes at ``table``, to the end of the segment or a limit."""
    data = image.read(table, _READ_BYTES)
    for i in range(0, len(data) - word + 1, word):
        yield int.from_bytes(data[i : i + word], "little")


def relative_targets(
    image: Image, table: int, size: int, base: int, *, scale: int = 1, signed: bool = True
) -> Iterator[int]:
    """Yield ``base`` plus ``scale`` times each entry of ``size`` bytes at ``table``."""
    data = image.read(table, _READ_BYTES)
    for i in range(0, len(data) - size + 1, size):
        yield base + scale * int.from_bytes(data[i : i + size], "little", signed=signed)
