"""The README and the example, line by line: what they show is what happens."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from command import ROOT, seccompgen
from navigation import site_pages
from pages import EXAMPLES, PYTHONS, README, anchors, blocks
from seccompgen.cli.examples import SITE

SOURCE = "https://github.com/OWNER/seccompgen/blob/main/"
EXAMPLE = ROOT / "examples" / "word_count"


def test_it_is_short_and_all_its_links_are_absolute() -> None:
    """It is shown by package indexes, too, where nothing lies beside it."""
    assert len(README.splitlines()) < 120
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 20
    assert [link for link in links if not link.startswith((SITE, SOURCE))] == []


def test_its_links_lead_to_pages_and_files() -> None:
    pages = site_pages()
    for link in re.findall(r"\]\(([^)]+)\)", README):
        address, _, anchor = link.partition("#")
        if address.startswith(SOURCE):
            assert (ROOT / address.removeprefix(SOURCE)).exists(), link
            continue
        page = address.removeprefix(SITE).rstrip("/")
        (there,) = {f"{page}.md", f"{page}/index.md".lstrip("/"), f"{page}/README.md"} & pages
        if anchor:
            assert anchor in anchors(ROOT / "docs" / there), link


def test_the_first_policy_is_that_of_the_example() -> None:
    (shown,) = blocks("yaml", (ROOT / "docs" / "first-policy.md").read_text())
    assert shown.removeprefix("# worker.yml\n") == (EXAMPLE / "worker.yml").read_text()


def test_costs_are_told_as_shown(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "build.md").read_text()
    (shown,) = [block for block in blocks("console", text) if "--costs" in block]
    command, *lines = shown.splitlines()
    words = command.removeprefix("$ seccompgen ").removesuffix(" -o out").split()
    run = seccompgen(*words, "-o", tmp_path)
    told = [line.rstrip() for line in run.out.splitlines()]
    assert told[: len(lines)] == lines
    (one,) = json.loads(seccompgen(*words, "-o", tmp_path, "--json").out)["filters"]
    x86_64 = one["costs"]["x86_64"]
    assert x86_64.keys() == {"length", "longest", "expected"}
    assert f"{x86_64['length']['cost']} ({x86_64['length']['bound']})" in lines[2]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_example_does_what_its_readme_shows(tmp_path: Path, python: str) -> None:
    if not Path(python).exists():
        pytest.skip(f"there is no {python}")
    (shown,) = [block for block in EXAMPLES if "cd examples/word_count" in block]
    place = tmp_path / "word_count"
    shutil.copytree(EXAMPLE, place, ignore=shutil.ignore_patterns("sandbox", "__pycache__"))
    build = seccompgen("build", "worker.yml", "-o", "sandbox", cwd=place)
    assert build.out in shown
    for options, code in (([], 0), (["--misbehave"], -signal.SIGSYS)):
        run = subprocess.run(
            [python, "main.py", *options],
            input="a b a\n",
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.stdout, run.returncode) == ('[["a", 2], ["b", 1]]\n', code), run.stderr
        assert run.stdout in shown


def test_every_command_shown_exists() -> None:
    help_text = seccompgen("--help").out
    pages = [README, *(path.read_text() for path in (ROOT / "docs").rglob("*.md"))]
    for page in pages:
        for name in re.findall(r"seccompgen ([a-z]+) ", "\n".join(blocks("console", page))):
            assert re.search(rf"^  {name} ", help_text, re.MULTILINE), name


def test_every_link_leads_somewhere() -> None:
    pages = (ROOT / "README.md", ROOT / "examples" / "README.md", *(ROOT / "docs").rglob("*.md"))
    for page in pages:
        prose = re.sub(r"`[^`\n]*`", "", page.read_text())
        for target in re.findall(r"\]\(([^)#:]+)\)", prose):
            assert (page.parent / target).exists(), f"{page}: {target}"
