"""Write a system call as people write it: ``socket(0xa, 1) on x86_64``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.abis import X32_SYSCALL_BIT
from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.tables import Table, Tables


def call_text(nr: int, audit_arch: int, args: Sequence[int], tables: Tables, shown: int = 0) -> str:
    """Return the call by name, with at least ``shown`` arguments, and all up to the last not 0.

    A number that the tables do not name is written ``nr 0x1d6``.
    """
    name, table = call_name(nr, audit_arch, tables)
    last = max((n for n, value in enumerate(args, 1) if value), default=0)
    written = ", ".join(map(number, args[: max(shown, last)]))
    where = table.abi.name if table else f"the unknown architecture {audit_arch:#010x}"
    return f"{name}({written}) on {where}"


def call_name(nr: int, audit_arch: int, tables: Tables) -> tuple[str, Table | None]:
    """Return the name of a call, and the table that has it; ``nr 0x1d6`` if the table has not.

    The table is that of the ABI that the call is made through; None if no ABI has ``audit_arch``.
    """
    table = _table(nr, audit_arch, tables)
    name = table.names.get(nr) if table else None
    return name or f"nr {number(nr)}", table


def number(value: int) -> str:
    """Return ``value`` as this project writes numbers that may be bits."""
    return f"{value:#x}" if value > 9 else str(value)


def _table(nr: int, audit_arch: int, tables: Tables) -> Table | None:
    """Return the table of the ABI that a call is made through, of those with filters."""
    found = [
        table
        for table in tables.tables.values()
        if table.abi.audit_arch == audit_arch and table.has_filters
    ]
    x32 = bool(nr & X32_SYSCALL_BIT) and nr != U32
    return next((table for table in found if (table.abi.name == "x32") == x32), None) or next(
        iter(found), None
    )
