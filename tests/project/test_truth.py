"""What a program's tests make it call: the program's own calls, and each that a scan lacks."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.scanning import truth

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char **words)
{
    getpgid(0);
    if (count == 1)
        sched_yield();
    else if (fork())
        wait(0);
    else if (getsid(0) >= 0) /* 0 where its leader is in another PID namespace */
        execvp(words[1], words + 1);
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gcc = shutil.which("gcc")
    if gcc is None or shutil.which("strace") is None:
        pytest.skip("gcc and strace are needed")
    program = tmp_path_factory.mktemp("truth") / "program"
    command = [gcc, "-x", "c", "-O1", "-o", str(program), "-"]
    subprocess.run(command, input=SOURCE, text=True, check=True)
    return program


def test_what_forked_processes_call_counts_and_what_they_execute_does_not(program: Path) -> None:
    own = truth.made(program, ["program id"])
    assert own >= {"getpgid", "getsid", "wait4", "execve", "exit_group"}
    assert not own & {"getuid", "geteuid", "sched_yield"}, "the call of another program counts"


def test_the_program_counts_where_it_is_executed_again(program: Path) -> None:
    alone = truth.made(program, ["$PROGRAM"])
    assert "sched_yield" in alone
    assert "execve" not in alone, "its start counts as its own call"
    assert "sched_yield" in truth.made(program, ["$PROGRAM $PROGRAM"])
    assert "sched_yield" not in truth.made(program, [f"$PROGRAM {program}"])


def test_what_a_scan_lacks_is_told(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [*truth.made(program, ["$PROGRAM"]), "uname"]

    def scan(*_: object) -> dict[str, Any]:
        return {"syscalls": found, "paths": {"uname": {"steps": steps(("p", "started"))}}}

    monkeypatch.setattr(truth, "scan", scan)
    assert truth.main([str(program), "$PROGRAM"]) == 0
    assert capsys.readouterr().out.endswith("| 0 | 0 | 0 | 1 |\n")
    found.remove("getpgid")
    assert truth.main([str(program), "$PROGRAM"]) == 1
    assert capsys.readouterr().out.endswith("MISSING: getpgid\n")


def steps(*those: tuple[str, str]) -> list[dict[str, str]]:
    return [{"path": path, "kind": kind} for path, kind in those]


def test_the_shortest_way_gives_the_origin() -> None:
    start = ("p", "started")
    assert truth.origin(steps(start, ("p", "pointer"))) == "other"
    assert truth.origin(steps(start, ("p", "pointer"), ("c", "import"))) == "imported"
    assert truth.origin(steps(start, ("c", "import"), ("c", "call"), ("c", "next"))) == "deeper"
    assert truth.origin(steps(start, ("c", "import"), ("c", "pointer"))) == "by pointer"
