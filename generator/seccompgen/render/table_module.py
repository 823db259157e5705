"""Render system call tables as modules, and the package that finds them by any name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.abis import ALIASES
from seccompgen.render.templates import render_python, render_text

if TYPE_CHECKING:
    from seccompgen.core.tables import Table, Tables


def render_table(table: Table) -> bytes:
    """Return the source of the module for ``table``."""
    numbers = [(f'"{name}"', nr) for name, nr in table.numbers.items()]
    names = [(nr, f'"{name}"') for nr, name in sorted(table.names.items())]
    return render_python(
        "table.py.j2",
        {
            "numbers": render_text("mapping.j2", items=numbers),
            "names": render_text("mapping.j2", items=names),
        },
        table=table,
        abi=table.abi,
        audit_arch=f"0x{table.abi.audit_arch:08X}",
    )


def render_tables_package(tables: Tables) -> bytes:
    """Return the source of the package's ``__init__.py``."""
    aliases = {name: abi for name, abi in sorted(ALIASES.items()) if abi in tables.tables}
    return render_python(
        "tables.py.j2", {}, tag=tables.tag, abis=list(tables.tables), aliases=aliases
    )
