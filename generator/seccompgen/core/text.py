"""Text for people: lists of names, and foreign text, made safe to show.

No character of the text that `printable` returns controls a terminal or ends a comment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def some(names: Sequence[str], most: int = 4, separator: str = ", ") -> str:
    """Return the first ``most`` of ``names``, and how many more there are."""
    shown = separator.join(names[:most])
    more = len(names) - most
    return f"{shown}{separator.strip(', ')} and {more} more" if more > 0 else shown


def listed(names: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def many(count: int, noun: str) -> str:
    """Return ``1 call`` or ``2 calls``, for a noun with a regular plural."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    r"""Return ``text`` on one line, with an escape such as ``\x1b`` for each unprintable character.

    So it cannot end a comment or control a terminal. A byte that was not UTF-8, which Python keeps
    as a lone surrogate (PEP 383), becomes the escape of that byte.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) & 0xFF:02x}"
    return character.encode("unicode_escape").decode()
