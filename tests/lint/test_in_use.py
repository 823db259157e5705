"""Findings on policies in use: docs/lint-history.md has a verdict on each, and on no other."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from typing import TYPE_CHECKING, NamedTuple

import pytest
from command import ROOT
from corpus import SETS, corpus, translated
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "lint-history.md"
STOCK = sorted(path for path in (ROOT / "policies").glob("*.yml") if path.name[0] != "_")


class Verdict(NamedTuple):
    """A row of the table: names of policies, which may be patterns, and codes."""

    policies: tuple[str, ...]
    codes: frozenset[str]

    def covers(self, policy: str, code: str) -> bool:
        """Return True if it is about a finding of ``code`` on ``policy``."""
        return code in self.codes and any(fnmatch(policy, one) for one in self.policies)


def verdicts() -> list[Verdict]:
    """Return the rows of the last table of the page."""
    table = PAGE.read_text().rpartition("\n\n")[2]
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    assert all(said.strip() for _, _, said in rows)
    return [
        Verdict(tuple(re.findall(r"`([^`]+)`", names)), frozenset(codes.replace(",", " ").split()))
        for names, codes, _ in rows
    ]


_ALL = pytest.param("ours and those of others", marks=pytest.mark.long("all policies of ../shared"))


@pytest.fixture(scope="module", params=["ours", _ALL])
def there(request: pytest.FixtureRequest) -> list[str]:
    """Return the names of policies to look at."""
    return SETS["ours"] if request.param == "ours" else [*corpus()]


@pytest.fixture(scope="module")
def found(there: list[str], tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """Return what lint finds in these policies: their names, with the codes."""
    directory = tmp_path_factory.mktemp("in-use")
    pairs: set[tuple[str, str]] = set()
    for name in there:
        path = directory / f"{name}.json"
        path.write_text(json.dumps(translated(corpus()[name])))
        report = lint_filter(path, shipped_tables())
        # None says flags: whoever installs these has them elsewhere.
        codes = {one.kind.value for one in report.findings} - {"no-tsync"}
        pairs |= {(name, code) for code in codes}
    return pairs


def test_each_finding_has_a_verdict(found: set[tuple[str, str]]) -> None:
    rows = verdicts()
    assert [pair for pair in sorted(found) if not any(row.covers(*pair) for row in rows)] == []


def test_each_verdict_is_on_a_finding(there: list[str], found: set[tuple[str, str]]) -> None:
    """Of policies that are not there nothing is known."""
    for policies, codes in verdicts():
        here = [name for name in policies if any(fnmatch(policy, name) for policy in there)]
        seen = {name: {code for policy, code in found if fnmatch(policy, name)} for name in here}
        assert [name for name, own in seen.items() if not codes & own] == []
        if here == list(policies):
            assert codes - frozenset().union(*seen.values()) == set(), policies


@pytest.mark.few(1, "asks the running kernel case by case")
@pytest.mark.parametrize("path", STOCK, ids=lambda path: path.stem)
def test_stock_policies_are_silent(path: Path) -> None:
    assert lint_filter(path, shipped_tables()).findings == ()
