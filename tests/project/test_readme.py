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
from interpreter import constant_allow
from pages import EXAMPLES, PYTHONS, README, blocks
from seccomp_filters.web_worker import _x86_64 as web_worker
from seccompgen.core.abis import ABIS
from seccompgen.kernel.shipped import shipped_tables

X86_64 = shipped_tables().tables["x86_64"]
EXAMPLE = ROOT / "examples" / "word_count"


def test_it_is_short_and_all_its_links_are_relative() -> None:
    """They work in a clone and on a code host; test_install sees where else they lead."""
    assert len(README.splitlines()) <= 150
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 20
    assert [link for link in links if ":" in link or link.startswith("/")] == []


def test_it_opens_with_two_commands() -> None:
    before, _, rest = README.partition("```console\n")
    prose = [line for line in before.splitlines() if line and line[0] not in "#`"]
    assert len(prose) <= 10
    assert re.findall(r"^\$ (.*)", rest.partition("\n```")[0], re.MULTILINE) == [
        "make generate",
        "make test",
    ]


def test_the_filter_that_it_shows_is_as_emitted() -> None:
    (shown,) = [block for block in blocks("python") if block.startswith("PROGRAM")]
    emitted = ROOT / "generated" / "seccomp_filters" / "no_exec" / "_x86_64.py"
    assert emitted.read_text().endswith(f"\n{shown}")


def test_its_numbers_are_those_of_tables_and_filters() -> None:
    shown = " ".join(README.split())
    filtered = [one for one in shipped_tables().tables.values() if one.has_filters]
    for page in (shown, " ".join((ROOT / "docs" / "index.md").read_text().split())):
        assert f"exposed to all {len(X86_64.numbers)} that Linux has on x86_64" in page
        assert f"for {len(filtered)} ABIs at once" in page
    assert f"`web_worker` allows {allowed_at_once(web_worker.PROGRAM)}." in shown
    # The first table: further ones are of kernels that try less.
    kernels = (ROOT / "docs" / "kernels.md").read_text().partition("\n## ")[0]
    tried = re.findall(r"^\| \S+ \| (\w+) \| (\d+\.\d+)\.", kernels, re.MULTILINE)
    releases = sorted((tuple(map(int, release.split("."))), release) for _, release in tried)
    assert f"{releases[0][1]} to {releases[-1][1]}, of" in shown
    assert len({abi for abi, _ in tried}) == 9
    assert "of nine architectures" in shown


def test_its_costs_are_those_that_were_measured() -> None:
    measured = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    shown = " ".join(README.split())
    for heading, text in (
        ("docker: bitmap hit", "an allowed call takes {} ns longer"),
        ("docker: argument-filtered", "whose arguments are compared takes {} ns longer"),
    ):
        table = measured.partition(f"### {heading}\n")[2]
        (added,) = re.findall(
            r"^\| seccompgen \|.*\| \+([\d.]+) \|", table.partition("\n###")[0], re.M
        )
        assert text.format(round(float(added))) in shown
    table = measured.partition("### docker, from the start\n")[2].partition("\n###")[0]
    most = max(map(float, re.findall(r"^\| seccompgen \| \S+ \| \S+ \| (\S+) \|", table, re.M)))
    assert f"Installing adds {most:.1f} ms to a process" in shown


def test_it_counts_what_the_profile_of_docker_allows(tmp_path: Path) -> None:
    profile = ROOT.parent / "shared" / "corpus" / "oci" / "moby-default.json"
    if not profile.exists():
        pytest.skip("needs ../shared")
    args = ("--arch", "x86_64", "--format", "bpf", "-o", tmp_path)
    assert seccompgen("build", profile, *args).code == 0
    allowed = allowed_at_once((tmp_path / "moby-default.x86_64.bpf").read_bytes())
    shown = " ".join(README.split())
    assert f"of the {len(X86_64.numbers)} calls it allows {allowed} whatever" in shown


def allowed_at_once(program: bytes) -> int:
    """Count the calls of x86_64 that a program allows whatever their arguments are."""
    arch = ABIS["x86_64"].audit_arch
    return sum(constant_allow(program, nr, arch, "little") for nr in X86_64.numbers.values())


def test_the_first_policy_is_that_of_the_example() -> None:
    (shown,) = blocks("yaml", (ROOT / "docs" / "first-policy.md").read_text())
    assert shown.removeprefix("# worker.yml\n") == (EXAMPLE / "worker.yml").read_text()


@pytest.mark.long("does all that a page shows")
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


@pytest.mark.few(1, "does all that a page shows")
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
