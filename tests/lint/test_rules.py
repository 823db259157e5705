"""A rule's file names its code; its documentation has a policy that gets that, and mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint.registry import SECTIONS, codes, rule_modules, rules
from seccompgen.lint.upgrade import upgrade_of

from website.lint_page import PAGE, examples, lint_page

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.lint.rule import LintRule

UPGRADES = rules("upgrades")
FOREIGN = rules("foreign")
OTHERS = [
    one for section in SECTIONS if section not in {"upgrades", "foreign"} for one in rules(section)
]


def codes_of(path: Path, text: str, rule: LintRule) -> set[str]:
    path.write_text(text)
    upgrade = upgrade_of(None, "newest") if rule in UPGRADES else None
    holes = rule in rules("holes")
    found = lint_filter(path, shipped_tables(), upgrade=upgrade, holes=holes).findings
    return {one.kind.value for one in found} - ({"no-tsync"} - {rule.code})


def test_each_file_declares_the_code_of_its_name() -> None:
    assert [one.code for section in SECTIONS for one in rules(section)] == [*rule_modules()]
    assert rule_modules().keys() <= codes()


def test_the_page_is_made_from_the_rules() -> None:
    """``make pages`` writes it."""
    assert PAGE.read_text() == lint_page()


@pytest.mark.few(21, "asks the running kernel case by case")
@pytest.mark.parametrize("rule", OTHERS, ids=lambda rule: rule.code)
def test_the_example_of_a_rule(tmp_path: Path, rule: LintRule) -> None:
    wrong, mended = examples(rule)
    assert codes_of(tmp_path / "wrong.yml", wrong, rule) == {rule.code}
    assert codes_of(tmp_path / "mended.yml", mended, rule) == set()


@pytest.mark.few(2, "asks the running kernel case by case")
@pytest.mark.parametrize("rule", [*UPGRADES, *FOREIGN], ids=lambda rule: rule.code)
def test_the_example_of_a_rule_among_other_findings(tmp_path: Path, rule: LintRule) -> None:
    """So short a policy gets findings by each release of a library, and as a foreign one."""
    wrong, mended = examples(rule)
    assert rule.code in codes_of(tmp_path / "wrong.yml", wrong, rule)
    assert rule.code not in codes_of(tmp_path / "mended.yml", mended, rule)
