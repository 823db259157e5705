"""Standard streams that are full, closed or left by their reader: the exit code says so."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from command import ROOT

if TYPE_CHECKING:
    from pathlib import Path

LOST = {
    "full": "standard output: No space left on device\n",
    "closed": "standard output: Bad file descriptor\n",
    "left": "",
}
NO_EXEC = "policies/no_exec.yml"

# Each is a command line, its exit code with streams that take all, and where it speaks: one that
# prints by click, one by print(), an error of ours and of click's, an answer that is no, a note.
ON_STDOUT: dict[str, tuple[list[str], int]] = {
    "help": (["--help"], 0),
    "text": (["syscalls", "openat2"], 0),
    "JSON, more than a pipe takes": (["syscalls", "--arch", "arm64", "--json"], 0),
    "no": (["equiv", NO_EXEC, "policies/no_network.yml", "--arch", "x86_64"], 1),
}
ON_STDERR: dict[str, tuple[list[str], int]] = {
    "usage": (["nope"], 2),
    "input": (["build", "no_such_file.yml"], 2),
    "outside": (["build", NO_EXEC, "-o", "README.md"], 3),
    "not found": (["run", NO_EXEC, "--", "no such command"], 127),
}


def run(words: list[str], spoiled: dict[int, str]) -> tuple[int, str]:
    """Return the exit code, and what came to standard error; ``spoiled`` is as `LOST` has it."""
    redirections = {"full": "/dev/full", "closed": "&-"}
    shell = " ".join(f"{n}>{redirections[how]}" for n, how in spoiled.items() if how != "left")
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-m", "seccompgen", *words]
    reader, left = os.pipe()
    os.close(reader)
    out, err = (left if spoiled.get(n) == "left" else subprocess.PIPE for n in (1, 2))
    done = subprocess.run(
        command, cwd=ROOT, stdout=out, stderr=err, text=True, timeout=120, check=False
    )
    os.close(left)
    return done.returncode, done.stderr or ""


@pytest.mark.few(1, "runs commands against what fails, one by one")
@pytest.mark.parametrize(("words", "plain"), ON_STDOUT.values(), ids=ON_STDOUT)
def test_a_result_that_cannot_be_written(words: list[str], plain: int) -> None:
    assert run(words, {})[0] == plain
    assert {how: run(words, {1: how}) for how in LOST} == {how: (3, LOST[how]) for how in LOST}


@pytest.mark.few(1, "runs commands against what fails, one by one")
@pytest.mark.parametrize(("words", "plain"), ON_STDERR.values(), ids=ON_STDERR)
def test_an_error_that_cannot_be_written(words: list[str], plain: int) -> None:
    code, told = run(words, {})
    assert (code, "Traceback" in told) == (plain, False), told
    assert told
    # The exit code is what is left to tell of it.
    assert {how: run(words, {2: how}) for how in LOST} == dict.fromkeys(LOST, (plain, ""))


@pytest.mark.few(2, "runs commands against what fails, one by one")
@pytest.mark.parametrize(("how", "code"), [("full", 3), ("left", 3), ("closed", 0)])
def test_notes_that_cannot_be_written(tmp_path: Path, how: str, code: int) -> None:
    words = ["record", "-o", str(tmp_path / "a.yml"), "--", "true"]
    assert run(words, {2: how}) == (code, "")


def test_neither_can_be_written() -> None:
    assert run(["--version"], {1: "full", 2: "full"}) == (3, "")


def test_a_pipe_that_does_not_block_gets_everything() -> None:
    """Whoever shares a terminal or a pipe with others may have made it so."""
    words = [sys.executable, "-m", "seccompgen", "syscalls", "--arch", "arm64", "--json"]
    whole = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=120).stdout
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # A page at most is in it, so that most writes find it full.
    os.write(writer, b"x" * ((1 << 16) - 4096))
    child = subprocess.Popen(words, cwd=ROOT, stdout=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        found = pipe.read()
    assert child.wait(120) == 0
    assert found.lstrip(b"x") == whole


def test_no_stream_is_replaced_that_is_not_the_process_s_own(tmp_path: Path) -> None:
    """Who calls main() with streams of his own gets what is printed."""
    code = (
        "import io, sys\n"
        "from seccompgen.__main__ import main\n"
        "sys.stdout = io.StringIO()\n"
        "sys.argv = ['seccompgen', 'syscalls', 'openat2']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(len(sys.stdout.getvalue()) > 10, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "True\n")
