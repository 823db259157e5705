"""Each language, whichever there are: files that were looked at, a program that runs, a page.

Whoever adds a module to ``seccompgen.languages`` adds golden/NAME, programs/NAME.sh and a page.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import ROOT, inside, snapshot
from seccompgen.languages import DEFAULT, NAMES, language
from seccompgen.pipeline.build import build_policy, shipped_tables

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
TABLES = shipped_tables()
POLICY = """
default_action: allow
unknown_action: errno(ENOSYS)
syscalls:
- {action: errno(EROFS), names: [mkdirat, mkdir]}
- action: kill_process
  names_with_args:
  - {name: personality, arguments: [{argument: 0, operation: Equal, value: 0x123456789, width: 64}]}
"""


def test_nothing_is_left_of_a_language_that_is_gone() -> None:
    assert {path.name for path in GOLDEN.iterdir() if path.is_dir()} == {*NAMES}
    assert {path.stem for path in (HERE / "programs").iterdir()} == {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_those_that_were_looked_at(name: str) -> None:
    files = language(name).write(build_policy(GOLDEN / "demo.yml", TABLES), TABLES)
    update = f"cd {GOLDEN} && seccompgen build demo.yml --format {name} -o {name}"
    assert files == snapshot(GOLDEN / name), f"if that is right: {update}"


def _program(name: str) -> str:
    path = HERE / "programs" / f"{name}.sh"
    return path.read_text() if path.is_file() else ""


def _marked(name: str) -> ParameterSet:
    reason = re.search(r"^# long: (.+)$", _program(name), re.MULTILINE)
    return pytest.param(name, marks=pytest.mark.long(reason[1])) if reason else pytest.param(name)


@pytest.mark.parametrize("name", [*map(_marked, NAMES)])
def test_a_program_is_confined(name: str, tmp_path: Path) -> None:
    """It makes no directory, says so, and is killed: see ``POLICY``."""
    script = _program(name)
    needed = re.findall(r"^# needs: (\S+)$", script, re.MULTILINE)
    assert needed
    if not all(map(shutil.which, needed)):
        pytest.skip(f"needs {', '.join(needed)}")
    (tmp_path / "demo.yml").write_text(POLICY)
    assert inside("build", "demo.yml", "--format", name, "-o", "filters", cwd=tmp_path).code == 0
    path = f"/usr/bin:{os.environ['PATH']}"  # a distribution's compilers before others' proxies
    run = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.returncode) == ("confined\n", -signal.SIGSYS), run.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_page_shows_it_and_is_found(name: str) -> None:
    page = language(name).page
    text = (ROOT / "docs" / page).read_text()
    tour = (ROOT / "docs" / "tour.md").read_text()
    assert name == DEFAULT or (f"--format {name}" in text and f"| `{name}` |" in tour)
    assert page in (ROOT / "mkdocs.yml").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_bazel_knows_it(name: str) -> None:
    assert f'"{name}"' in (ROOT / "bazel" / "formats.bzl").read_text()
