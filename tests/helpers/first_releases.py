"""When calls came, and which of them a policy's ``kernel`` lacks, for the oracle.

Written from docs/horizon.md; it reads since.csv by itself and shares no code with seccompgen.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_FILE = Path(__file__).parents[2] / "generator" / "seccompgen" / "kernel" / "since.csv"

Release = tuple[int, ...]


def release(text: str) -> Release:
    """Return ``v6.1`` or ``2.6.32`` as numbers."""
    return tuple(int(part) for part in text.removeprefix("v").split("."))


@cache
def first_releases() -> dict[str, dict[str, Release]]:
    """Return by ABI and call the first release that is known to have it."""
    found: dict[str, dict[str, Release]] = {}
    with _FILE.open(newline="") as file:
        for row in csv.DictReader(file):
            call = row.pop("call")
            for abi, cell in row.items():
                if cell:
                    last = cell.removeprefix("<=").partition("-")
                    found.setdefault(abi, {})[call] = release(last[2] or last[0])
    return found


def lacking(kernel: str, abi: str, calls: Iterable[str]) -> frozenset[str]:
    """Return those of ``calls`` of ``abi`` that nobody knew who knew ``kernel``."""
    known, last = first_releases(), release(kernel)
    born = min(known[abi].values())
    if born <= last:
        return frozenset(call for call in calls if not known[abi].get(call, (999,)) <= last)
    # The whole ABI came later: it began with calls of its elders.
    return frozenset(
        call
        for call in calls
        if known[abi].get(call, (999,)) > born
        or not any(of_abi.get(call, (999,)) <= last for of_abi in known.values())
    )


@cache
def releases() -> tuple[str, ...]:
    """Return the mainline releases from v5.10 on in which some ABI got a call, oldest first."""
    found = {since for of_abi in first_releases().values() for since in of_abi.values()}
    return tuple(f"v{a}.{b}" for a, b in sorted(one for one in found if one >= (5, 10)))
