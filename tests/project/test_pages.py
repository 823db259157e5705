"""The pages: every link leads to a file, and to a heading or anchor that is in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from command import ROOT, seccompgen
from navigation import navigated, site_pages
from pages import anchors, blocks

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "ci/**/*.md", "[bt]*s/*.md")
    for path in ROOT.glob(pattern)
)
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in _LINK.findall(_CODE.sub("", page.read_text())):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page}: {path}"
        if anchor:
            assert anchor in anchors(target), f"{page}: {path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_row_of_a_table_has_the_cells_of_its_header(page: Path) -> None:
    """A pipe divides cells in code, too, unless it is escaped: code hosts cut the rest off."""
    cells = 0
    for number, line in enumerate(_FENCED.sub("", page.read_text()).splitlines(), 1):
        now = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not (cells and now) or now == cells, f"{page}: {line} (line {number} of the prose)"
        cells = now


def test_every_page_is_in_the_navigation_of_the_site_once() -> None:
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    named = navigated()
    assert sorted(there - {*named}) == []
    assert len(named) == len({*named})
    assert sorted({*named} - site_pages()) == []


def test_addresses_elsewhere_are_well_formed() -> None:
    """They are not asked for: there may be no network."""
    for page in PAGES:
        for address in re.findall(r"\]\((https?:[^)\s]*)\)", _CODE.sub("", page.read_text())):
            parts = urlsplit(address)
            assert parts.scheme == "https", f"{page}: {address}"
            assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc), f"{page}: {address}"


def test_the_glossary_is_in_order_and_linked() -> None:
    glossary = ROOT / "docs" / "glossary.md"
    terms = re.findall(r'<a id="([^"]+)">', glossary.read_text())
    assert terms == sorted(terms)
    assert len(terms) >= 20
    linked = [page for page in PAGES if "glossary.md" in page.read_text()]
    assert len(linked) >= 6


def test_the_first_policy_of_the_language_builds(tmp_path: Path) -> None:
    policy = blocks("yaml", (ROOT / "docs" / "policy.md").read_text())[0]
    (tmp_path / "reader.yml").write_text(policy)
    built = seccompgen("build", "reader.yml", "-o", "out", cwd=tmp_path)
    assert (built.code, built.err) == (0, "")
