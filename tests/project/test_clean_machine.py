"""Tests run as on a new machine, whatever this one sets."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import ROOT
from shown import console_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def make() -> Iterator[Path]:
    """A directory that everybody may enter, with a ``make`` that notes how it was called."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    (directory / "told").touch()
    (directory / "told").chmod(0o666)
    program = directory / "make"
    program.write_text(f'#!/bin/sh\n(echo "$@"; echo user=$(id -u); env) >> {directory}/told\n')
    program.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def ci_run(make: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{make}:{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",
        "CI": "true",
        "SECCOMPGEN_ANYTHING": "1",
    }
    command = [ROOT / ".ci" / "run"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.root("becomes an ordinary user")
def test_ci_runs_all_in_an_environment_that_sets_nothing_else(make: Path) -> None:
    """The README's commands as an ordinary user, who cannot enter every directory of root's."""
    lacking = [name for name in ("git", "setpriv") if not shutil.which(name)]
    if lacking or not (ROOT / ".git").exists():
        pytest.skip(f"CI starts from a checkout, with git and setpriv: no {lacking or '.git'}")
    run = ci_run(make)
    assert run.returncode == 0, run.stderr
    lines = (make / "told").read_text().splitlines()
    targets = [line for line in lines if "=" not in line]
    assert targets == [
        "system",  # which root installs, for whoever comes
        " ".join(readme_targets()),
        *("test-root", "test-long", "test-kernels", "test-ecosystem", "fresh lint types proof"),
    ]
    assert [line for line in lines if line.startswith("user=")] == [
        *("user=0", "user=59999"),
        *["user=0"] * 5,
    ]
    names = {line.partition("=")[0] for line in lines} - {*targets}
    # The shell that says so adds some of its own.
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "HOME", "LANG", "CI", "user"}
    homes = {line for line in lines if line.startswith("HOME=")}
    (home,) = homes - {f"HOME={os.environ.get('HOME', '/')}"}
    assert not Path(home.removeprefix("HOME=")).exists()


def test_ci_ends_where_no_other_user_can_be_had(make: Path) -> None:
    """It does not skip what only shows itself to users."""
    if os.geteuid() == 0:
        (make / "setpriv").write_text("#!/bin/sh\nexit 1\n")
        (make / "setpriv").chmod(0o755)
    run = ci_run(make)
    assert run.returncode == 1
    why = "nobody can become user 59999" if os.geteuid() == 0 else "only root becomes another user"
    assert run.stderr.startswith(f".ci/as-user: {why}")
    assert (make / "told").read_text() == ""


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
    debian = tmp_path / "python"
    debian.write_text(
        '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; *"-m venv"*) mkdir .venv ;; esac\n'
    )
    debian.chmod(0o755)
    for python in ("no-such-python", debian):
        command = ["make", "generate", f"PYTHON={python}"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 2
        assert run.stdout.splitlines()[0].endswith("On Debian: apt install python3-venv")
        assert not (tmp_path / ".venv").exists()


def test_what_tests_start_has_no_python_variables() -> None:
    assert not [name for name in os.environ if name.startswith("PYTHON")]
