"""The words that firejail knows: its directives, conditions and groups of calls."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@lru_cache(maxsize=3)
def words(section: str) -> dict[str, tuple[str, ...]]:
    """Return the lists of words in a section of words.toml, by their names."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return {name: tuple(listed.split()) for name, listed in tomllib.loads(text)[section].items()}


@lru_cache(maxsize=1)
def groups() -> dict[str, tuple[str, ...]]:
    """Return the calls of each group, in firejail's order; a call may be there twice."""
    listed = words("groups")

    def calls(name: str) -> Iterator[str]:
        for one in listed[name]:
            if one.startswith("@"):
                yield from calls(one[1:])
            else:
                yield one

    return {name: tuple(calls(name)) for name in listed}
