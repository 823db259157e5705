"""Write a system call as people write it: ``socket(0xa, 1) on x86_64``."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    table = tables.table_of(audit_arch, nr)
    name = table.names.get(nr) if table else None
    return name or f"nr {number(nr)}", table


def number(value: int) -> str:
    """Return ``value`` as this project writes numbers that may be bits."""
    return f"{value:#x}" if value > 9 else str(value)
