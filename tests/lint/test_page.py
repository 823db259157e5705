"""docs/lint.md has a section for each code, whose policies get that finding, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lint_page import PAGE_SECTIONS, lint_codes
from seccompgen.core.problems import Problem
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint.upgrade import UPGRADE_CODES, upgrade_of

if TYPE_CHECKING:
    from pathlib import Path


UPGRADES = {one.value for one in UPGRADE_CODES}
"""Codes of findings that are looked for where somebody asks for an upgrade."""


def codes_of(path: Path, text: str, code: str) -> set[str]:
    path.write_text(text)
    upgrade = upgrade_of(None, "newest") if code in UPGRADES else None
    found = lint_filter(path, shipped_tables(), upgrade=upgrade).findings
    shown = {one.kind.value for one in found}
    return shown if code == Problem.NO_TSYNC.value else shown - {Problem.NO_TSYNC.value}


def test_each_code_has_a_section() -> None:
    assert sorted(PAGE_SECTIONS) == sorted(lint_codes())


@pytest.mark.few(21, "asks the running kernel case by case")
@pytest.mark.parametrize("code", [one for one in PAGE_SECTIONS if one not in UPGRADES])
def test_the_policies_of_a_section(tmp_path: Path, code: str) -> None:
    bad, mended = PAGE_SECTIONS[code]
    assert codes_of(tmp_path / "bad.yml", bad, code) == {code}
    assert codes_of(tmp_path / "mended.yml", mended, code) == set()


@pytest.mark.few(2, "asks the running kernel case by case")
@pytest.mark.parametrize("code", sorted(UPGRADES))
def test_the_policies_of_a_section_on_upgrades(tmp_path: Path, code: str) -> None:
    """Each release of each library has more to say of a policy that is so short."""
    bad, mended = PAGE_SECTIONS[code]
    assert code in codes_of(tmp_path / "bad.yml", bad, code)
    assert code not in codes_of(tmp_path / "mended.yml", mended, code)
