"""Each console block of each page is run, here or by a test of its own, or says why it is not."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections import Counter
from typing import TYPE_CHECKING, cast

import click
import pytest
import running_kernel as kernel
from command import ROOT, inside
from seccompgen.cli import command
from shown import RUN_BY, build_scene, console_blocks, named_files, pages, same
from transcript import BIN, play

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shown import Block

kernel.require_x86_64()

BLOCKS = [block for page in pages() for block in console_blocks(page)]
HERE = [block for block in BLOCKS if not block.runner and not block.reason]
SHOWS_NOTHING = pytest.mark.long("commands whose output no page shows: see the test of their words")
OUR_COMMAND = re.compile(r"(?:^|[|&] *)seccompgen (?P<words>(?:'[^'\n]*'|[^|;&<>\n'])+)")
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


@pytest.mark.few(1, "does all that a page shows")
@pytest.mark.parametrize(
    "block",
    [
        pytest.param(
            block,
            id=name(block),
            marks=[] if any(step.output for step in block.steps()) else [SHOWS_NOTHING],
        )
        for block in HERE
    ],
)
def test_commands_do_what_is_shown(block: Block, scene: Path, tmp_path: Path) -> None:
    place = tmp_path / "project"
    shutil.copytree(scene, place, symlinks=True)
    for file, text in named_files(block.page).items():
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).write_text(text)
    if recorded := _RECORDS.match(block.text):
        (place / recorded["file"]).unlink(missing_ok=True)
    follow([block], place)


@pytest.mark.parametrize("page", ["bpf", "c", "go", "javascript", "launcher", "oci", "rust"])
def test_the_first_build_of_a_page_works_in_an_empty_directory(page: str, tmp_path: Path) -> None:
    """A reader has the installed wheel and the files that the page shows, not our folders."""
    for file, text in named_files(f"docs/{page}.md").items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    commands = [block for block in BLOCKS if block.page == f"docs/{page}.md"]
    first = next(words for block in commands for words in ours(block) if words[0] == "build")
    built = inside(*first, cwd=tmp_path)
    assert (built.code, built.err) == (0, ""), built


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS}))
def test_all_words_of_our_commands_are_understood(page: str) -> None:
    """Also of blocks that are not run: a command that has no such option, or argument."""
    for block in BLOCKS:
        if block.page == page:
            for words in ours(block):
                of, rest = cast("click.Command", command), words
                if isinstance(of, click.Group) and not words[0].startswith("-"):
                    found = command.get_command(click.Context(of), words[0])
                    assert found, (name(block), words)
                    of, rest = found, words[1:]
                of.make_parser(click.Context(of)).parse_args(rest)


def ours(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command of ours in a block, up to a pipe or redirection."""
    for step in block.steps():
        for found in OUR_COMMAND.finditer(step.command):
            yield shlex.split(found["words"], comments=True)


@pytest.mark.long("does all that a page shows")
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
        "docs/explain.md": 1,
        "docs/installing.md": 4,
        "docs/io-uring.md": 1,
        "docs/layers.md": 1,
        "docs/proof.md": 3,
        "docs/record.md": 1,
        "docs/scan.md": 6,
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
