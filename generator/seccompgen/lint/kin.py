"""Calls that are later forms of others, as their names tell: `newfstatat` of `fstat`."""

from __future__ import annotations

import re
from functools import lru_cache

_NUMBERS = re.compile("[0-9]+$")
_BEFORE = frozenset({"", "new", "newf", "f", "p", "clock_"})
_AFTER = frozenset({"", "2", "3", "4", "6", "64", "_time64", "at", "at2", "v", "v2", "x", "nsat"})
"""Prefixes and suffixes that the kernel has put to the name of a call for its later forms."""
_SAME = frozenset({"", "f"})
_EXTENDED = frozenset({"2", "3", "4", "64", "_time64", "at2", "v2", "x"})
"""Those around the names of calls that do all that the older ones do, and more."""


@lru_cache(maxsize=1 << 16)
def are_kin(older: str, newer: str, *, still: bool = False) -> bool:
    """Return True if a call is a later form of another, as names tell: `fstat`, `newfstatat`.

    Of calls that are ``still`` made together, the later one can all that the older can.
    """
    stem = _NUMBERS.sub("", older)
    stems = {older, stem, stem[1:] if stem[:1] in {"l", "f"} else stem}
    before, after = (_SAME, _EXTENDED) if still else (_BEFORE, _AFTER)
    return newer not in {older, stem} and any(
        match[1] in before and match[2] in after
        for one in stems
        if (match := re.fullmatch(f"(.*){re.escape(one)}(.*)", newer))
    )
