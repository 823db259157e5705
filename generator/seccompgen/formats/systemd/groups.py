"""The groups of system calls that releases of systemd know, by their names."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path

from seccompgen.core.errors import InputError
from seccompgen.core.problems import Problem

DEFAULT_RELEASE = 257
"""The release whose groups apply by default; it never changes, so files keep their meaning."""
_FILE = Path(__file__).with_name("groups.toml")


@lru_cache(maxsize=1)
def _releases() -> dict[int, dict[str, str]]:
    read = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {int(release): groups for release, groups in read.items()}


@lru_cache(maxsize=8)
def systemd_groups(release: int | None) -> dict[str, frozenset[str]]:
    """Return the calls of each group of a release, including those of nested groups.

    Raises InputError if the groups of that release are not known here.
    """
    wanted = DEFAULT_RELEASE if release is None else release
    listed = _releases().get(wanted)
    if listed is None:
        known = ", ".join(map(str, sorted(_releases())))
        text = f"--systemd: the groups of systemd {wanted} are not known; known: {known}"
        raise InputError(text, kind=Problem.WRONG_VALUE)

    def calls(name: str) -> frozenset[str]:
        members = listed[name].split()
        nested = [calls(one[1:]) for one in members if one.startswith("@")]
        return frozenset(one for one in members if not one.startswith("@")).union(*nested)

    # systemd knows a call only if @known lists it itself, not through a group such as @obsolete.
    own = frozenset(one for one in listed["known"].split() if not one.startswith("@"))
    return {**{name: calls(name) for name in listed}, "known": own}
