"""Calls that libraries try first, and that get ENOSYS so that they go on by the older ones.

lint knows which these are, and what comes next. Any other answer they hand to the program, which
fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.lint.fallback import FALLBACKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.run.record.grants import Grants


def first_tries(granted: Mapping[Abi, Grants]) -> Iterator[str]:
    """Yield the calls that no ABI is granted, and for which some is granted what comes next."""
    for one in FALLBACKS:
        abis = [abi for abi in granted if abi.bits == 32 or not one.narrow]
        if (
            one.on_errno
            and not any(grants.has(one.call) for grants in granted.values())
            and any(granted[abi].has(older) for abi in abis for older in one.older)
        ):
            yield one.call
