"""The shares of guests in what several of them try between them.

With ``GUESTS=all`` in the environment each guest tries all, and more policies: ``make
test-weekly``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from guests.machines import GUESTS

if TYPE_CHECKING:
    from guests.machines import Guest

ALL = os.environ.get("GUESTS") == "all"

_ALIKE = (
    ("x86_64", "ppc64le", "s390x", "mips64el"),  # 64 bits, each with numbers of its own
    ("aarch64", "riscv64", "loongarch64"),  # 64 bits, nearly the same numbers
    ("i386", "arm"),  # 32 bits
)
"""The ABIs, by kind. Guests of a kind share the attacks out: most of their time goes into these."""


def of_abi(guest: Guest) -> slice:
    """Return which of all a guest tries where guests of the same ABI share them out."""
    return _share(guest, (guest.abi,))


def of_attacks(guest: Guest) -> slice:
    """Return which a guest makes of the attacks that all ABIs have: a share, or all if "whole"."""
    if guest.whole:
        return slice(None)
    return _share(guest, next(abis for abis in _ALIKE if guest.abi in abis))


def _share(guest: Guest, abis: tuple[str, ...]) -> slice:
    if ALL:
        return slice(None)
    names = [other.name for other in GUESTS if other.abi in abis]
    return slice(names.index(guest.name), None, len(names))
