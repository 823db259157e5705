"""docs/lint.md has a section for each code, whose policies get that finding, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from seccompgen.core.problems import Problem
from seccompgen.filters.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables

PAGE = Path(__file__).parents[2] / "docs" / "lint.md"
_, _, CODES = PAGE.read_text().partition("\n# Codes\n")
SECTIONS = {
    part.partition("\n")[0]: re.findall(r"```yaml\n(.*?)```", part, re.DOTALL)
    for part in re.split(r"\n### ", CODES)[1:]
}
EXEMPT = {"empty-mask"}


def lint_codes() -> list[str]:
    """Return the codes of findings: those after the others in `Problem`."""
    codes = [one.value for one in Problem]
    return codes[codes.index("ignored-bits") :]


def codes_of(path: Path, text: str) -> set[str]:
    path.write_text(text)
    return {one.kind.value for one in lint_filter(path, shipped_tables()).findings}


def test_each_code_has_a_section() -> None:
    assert sorted(SECTIONS) == sorted(set(lint_codes()) - EXEMPT)


@pytest.mark.parametrize("code", SECTIONS)
def test_the_policies_of_a_section(tmp_path: Path, code: str) -> None:
    bad, mended = SECTIONS[code]
    assert codes_of(tmp_path / "bad.yml", bad) == {code}
    assert codes_of(tmp_path / "mended.yml", mended) == set()
