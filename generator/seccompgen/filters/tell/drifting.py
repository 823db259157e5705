"""The effects of newer libraries and of a newer kernel tag on a filter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.core.errors import InputError
from seccompgen.filters.compare.tables_diff import diff_tables
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.lint.registry import kinds
from seccompgen.render.drift_report import Drift

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables
    from seccompgen.lint.upgrade import Upgrade


def drift_of(
    path: Path,
    tables: Tables,
    newer: Tables,
    upgrade: Upgrade,
    only: Abi | None,
    reading: Reading,
) -> Drift:
    """Return what would change for the filter at ``path``, which was made for ``tables``.

    Raises InputError if it is no filter.
    """
    report = lint_filter(path, tables, only, reading, upgrade)
    found = tuple(one for one in report.findings if one.kind in kinds("upgrades"))
    libraries = replace(report, findings=found, silenced=())
    if newer.tag == tables.tag:
        return Drift(libraries)
    try:
        return Drift(libraries, diff_tables(path, tables, newer, only, reading))
    except InputError as error:
        return Drift(libraries, unread=error.diagnostics)
