"""Each console block of each page is run, here or by a test of its own, or says why it is not."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel
from command import ROOT
from shown import RUN_BY, build_scene, console_blocks, named_files, pages, same
from transcript import BIN, play

if TYPE_CHECKING:
    from pathlib import Path

    from shown import Block

kernel.require_x86_64()

BLOCKS = [block for page in pages() for block in console_blocks(page)]
HERE = [block for block in BLOCKS if not block.runner and not block.reason]
WRONG = {2, 3, 126, 127}
"""Exit codes of a command that is not understood, or lacks what it needs."""

_RECORDS = re.compile(
    r"\$ (?:seccompgen (?:record|scan \S+) -o|pytest --seccompgen-record) (?P<file>\S+)"
)


def name(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("scene") / "project"
    place.mkdir()
    build_scene(place)
    return place


@pytest.mark.parametrize("block", HERE, ids=name)
def test_commands_do_what_is_shown(block: Block, scene: Path, tmp_path: Path) -> None:
    place = tmp_path / "project"
    shutil.copytree(scene, place, symlinks=True)
    for file, text in named_files(block.page).items():
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).write_text(text)
    if recorded := _RECORDS.match(block.text):
        (place / recorded["file"]).unlink(missing_ok=True)
    follow([block], place)


def test_the_first_own_policy_is_written_as_shown(tmp_path: Path) -> None:
    page = "docs/first-policy.md"
    for file, text in named_files(page).items():
        (tmp_path / file).write_text(text)
    follow(console_blocks(page), tmp_path)


def follow(blocks: list[Block], place: Path) -> None:
    """Run blocks as one session; each command says what is shown, or is at least understood."""
    shown = [(block, step) for block in blocks for step in block.steps()]
    path = f"{place / 'bin'}:{BIN}:{os.environ['PATH']}"
    played = play([step.command for _, step in shown], place, {"PATH": path})
    for (block, step), (code, said) in zip(shown, played, strict=True):
        what = f"{name(block)}: {step.command}{said}"
        assert same(step.output, said) if step.output else code not in WRONG, what


def test_nobody_is_left_out() -> None:
    """And what is not run is little, and changes only together with this figure."""
    assert len(BLOCKS) > 70
    assert Counter(block.page for block in BLOCKS if block.reason) == {
        "CONTRIBUTING.md": 1,
        "benchmarks/README.md": 1,
        "docs/ci.md": 1,
        "docs/diff.md": 1,
        "docs/installing.md": 4,
        "docs/proof.md": 3,
        "docs/record.md": 1,
        "docs/tables.md": 2,
        "docs/tour.md": 3,
        "docs/userlands.md": 1,
    }


def test_tests_that_are_named_speak_of_their_page() -> None:
    for page, runners in RUN_BY.items():
        for head, test in runners.items():
            blocks = [one for one in BLOCKS if one.page == page]
            assert [one for one in blocks if one.text.startswith(f"$ {head}")], (page, head)
            text = (ROOT / "tests" / test).read_text()
            stem = page.removeprefix("docs/").removeprefix("deploy/").removesuffix(".md")
            known = stem in text or "README" in text or "EXAMPLES" in text
            assert known, (page, test)
