"""Lint for everything that a command line calls FILTER."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.filters.find.loaded_filter import load_filter
from seccompgen.lint import LintedFilter, LintReport, lint, lint_policy, views_of
from seccompgen.lint.ring_view import ring_of_module
from seccompgen.verify import meaning

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.core.sets import Sets
    from seccompgen.core.tables import Tables
    from seccompgen.filters.find.loaded_filter import LoadedFilter
    from seccompgen.lint import FilterView
    from seccompgen.lint.upgrade import Upgrade
    from seccompgen.verify import Code, Meaning


def lint_filter(
    path: Path,
    tables: Tables,
    only: Abi | None = None,
    reading: Reading = PLAIN_READING,
    upgrade: Upgrade | None = None,
    *,
    holes: bool = False,
) -> LintReport:
    """Return the findings on the filter at ``path``, for ABI ``only`` or all that it has.

    With ``upgrade``, calls of newer libraries are checked as well; with ``holes``, known holes.
    Raises InputError if it is no filter.
    """
    return lint_loaded(load_filter(path, tables, only, reading), tables, upgrade, holes=holes)


def lint_loaded(
    loaded: LoadedFilter, tables: Tables, upgrade: Upgrade | None = None, *, holes: bool = False
) -> LintReport:
    """Return the findings on a filter that was read, for the ABIs that it was read for."""
    if loaded.policy:
        abis = [abi for abi in loaded.policy.arches if abi.name in loaded.sides]
        return lint_policy(loaded.policy, tables, abis, loaded.notes, upgrade, holes=holes)
    values = loaded.module.rings.items() if loaded.module else ()
    rings = {name: ring for name, value in values if (ring := ring_of_module(value))}
    subject = LintedFilter(str(loaded.path), loaded.sides, rings=rings)
    findings = tuple(lint(subject, tables, upgrade, holes=holes))
    found = LintReport(subject.file, findings, loaded.sides)
    return replace(found, notes=loaded.notes)


def views_on(loaded: LoadedFilter, name: str, tables: Tables, sets: Sets) -> list[FilterView]:
    """Return a view of the program for the ABI ``name`` for each ABI that it serves."""
    policy, abi = loaded.policy, ABIS[name]
    side = meaning(policy, abi, tables) if policy else loaded.sides[name]
    subject = LintedFilter(str(loaded.path), loaded.sides, policy)
    return views_of(abi, side, subject, tables, sets)[0]


def lint_programs(file: str, sides: Mapping[str, Meaning | Code], tables: Tables) -> LintReport:
    """Return the findings on programs by ABI whose policy is unknown."""
    return LintReport(file, tuple(lint(LintedFilter(file, sides), tables)), sides)
