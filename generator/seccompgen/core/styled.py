"""Lines of text whose parts have styles: plain text wherever they go but to a terminal."""

from __future__ import annotations

from enum import Enum
from typing import Self


class Style(Enum):
    """The look of a part of a line; the value is its ECMA-48 parameter (SGR).

    They are the terminal's own colours, which its user has chosen to be read.
    """

    STRONG = "1"
    FAINT = "2"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    CYAN = "36"


class Styled(str):
    """A line, as text, that knows its parts: ``(text, style)``, or a text without style."""

    __slots__ = ("parts",)
    parts: tuple[tuple[str, Style | None], ...]

    def __new__(cls, *parts: tuple[str, Style | None] | str) -> Self:
        """Join the parts."""
        pairs = tuple((part, None) if isinstance(part, str) else part for part in parts)
        line = super().__new__(cls, "".join(text for text, _ in pairs))
        line.parts = pairs
        return line
