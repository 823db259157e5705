"""Tests run as on a new machine, whatever this one sets."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from command import ROOT
from shown import console_blocks

if TYPE_CHECKING:
    from pathlib import Path


def test_ci_runs_all_in_an_environment_that_sets_nothing_else(tmp_path: Path) -> None:
    make = tmp_path / "make"
    make.write_text(f'#!/bin/sh\n(echo "$@"; env) >> {tmp_path}/told\n')
    make.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",
        "CI": "true",
        "SECCOMPGEN_ANYTHING": "1",
    }
    subprocess.run([ROOT / ".ci" / "run"], env=environment, check=True)
    lines = (tmp_path / "told").read_text().splitlines()
    targets = [line for line in lines if "=" not in line]
    assert targets == [
        *readme_targets(),
        *("test-long", "test-kernels", "test-ecosystem", "fresh lint types proof"),
    ]
    names = {line.partition("=")[0] for line in lines} - {*targets}
    # The shell that says so adds some of its own.
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "HOME", "LANG", "CI"}


def readme_targets() -> list[str]:
    """Return what README.md says first: CI begins with that, so each command on the page is run."""
    (first, *_) = console_blocks("README.md")
    commands = [step.command.split() for step in first.steps()]
    assert [program for program, _ in commands] == ["make", "make"]
    return [target for _, target in commands]


def test_make_says_what_is_missing_where_no_environment_can_be_made(tmp_path: Path) -> None:
    for path in ("Makefile", "pyproject.toml", "requirements/dev.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    command = ["make", "generate", "PYTHON=no-such-python"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stdout.splitlines()[0].endswith("On Debian: apt install python3-venv")
    assert not (tmp_path / ".venv").exists()


def test_what_tests_start_has_no_python_variables() -> None:
    assert not [name for name in os.environ if name.startswith("PYTHON")]
