"""Recorded calls that only newer releases of a library make, where older releases make another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.text import some
from seccompgen.lint.later_forms import is_later_form

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.lint.companions import Companions

_MOST_NAMED = 3


def introduced_by(companions: Companions, call: str, abi: Abi) -> str:
    """Return the release that introduced ``call``, and the older call that it extends.

    Example: ``glibc 2.36's pthread_create; older ones call clone``. Empty if older releases make
    the call as well, or no call that it extends.
    """
    for library, known in companions.libraries.items():
        rows = companions.on(library, abi.name)
        made = [row for row in rows if row.call == call and not row.constant]
        first = next((one for one in known if any(one in row.releases for row in made)), known[0])
        if first == known[0]:
            continue
        functions = [row.functions for row in made if first in row.releases]
        # Skip calls that may be made for their own sake as well, such as readlinkat.
        older = [
            row.call
            for row in rows
            if row.functions in functions
            and known[known.index(first) - 1] in row.releases
            and is_later_form(call, row.call, extends=True)
        ]
        if older:
            names = some(sorted(name for each in functions for name in each)[:_MOST_NAMED])
            return f"{library} {first}'s {names}; older ones call {max(older, key=len)}"
    return ""
