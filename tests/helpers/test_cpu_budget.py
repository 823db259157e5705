"""The budget: a test fails that uses too much CPU time, and a run that far exceeds it or memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CONFTEST = "import cpu_budget\ncpu_budget.CEILING = 0.15\n"
BUSY = """\
import subprocess, sys, time, pytest
SPIN = "import time\\nwhile time.process_time() < 0.4: pass"

def test_idle():
    time.sleep(0.5)

def test_child():
    subprocess.run([sys.executable, "-c", SPIN], check=True)

@pytest.mark.ecosystem
def test_free():
    subprocess.run([sys.executable, "-c", SPIN], check=True)
"""


def pytest_on(place: Path, content: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with the budget alone on tests of this content."""
    (place / "conftest.py").write_text(CONFTEST)
    (place / "test_it.py").write_text(content)
    (place / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n  ecosystem: e\n  long(reason): l\n  weekly(reason): w\n"
        "  few(count, reason): f\n  smaller: s\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "cpu_budget", "-q", *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(HERE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_test_fails_by_the_cpu_that_it_and_its_children_use(tmp_path: Path) -> None:
    run = pytest_on(tmp_path, BUSY, "--cpu-minutes=0.0001", "--cpu-times=times.csv")
    assert run.returncode == 1
    assert "3 passed, 1 error" in run.stdout
    assert "A test of `make test` may use 0.15." in run.stdout
    assert "of 0.0001 minutes" in run.stdout
    rows = [line.split(",") for line in (tmp_path / "times.csv").read_text().splitlines()]
    times = {name: float(seconds) for seconds, name in rows}
    assert times["test_it.py::test_idle"] < 0.15 < times["test_it.py::test_free"]


@pytest.mark.long("starts runs of pytest")
def test_a_run_fails_that_uses_far_more_than_its_minutes(tmp_path: Path) -> None:
    content = "def test_it():\n    pass\n"
    assert [
        pytest_on(tmp_path, content, f"--cpu-minutes={minutes}").returncode
        for minutes in (0.0001, 9)
    ] == [1, 0]


@pytest.mark.long("starts runs of pytest")
def test_a_run_fails_whose_worker_is_too_large(tmp_path: Path) -> None:
    content = "def test_it():\n    pass\n"
    run = pytest_on(tmp_path, content, "--cpu-minutes=9", "--worker-megabytes=5")
    assert run.returncode == 1
    assert re.search(r"the largest worker had \d+ of 5 MB", run.stdout)


def test_what_is_left_out_says_why(tmp_path: Path) -> None:
    run = pytest_on(tmp_path, "import pytest\n@pytest.mark.long\ndef test_it(): pass\n")
    assert (run.returncode, 'write mark.long("reason")' in run.stderr) == (4, True)


def test_few_cases_are_left_to_make_test_and_the_others_are_long(tmp_path: Path) -> None:
    content = """\
import pytest

@pytest.mark.few(2, "why")
@pytest.mark.parametrize("n", range(5))
def test_it(n): pass
"""
    kept, left = (
        pytest_on(tmp_path, content, "--collect-only", "-m", which).stdout.splitlines()
        for which in ("not long", "long")
    )
    assert kept[:2] == ["test_it.py::test_it[0]", "test_it.py::test_it[2]"]
    assert left[:3] == [f"test_it.py::test_it[{n}]" for n in (1, 3, 4)]


@pytest.mark.long("starts runs of pytest")
def test_more_of_them_and_what_a_larger_size_shows_are_left_to_the_week(tmp_path: Path) -> None:
    content = """\
import pytest
from longer import few_and_many

@pytest.mark.few(1, "why", long=2)
@pytest.mark.parametrize("n", range(5))
def test_cases(n): pass

@pytest.mark.few(1, "why")
@few_and_many(3, 9)
@pytest.mark.parametrize("n", "ab")
def test_sizes(n, examples): pass
"""
    kept, long, weekly = (
        [
            line.removeprefix("test_it.py::test_")
            for line in pytest_on(tmp_path, content, "--collect-only", "-m", which).stdout.split()
            if "::" in line
        ]
        for which in ("not long", "long and not weekly", "weekly")
    )
    assert kept == ["cases[0]", "sizes[a-3]"]
    assert long == ["cases[1]", "cases[3]", "sizes[a-9]", "sizes[b-9]"]
    assert weekly == ["cases[2]", "cases[4]", "sizes[b-3]"]
