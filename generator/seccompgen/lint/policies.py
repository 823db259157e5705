"""Lint a policy: the answers of its programs, the notes of its reader, and its comments."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.io.reading import read_file
from seccompgen.lint.check import LintedFilter, lint
from seccompgen.lint.registry import rule_modules
from seccompgen.lint.silence import silence
from seccompgen.verify import meaning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Diagnostic
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.lint.finding import Finding
    from seccompgen.lint.upgrade import Upgrade
    from seccompgen.verify import Code, Meaning


@dataclass(frozen=True)
class LintReport:
    """The findings on a filter, and those that comments silenced.

    ``sides`` are the linted programs or meanings by ABI, ``texts`` the policy's files by name,
    ``notes`` those notes of its reader that are not findings.
    """

    file: str
    findings: tuple[Finding, ...]
    sides: Mapping[str, Meaning | Code]
    silenced: tuple[Finding, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Diagnostic, ...] = ()


def lint_policy(
    policy: ResolvedPolicy,
    tables: Tables,
    abis: Iterable[Abi],
    notes: tuple[Diagnostic, ...] = (),
    upgrade: Upgrade | None = None,
    *,
    holes: bool = False,
) -> LintReport:
    """Return the findings on a policy for ``abis``; ``notes`` are those of its reader."""
    sides = {abi.name: meaning(policy, abi, tables) for abi in abis}
    file = policy.file
    found = lint(LintedFilter(file, sides, policy, notes), tables, upgrade, holes=holes)
    texts = _source_texts(policy)
    # A comment may be for an ABI that was not linted.
    whole = len(sides) == len(policy.arches)
    left = silence(found, texts, file if whole else None)
    others = tuple(one for one in notes if not one.kind or one.kind.value not in rule_modules())
    return LintReport(file, left.findings, sides, left.silenced, texts, others)


def _source_texts(policy: ResolvedPolicy) -> dict[str, str]:
    """Return the files of a policy by name, except files that cannot be reread, such as pipes."""
    texts: dict[str, str] = {}
    for file, _ in policy.sources if not policy.in_memory else ():
        try:
            texts[file] = read_file(Path(file)).decode("utf-8-sig", "replace")
        except OSError:
            continue
    return texts
