"""Counting by ``benchmarks/userlands``: what it keeps, compares and writes, without a user land."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.userlands import measure, predict, report, roots, runs
from benchmarks.userlands.measure import Cell
from benchmarks.userlands.predict import Prediction
from benchmarks.userlands.programs import PROGRAMS
from benchmarks.userlands.runs import Outcome, Refused

PTHREADS = Refused("clone3", "", "pthread_create", "libc.so.6")
LOADER = Refused("rseq", "", "", "ld-linux-x86-64.so.2")
PIPE = Refused("pipe2", "O_CLOEXEC|O_NONBLOCK", "pipe2", "libc.so.6")
BELOW = Cell(
    "redis", "trixie-libc", "5:6.0.16-1+deb11u2", {"EPERM": "no thread"}, (PTHREADS, LOADER),
    {"EPERM": ["clone3"]},
)  # fmt: skip
WHOLE = Cell(
    "redis", "trixie", "5:8.0.2-3", {"EPERM": "no", "ENOSYS": "no"}, (PTHREADS, PIPE, LOADER),
    {"EPERM": ["clone3", "pipe2"], "ENOSYS": ["pipe2"]},
)  # fmt: skip
SAID = [
    Prediction("clone3", True, ""),
    Prediction("rseq", True, ""),
    Prediction("fchmodat2", True, ""),
    Prediction("openat2", False, ""),
]


def test_what_was_said_is_compared_with_what_was_seen() -> None:
    compared = predict.compare(WHOLE, SAID, "EPERM")
    assert compared.missed == {"pipe2"}
    assert compared.missed_breaks == {"pipe2"}
    assert compared.false_alarms == {"fchmodat2"}
    assert compared.harmless == {"rseq"}
    assert predict.compare(WHOLE, SAID, "ENOSYS").harmless == {"clone3", "rseq"}


def test_a_server_is_judged_by_what_it_answers_and_a_script_by_what_it_writes() -> None:
    one, other = Outcome(0, "4", "pid 1", ""), Outcome(0, "4", "pid 2", "")
    assert one.works_as(other, PROGRAMS["redis"])
    assert not one.works_as(other, PROGRAMS["git"])
    assert not one.works_as(Outcome(0, "5", "pid 1", ""), PROGRAMS["redis"])
    assert not one.works_as(Outcome(1, "4", "pid 1", ""), PROGRAMS["redis"])


def test_a_cell_is_read_as_it_was_kept(tmp_path: Path) -> None:
    file = tmp_path / "measured" / "cell.json"
    assert measure.kept(file) is None
    measure.keep(WHOLE, file)
    assert measure.kept(file) == WHOLE


def row(lines: list[str], start: str) -> list[str]:
    """Return the cells of the row of a table that begins so."""
    (line,) = (line for line in lines if line.startswith(f"| {start} |"))
    return line.removeprefix("| ").removesuffix(" |").split(" | ")


def test_the_tables_count_runs() -> None:
    compared = {
        (cell.program, cell.land, action): predict.compare(cell, SAID, action)
        for cell in (BELOW, WHOLE)
        for action in runs.ACTIONS
    }
    calls = report.calls([BELOW, WHOLE])
    assert row(calls, "`clone3`") == ["`clone3`", "`pthread_create`", "1", "1", "2 of 2", "0 of 2"]
    pipe = ["`pipe2`", "`pipe2(O_CLOEXEC\\|O_NONBLOCK)`", "0", "1", "1 of 1", "1 of 1"]
    assert row(calls, "`pipe2`") == pipe
    assert row(calls, "`rseq`")[1] == "`ld-linux-x86-64`"
    missed = report.misses([BELOW, WHOLE], compared)
    assert row(missed, "`pipe2`") == ["`pipe2`", "a newer program", "redis", "1", "1"]
    alarms = report.alarms([BELOW, WHOLE], compared)
    assert row(alarms, "`fchmodat2`") == ["`fchmodat2`", "2", "0"]
    assert row(alarms, "`rseq`") == ["`rseq`", "0", "2"]


def test_a_call_that_was_not_tried_alone_is_not_called_harmless() -> None:
    untried = replace(WHOLE, breaking=None)
    assert predict.compare(untried, SAID, "EPERM").harmless == frozenset()
    assert row(report.calls([untried]), "`rseq`")[-2:] == ["", ""]


def test_a_call_that_is_permitted_with_other_arguments_goes_by_its_constant() -> None:
    compared = predict.compare(WHOLE, [Prediction("pipe2", True, "")], "EPERM", {"pipe2"})
    assert "pipe2 O_CLOEXEC|O_NONBLOCK" in compared.missed
    assert compared.false_alarms == {"pipe2"}


def test_each_program_has_its_verdict() -> None:
    land = roots.UserLand("trixie", "debian:13", (Path(),))
    (line,) = report.programs([WHOLE], [land])[2:]
    assert line == "| redis | 8.0.2: breaks, 3 refused |"


@pytest.mark.parametrize(
    ("version", "shown"),
    [("5:8.0.2-3", "8.0.2"), ("1.35+dfsg-6", "1.35"), ("1:2.47.3-0+deb13u1", "2.47.3")],
)
def test_versions_are_shown_without_what_debian_puts_around_them(version: str, shown: str) -> None:
    assert report.upstream(version) == shown
