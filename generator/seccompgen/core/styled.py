"""Lines of text whose parts have styles; only a terminal shows the styles."""

from __future__ import annotations

from enum import Enum
from typing import Self


class Style(Enum):
    """The style of a part of a line; the value is its ECMA-48 parameter (SGR).

    The colours are those of the terminal's palette, which its user has chosen to be legible.
    """

    STRONG = "1"
    FAINT = "2"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    CYAN = "36"


class Styled(str):
    """A line as a str, with its parts as ``(text, style)``; the style may be None."""

    __slots__ = ("parts",)
    parts: tuple[tuple[str, Style | None], ...]

    def __new__(cls, *parts: tuple[str, Style | None] | str) -> Self:
        """Join the parts."""
        pairs = tuple((part, None) if isinstance(part, str) else part for part in parts)
        line = super().__new__(cls, "".join(text for text, _ in pairs))
        line.parts = pairs
        return line
