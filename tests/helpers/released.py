"""Our wheel, the sources that it is made from, and the versions that we test with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from command import ROOT
from once_a_run import once_a_run

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDERS = (
    *("docs", "examples", "generated", "generator", "policies", "release", "requirements"),
    "templates",
)
_FILES = (
    "Makefile",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    ".pre-commit-hooks.yaml",
    "action.yml",
)


def built_wheel(directory: Path) -> Path:
    """Write our wheel into a directory; return its path. It is built once a run."""
    name, content = once_a_run("wheel", _built)
    wheel = directory / name
    wheel.write_bytes(content)
    return wheel


def _built() -> tuple[str, bytes]:
    with TemporaryDirectory() as place:
        words = ("-m", "build", "--wheel", "--no-isolation", "--outdir", place)
        run(sys.executable, *words, ROOT)
        (wheel,) = Path(place).glob("seccompgen-*.whl")
        return wheel.name, wheel.read_bytes()


def lay_out(directory: Path) -> Path:
    """Copy what a package, an action and a hook are made from; return the directory."""
    for name in _FOLDERS:
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FILES:
        shutil.copy(ROOT / name, directory)
    return directory


def plain_path(place: Path) -> str:
    """Return a PATH without the tests' environment, whose python3 is the one under it."""
    commands = place / "bin"
    commands.mkdir()
    python = commands / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys._base_executable} "$@"\n')  # type: ignore[attr-defined]
    python.chmod(0o755)
    ours = os.path.realpath(os.path.dirname(sys.executable))  # noqa: PTH120 - PATH has text
    rest = [one for one in os.environ["PATH"].split(os.pathsep) if os.path.realpath(one) != ours]
    return os.pathsep.join([str(commands), *rest])


def pins() -> str:
    """Return the versions that we test with, as constraints for pip."""
    lines = {
        line.removesuffix(" \\")
        for name in ("dev.txt", "ecosystem.txt")
        for line in (ROOT / "requirements" / name).read_text().splitlines()
        if "==" in line
    }
    return "\n".join(sorted(lines))


def run(
    *args: str | Path, cwd: Path = ROOT, code: int = 0, env: Mapping[str, str] | None = None
) -> str:
    done = subprocess.run(
        args,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def ended(
    *words: str | Path,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    timeout: float = 280,
) -> tuple[int, str]:
    """Run a command that gets no input; return its exit code and all that it prints."""
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done.returncode, done.stdout


def commit(repository: Path) -> str:
    """Commit all of a directory, a repository or not yet; return the commit."""
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    run("git", "init", "--quiet", cwd=repository)
    run("git", "add", "-A", cwd=repository)
    run("git", *who, "commit", "--quiet", "--allow-empty", "-m", "all", cwd=repository)
    return run("git", "rev-parse", "HEAD", cwd=repository).strip()
