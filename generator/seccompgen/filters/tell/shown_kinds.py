"""The kind of each system call: the part of the kernel that it is about.

A page of hundreds of calls is read by kind. Unlike a group, a kind is for reading alone: no policy
can name it, and a better one may move a call. The table is ``shown_kinds.toml``.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path

from seccompgen.core.call_kinds import Kind
from seccompgen.kernel.powers import powers

_FILE = Path(__file__).with_name("shown_kinds.toml")


def kind_of_call(name: str) -> Kind:
    """Return the kind of the call ``name``; OTHER for one that came with a later kernel.

    A number that has no name, but rules in a policy, is UNNAMED.
    """
    if name.isdecimal():
        return Kind.UNNAMED
    lines = powers().of(name)
    if not lines:
        return Kind.OTHER
    by_power, by_line = kinds()
    return by_line.get(lines[-1].calls[0], by_power[lines[-1].power.name])


@lru_cache(maxsize=1)
def kinds() -> tuple[dict[str, Kind], dict[str, Kind]]:
    """Return the kinds by powers, and by the first calls of lines."""
    data = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    by_power, by_line = (
        {word: Kind[kind] for kind, given in data.items() for word in given.get(key, "").split()}
        for key in ("powers", "lines")
    )
    return by_power, by_line
