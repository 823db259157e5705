"""Tell the formats of policy files apart, by what stands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.policy.formats.reading import Format

if TYPE_CHECKING:
    import re

_LOOKED_AT = 1 << 16
"""Bytes of a file that are looked at: each format shows itself early."""

_SIGNS: tuple[tuple[Format, re.Pattern[str]], ...] = ()
"""A pattern that some text of a format has, and no text of the formats below it or of ours."""


def detect(content: bytes, file: str) -> Format:
    """Return the format of ``content``; ours if it shows no other.

    The name of ``file`` decides nothing that content can: people keep all of these in ``.json``.
    """
    del file
    text = content[:_LOOKED_AT].decode(errors="replace")
    return next((one for one, sign in _SIGNS if sign.search(text)), Format.SECCOMPGEN)
