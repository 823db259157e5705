"""Later forms of system calls, recognised by their names: `newfstatat` of `fstat`."""

from __future__ import annotations

import re
from functools import lru_cache

_NUMBERS = re.compile("[0-9]+$")
_BEFORE = frozenset({"", "new", "newf", "f", "p", "clock_"})
_AFTER = frozenset({"", "2", "3", "4", "6", "64", "_time64", "at", "at2", "v", "v2", "x", "nsat"})
"""Prefixes and suffixes of the names of later forms."""
_SAME = frozenset({"", "f"})
_EXTENDED = frozenset({"2", "3", "4", "64", "_time64", "at2", "v2", "x"})
"""Prefixes and suffixes of calls that do all that the older one does, and more."""


@lru_cache(maxsize=1 << 16)
def is_later_form(newer: str, older: str, *, extends: bool = False) -> bool:
    """Return True if ``newer`` is named as a later form of ``older``, or one that extends it."""
    stem = _NUMBERS.sub("", older)
    stems = {older, stem, stem[1:] if stem[:1] in {"l", "f"} else stem}
    before, after = (_SAME, _EXTENDED) if extends else (_BEFORE, _AFTER)
    return newer not in {older, stem} and any(
        match[1] in before and match[2] in after
        for one in stems
        if (match := re.fullmatch(f"(.*){re.escape(one)}(.*)", newer))
    )
