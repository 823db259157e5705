"""Lint for whatever a command line calls FILTER."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.filters.load import load_filter
from seccompgen.io.reading import read_file
from seccompgen.lint import LintedFilter, lint
from seccompgen.lint.noted import NOTED
from seccompgen.lint.silence import silence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Diagnostic
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.filters.load import LoadedFilter
    from seccompgen.lint import Finding


@dataclass(frozen=True)
class LintReport:
    """The findings on one filter.

    ``texts`` are the files of its policy, by name; ``notes`` what else reading it had to tell.
    """

    loaded: LoadedFilter
    findings: tuple[Finding, ...]
    silenced: tuple[Finding, ...]
    texts: Mapping[str, str]
    notes: tuple[Diagnostic, ...] = ()


def lint_filter(path: Path, tables: Tables, only: Abi | None = None) -> LintReport:
    """Return the findings on the filter at ``path``, for ABI ``only`` or all that it has.

    Raises InputError where it is no filter.
    """
    loaded = load_filter(path, tables, only)
    found = lint(LintedFilter(str(path), loaded.sides, loaded.policy, loaded.notes), tables)
    texts = source_texts(loaded.policy) if loaded.policy else {}
    left = silence(found, texts, all_abis=only is None)
    notes = tuple(note for note in loaded.notes if note.kind not in NOTED)
    return LintReport(loaded, left.findings, left.silenced, texts, notes)


def source_texts(policy: ResolvedPolicy) -> dict[str, str]:
    """Return the files that a policy was read from, by name; none for one in memory.

    What cannot be read again, such as a pipe, is left out.
    """
    texts: dict[str, str] = {}
    for file, _ in policy.sources if not policy.in_memory else ():
        try:
            texts[file] = read_file(Path(file)).decode("utf-8-sig", "replace")
        except OSError:
            continue
    return texts
