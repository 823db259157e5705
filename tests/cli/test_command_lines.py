"""What each command says to a bare call, `--help` and a wrong option, whatever click it has.

The texts are in golden/, a file a command. ``python tests/cli/test_command_lines.py FOLDER`` writes
those of the click that it imports: that is how they are made, and how another release is tried.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from seccompgen.__main__ import main
from seccompgen.cli.commands import COMMANDS

GOLDEN = Path(__file__).with_name("golden")
ALONE = "seccompgen"
NOT_BARE = {"init", "tables", "schema", "syscalls"}
"""Commands that are not called bare: two would write files or ask the network, two print tables."""


def told(name: str) -> str:
    """Return the calls of a command in an empty directory, each with its exit code and output."""
    before = [] if name == ALONE else [name]
    calls = [[*before, "--help"], [*before, "--nope"]]
    if name not in NOT_BARE:
        calls.insert(0, before)
    return "\n".join(_called(words) for words in calls)


def _called(words: list[str]) -> str:
    out, code = io.StringIO(), 0
    with (
        tempfile.TemporaryDirectory() as empty,
        contextlib.chdir(empty),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
        mock.patch.object(sys, "argv", ["seccompgen", *words]),
        mock.patch.dict(os.environ, {"COLUMNS": "80", "SHELL": "", "HOME": empty}),
    ):
        try:
            main()
        except SystemExit as stop:
            assert isinstance(stop.code, int)
            code = stop.code
        assert not list(Path(empty).iterdir()), words
    return f"$ {' '.join(['seccompgen', *words])}\n{out.getvalue()}exit {code}\n"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The texts, made by a process of their own: in this one other tests change click's state."""
    folder = tmp_path_factory.mktemp("texts") / "golden"
    subprocess.run([sys.executable, __file__, folder], check=True)
    return folder


@pytest.mark.parametrize("name", [ALONE, *COMMANDS])
def test_a_command_says_what_somebody_has_read(name: str, written: Path) -> None:
    assert (written / f"{name}.txt").read_text() == (GOLDEN / f"{name}.txt").read_text()


def test_each_text_is_of_a_command() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {ALONE, *COMMANDS}


def _write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.txt"):
        old.unlink()
    for name in (ALONE, *COMMANDS):
        (folder / f"{name}.txt").write_text(told(name))


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
