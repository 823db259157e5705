"""Tests run as on a new machine, whatever this one sets."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from command import ROOT

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
    assert targets == ["test", "test-kernels", "test-ecosystem", "fresh lint types proof"]
    names = {line.partition("=")[0] for line in lines} - {*targets}
    # The shell that says so adds some of its own.
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "HOME", "LANG", "CI"}


def test_what_tests_start_has_no_python_variables() -> None:
    assert not [name for name in os.environ if name.startswith("PYTHON")]
