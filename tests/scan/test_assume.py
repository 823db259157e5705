"""Unknown locations as a user meets them: described, and settled by a line to paste."""

from __future__ import annotations

import json
import platform
import re
from typing import TYPE_CHECKING

import pytest
from c_programs import HEAD, compiled
from command import inside
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the programs are written for x86_64"
)

UNKNOWN = (
    "volatile long n; __attribute__((noinline)) void ask(void) { enter(n, 0, 0, 0); }"
    "void _start(void) { ask(); enter(60, 0, 0, 0); __builtin_unreachable(); }"
)
LINE = re.compile(r"--assume '(program@[0-9a-f]{16}\+0x[0-9a-f]+)=CALLS'")


def pasted(directory: Path) -> str:
    """Return what the scan of a program with one unknown function says to paste, without calls."""
    run = inside("scan", "program", cwd=directory)
    assert run.code == 1
    found = LINE.search(run.err)
    assert found, run.err
    return found[1]


def calls_of(path: Path) -> set[str]:
    return {rule.name for rule in load_policy(path, shipped_tables())[0].rules}


def test_an_unknown_function_is_described(tmp_path: Path) -> None:
    compiled(tmp_path, UNKNOWN, "-O1", "-g", "-static-pie")
    for _ in "without", "with":  # earlier results
        run = inside("scan", "program", cwd=tmp_path)
        assert re.search(r"^  function  0x[0-9a-f]+ \(ask\)$", run.err, re.MULTILINE)
        line = HEAD[: HEAD.index("__asm__")].count("\n") + 1  # the instruction is inlined
        assert f"\n  source    program.c:{line}\n" in run.err
        assert "\n  way       started: program _start > ask\n" in run.err
        assert re.search(r"^  it could  make 3[0-9]{2} more calls", run.err, re.MULTILINE)
        assert LINE.search(run.err)
        assert run.err.count("\nhint: ") == 1
    (found,) = json.loads(inside("scan", "program", "--json", cwd=tmp_path).out)
    (one,) = found["unclear"]
    assert (one["function"], one["places"]) == ("ask", 1)
    assert [step["function"] for step in one["way"]] == ["_start", "ask"]
    assert one["assume"] == pasted(tmp_path)


def test_a_stripped_function_is_described_by_its_address(tmp_path: Path) -> None:
    compiled(tmp_path, UNKNOWN, "-O1", "-static-pie", "-Wl,--strip-all")
    run = inside("scan", "program", cwd=tmp_path)
    assert re.search(r"^  function  0x[0-9a-f]+$", run.err, re.MULTILINE)
    assert "  source " not in run.err
    assert LINE.search(run.err)


@pytest.mark.parametrize(
    ("said", "more"), [("none", set()), ("getpid, read", {"getpid", "read"}), ("exit", set())]
)
def test_what_is_assumed_is_written(tmp_path: Path, said: str, more: set[str]) -> None:
    compiled(tmp_path, UNKNOWN, "-O1", "-static-pie")
    place = pasted(tmp_path)
    (tmp_path / "said").write_text(f"# looked at it\n\n{place} = {said}  # as it is used\n")
    for given in "said", f"{place}={said}":
        run = inside("scan", "program", "--assume", given, "-o", "p.yml", cwd=tmp_path)
        assert run.code == 0, run.err
        assert calls_of(tmp_path / "p.yml") == {"exit", "restart_syscall", *more}
        text = f"{place}={said.replace(' ', '')}"
        assert f"assumed: {text}\n" in run.out
        assert f"# Assumed: {text}." in (tmp_path / "p.yml").read_text()
        (tmp_path / "p.yml").unlink()
    run = inside("scan", "program", "--assume", "said", "--json", "--why", "exit", cwd=tmp_path)
    (found,) = json.loads(run.out)
    assert (found["unknown"], found["assumed"]) == ([], [text])


def test_an_assumption_does_not_outlive_the_file(tmp_path: Path) -> None:
    compiled(tmp_path, UNKNOWN, "-O1", "-static-pie")
    given = f"{pasted(tmp_path)}=none"
    compiled(tmp_path, UNKNOWN, "-O1", "-static-pie", "-DNEWER", "-g")
    run = inside("scan", "program", "--assume", given, "-o", "p.yml", cwd=tmp_path)
    assert run.code == 2
    assert "program has changed, so look again: its hash begins with " in run.err
    assert not (tmp_path / "p.yml").exists()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("program=read", "--assume: 'program=read' is not FILE@HASH+0xADDRESS=CALLS"),
        ("{place}=", "is not FILE@HASH+0xADDRESS=CALLS"),
        ("{place}0000=none", "nothing is unknown at 0x"),
        ("other{place}=none", "no file otherprogram was read"),
        ("{place}=raed", "unknown system call 'raed' on x86_64 (did you mean 'read'?)"),
        ("gone", "cannot read gone: No such file or directory"),
    ],
)
def test_wrong_assumptions_are_refused(tmp_path: Path, said: str, message: str) -> None:
    compiled(tmp_path, UNKNOWN, "-O1", "-static-pie")
    given = said.format(place=pasted(tmp_path))
    run = inside("scan", "program", "--assume", given, cwd=tmp_path)
    assert run.code == 2
    assert message in run.err


def test_a_wrong_line_of_a_file_has_its_position(tmp_path: Path) -> None:
    compiled(tmp_path, UNKNOWN, "-O1", "-static-pie")
    (tmp_path / "said").write_text("# nothing\nwrong=\n")
    run = inside("scan", "program", "--assume", "said", cwd=tmp_path)
    assert run.err.startswith("said:2: --assume: 'wrong=' is not ")
