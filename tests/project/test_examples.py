"""The examples that are more than a page of the README: what theirs shows is what happens."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import running_kernel as kernel
from command import ROOT, Result, checkout, said, seccompgen
from pages import EXAMPLES, PYTHONS, blocks

kernel.require_x86_64()

BROKER = ROOT / "examples" / "file_broker"


def example(source: Path, place: Path) -> str:
    """Build the example in a copy at ``place``; return what its README shows."""
    (shown,) = [block for block in EXAMPLES if f"cd examples/{source.name}\n" in block]
    shutil.copytree(source, place, ignore=shutil.ignore_patterns("sandbox", "__pycache__"))
    build = seccompgen("build", "worker.yml", "-o", "sandbox", cwd=place)
    assert build.out in shown
    return shown


def run(python: str, place: Path, *names: str) -> Result:
    if not Path(python).exists():
        pytest.skip(f"there is no {python}")
    environment = {name: value for name, value in os.environ.items() if "PYTHON" not in name}
    done = subprocess.run(
        [python, "-W", "error", "main.py", *names],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=kernel.TIMEOUT,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "python",
    [PYTHONS[0], *[pytest.param(p, marks=pytest.mark.long("another Python")) for p in PYTHONS[1:]]],
)
def test_the_broker_does_what_its_readme_shows(python: str, tmp_path: Path) -> None:
    shown = example(BROKER, tmp_path / "file_broker")
    commands = [line for line in shown.splitlines() if line.startswith("$ python3 main.py")]
    for command, code in zip(commands, (0, 1), strict=True):
        names = command.partition("#")[0].split()[3:]
        done = run(python, tmp_path / "file_broker", *names)
        assert done.code == code, done
        assert f"{command}\n{done.out}{done.err}" in shown


def test_the_broker_gives_nothing_but_its_library(tmp_path: Path) -> None:
    place = tmp_path / "file_broker"
    example(BROKER, place)
    (place / "library" / "link").symlink_to("/etc/passwd")
    done = run(sys.executable, place, "link", "..", ".", "", "x" * 5000)
    assert done == Result(
        0,
        "link: Too many levels of symbolic links\n"
        "..: Permission denied\n"
        ".: Is a directory\n"
        ": Is a directory\n"
        f"{'x' * 5000}: File name too long\n",
        "",
    )


def test_the_page_shows_parts_of_the_broker() -> None:
    shown = blocks("python", (ROOT / "docs" / "runtime.md").read_text())
    parts = [block for block in shown if "notification." in block]
    assert len(parts) == 2
    assert [block for block in parts if block not in (BROKER / "main.py").read_text()] == []


@pytest.mark.long("compiles a whole checkout, as make generate does at each run")
def test_one_command_generates_examples_and_all_else(tmp_path: Path) -> None:
    """A run that is killed leaves either all of it old or all of it new."""
    tree = checkout(tmp_path / "checkout")
    example = tree / "examples" / "small"
    (example / "seccomp").mkdir(parents=True)
    (example / "pyproject.toml").write_text(
        '[tool.seccompgen]\npolicies = "seccomp"\noutput = "sandbox"\n'
    )
    policy = example / "seccomp" / "worker.yml"
    rest = "arches: [x86_64]\nsyscalls: [{action: allow, names: [read]}]\n"
    policy.write_text(f"default_action: errno\n{rest}")
    # Filters that nobody commits are not made.
    assert said(seccompgen("tables", "--check", cwd=tree))[0] == 0
    assert seccompgen("build", cwd=example).code == 0
    policy.write_text(f"default_action: errno(EACCES)\n{rest}")
    module = example / "sandbox" / "worker" / "__init__.py"
    stale = seccompgen("tables", "--check", cwd=tree)
    assert stale.code == 1
    assert stale.err.startswith(
        f"{module}: is stale: worker.yml has changed; 1 program would change"
    )
    assert "wrote examples/small/sandbox/worker (2 files)" in seccompgen("tables", cwd=tree).out
    assert seccompgen("build", "--check", cwd=example).code == 0
