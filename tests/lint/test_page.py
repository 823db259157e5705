"""docs/lint.md has a section for each code, whose policies get that finding, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lint_page import PAGE_SECTIONS, lint_codes
from seccompgen.filters.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path


def codes_of(path: Path, text: str) -> set[str]:
    path.write_text(text)
    return {one.kind.value for one in lint_filter(path, shipped_tables()).findings}


def test_each_code_has_a_section() -> None:
    assert sorted(PAGE_SECTIONS) == sorted(lint_codes())


@pytest.mark.parametrize("code", PAGE_SECTIONS)
def test_the_policies_of_a_section(tmp_path: Path, code: str) -> None:
    bad, mended = PAGE_SECTIONS[code]
    assert codes_of(tmp_path / "bad.yml", bad) == {code}
    assert codes_of(tmp_path / "mended.yml", mended) == set()
