"""Render system call tables as modules, and the package that finds them by any name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.architectures import ALIASES
from seccompgen.render.templates import render_python

if TYPE_CHECKING:
    from seccompgen.tables import Table, Tables


def render_table(table: Table) -> bytes:
    """Return the source of the module for ``table``."""
    return render_python(
        "table.py.j2",
        table=table,
        abi=table.abi,
        audit_arch=f"0x{table.abi.audit_arch:08X}",
        numbers=sorted(table.numbers.items(), key=lambda item: (item[1], item[0])),
    )


def render_tables_package(tables: Tables) -> bytes:
    """Return the source of the package's ``__init__.py``."""
    aliases = {name: abi for name, abi in sorted(ALIASES.items()) if abi in tables.tables}
    return render_python("tables.py.j2", tag=tables.tag, abis=list(tables.tables), aliases=aliases)
