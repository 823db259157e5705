"""Calls that only newer releases of a library make, where older ones made another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.text import some
from seccompgen.lint.kin import are_kin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.lint.companions import Companion, Companions

_MOST_NAMED = 3


def only_newer(companions: Companions, call: str, abi: Abi) -> str:
    """Return why a recording has ``call``, if only newer releases of a library make it.

    Such as ``glibc 2.36's pthread_create; older ones call clone``; empty if older releases make
    it as well, or made nothing in its place.
    """
    for library, known in companions.libraries.items():
        rows = companions.on(library, abi.name)
        made = [row for row in rows if row.call == call and not row.constant]
        first = next((one for one in known if any(one in row.releases for row in made)), known[0])
        if first == known[0]:
            continue
        functions = [row.functions for row in made if first in row.releases]
        older = _older(rows, call, functions, known[known.index(first) - 1])
        if older:
            names = some(sorted(name for each in functions for name in each)[:_MOST_NAMED])
            return f"{library} {first}'s {names}; older ones call {older}"
    return ""


def _older(
    rows: Sequence[Companion], call: str, functions: list[tuple[str, ...]], release: str
) -> str:
    """Return the older form of ``call`` that ``functions`` made in ``release``.

    Only one that is made no more for its own sake: `readlinkat` may be called by a program itself.
    """
    found = [
        row.call
        for row in rows
        if row.functions in functions
        and release in row.releases
        and are_kin(row.call, call, still=True)
    ]
    return max(found, key=len, default="")
