"""Tables as a release had them: of the shipped ones the calls that had come by then."""

from __future__ import annotations

import dataclasses
from functools import cache

from first_releases import first_releases, release
from seccompgen.core.tables import Table, Tables
from seccompgen.kernel.shipped import shipped_tables


@cache
def tables_at(tag: str) -> Tables:
    """Return the tables of the mainline release ``tag``; numbers never change."""
    shipped, known, last = shipped_tables(), first_releases(), release(tag)
    tables = {}
    for name, table in shipped.tables.items():
        there = {c: nr for c, nr in table.numbers.items() if known[name][c] <= last}
        if there:
            tables[name] = Table(table.abi, tag, there, table.inputs)
    return dataclasses.replace(shipped, tag=tag, tables=tables)
