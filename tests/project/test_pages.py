"""The pages: every link leads to a file, and to a heading or anchor that is in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from command import ROOT, seccompgen
from pages import blocks

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/*.md", "tests/*.md")
    for path in ROOT.glob(pattern)
)
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page, those of its headings as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in _LINK.findall(_CODE.sub("", page.read_text())):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page}: {path}"
        if anchor:
            assert anchor in anchors(target), f"{page}: {path}#{anchor}"


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
