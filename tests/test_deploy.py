"""The examples that need nothing but the standard library, as their pages in docs/deploy show them.

Those that need packages are in tests/ecosystem.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import walkthrough
from command import ROOT, seccompgen, snapshot

if TYPE_CHECKING:
    from pathlib import Path

PAGES = ["asyncio", "multiprocessing", "subprocess", "threads"]


@pytest.mark.parametrize("example", walkthrough.EXAMPLES, ids=lambda path: path.name)
def test_committed_filters_are_what_the_policies_give(example: Path, tmp_path: Path) -> None:
    again = walkthrough.copy(example.name, tmp_path)
    shutil.rmtree(again / "sandbox")
    assert seccompgen("build", cwd=again).code == 0
    assert snapshot(again / "sandbox") == snapshot(example / "sandbox")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_happens(page: str, tmp_path: Path) -> None:
    for visit in walkthrough.follow(page, tmp_path):
        assert visit.differences() == []
        assert "Traceback" not in visit.log


def test_every_page_is_followed_and_every_example_has_one() -> None:
    """By this module or by tests/ecosystem."""
    ecosystem = (ROOT / "tests" / "ecosystem" / "test_servers.py").read_text()
    pages = {path.stem for path in walkthrough.PAGES.glob("*.md")} - {"README"}
    assert {page for page in pages if page in PAGES or f'"{page}"' in ecosystem} == pages
    shown = {
        steps[0].command.removeprefix("cd examples/")
        for page in pages
        for steps in walkthrough.visits(page)
    }
    assert shown == {example.name for example in walkthrough.EXAMPLES}
