"""The first release of each call, read without the code under test: cells of CSV as they stand."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import upstream

SHIPPED = Path(__file__).parents[2] / "generator" / "seccompgen" / "kernel" / "since.csv"
SHARED = upstream.REAL / "since.csv"
"""The facts that ours began with, where they are."""


@cache
def plain_since(file: Path = SHIPPED) -> dict[str, dict[str, str]]:
    """Return, by ABI and call, a cell such as ``5.11``, ``5.3-5.4`` or ``<=4.9``."""
    header, *rows = csv.reader(file.read_text(encoding="utf-8").splitlines())
    return {
        abi: {row[0]: row[column] for row in rows if row[column]}
        for column, abi in enumerate(header)
        if column
    }


def bounds(cell: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the first and the last release that a cell allows; of ``<=4.9`` the first is ()."""
    if cell.startswith("<="):
        return (), numbers(cell[2:])
    first, _, last = cell.partition("-")
    return numbers(first), numbers(last or first)


def numbers(release: str) -> tuple[int, ...]:
    """Return ``2.6.29`` as numbers."""
    return tuple(map(int, release.split(".")))
