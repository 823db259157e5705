"""Processes change how long it takes and nothing else, whatever becomes of them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pool_work import die_at_three, foreign_threads, long_answer, refuse_odd, square
from seccompgen.core.errors import Diagnostic, InputError, OutsideError, Position, SeccompgenError
from seccompgen.pipeline import pool
from seccompgen.pipeline.pool import available_cpus, spread

HELPERS = Path(__file__).parents[1] / "helpers"


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to processes from the second job on, however little there is to do."""
    monkeypatch.setattr(pool, "START_UP", 1e-9)


@pytest.fixture(autouse=True)
def nothing_is_left() -> None:
    assert multiprocessing.active_children() == []


@pytest.mark.few(2, "builds again and again")
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    found = list(spread(square, 7, range(12), workers))
    assert not any(isinstance(one, SeccompgenError) for one in found)
    values = [one for one in found if not isinstance(one, SeccompgenError)]
    assert [value for value, _ in values] == [7 + job * job for job in range(12)]
    others = {pid for _, pid in values} - {os.getpid()}
    assert bool(others) == (workers > 1)
    assert len(others) <= workers
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("eager")
def test_numpy_starts_no_threads_in_processes() -> None:
    found = list(spread(foreign_threads, None, range(4), 2))
    values = [one for one in found if not isinstance(one, SeccompgenError)]
    others = [threads for process, threads in values if process != os.getpid()]
    assert others
    assert not any(others)


def test_little_work_starts_no_process() -> None:
    found = list(spread(square, 0, range(0, 30, 3), 8))
    assert {one[1] for one in found if not isinstance(one, SeccompgenError)} == {os.getpid()}


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("jobs", [[], [3]])
def test_one_job_or_none_starts_no_process(jobs: list[int]) -> None:
    found = list(spread(square, 0, jobs, 8))
    assert found == [(job * job, os.getpid()) for job in jobs]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("workers", [1, 3])
def test_errors_keep_their_place_and_their_positions(workers: int) -> None:
    found = list(spread(refuse_odd, "job", range(6), workers))
    assert found[::2] == [0, 2, 4]
    for job, error in zip((1, 3, 5), found[1::2], strict=True):
        assert isinstance(error, InputError)
        assert error.diagnostics == (
            Diagnostic(f"job {job} is odd", Position("file", job, 1)),
            Diagnostic("and that is no good"),
        )


def test_an_error_survives_pickling() -> None:
    error = OutsideError(Diagnostic("a", Position("f", 1, 2)), "b")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.diagnostics, str(copy)) == (
        OutsideError,
        error.diagnostics,
        str(error),
    )


@pytest.mark.usefixtures("eager")
def test_a_worker_that_dies_is_an_error() -> None:
    found: list[object] = []
    with pytest.raises(OutsideError, match="a compiling process died"):
        found.extend(spread(die_at_three, os.getpid(), range(40), 2))
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("eager")
def test_a_worker_that_dies_while_it_answers_is_an_error() -> None:
    with contextlib.closing(spread(long_answer, None, range(6), 2)) as results:
        # Nobody reads now, so that both are stuck in the middle of an answer.
        assert [next(results), next(results)] == [bytes([job]) * (8 << 20) for job in (0, 1)]
        time.sleep(0.5)
        for process in multiprocessing.active_children():
            process.kill()
        with pytest.raises(OutsideError, match="a compiling process died"):
            list(results)


@pytest.mark.usefixtures("eager")
def test_closing_ends_the_workers() -> None:
    with contextlib.closing(spread(square, 0, range(100), 3)) as results:
        assert next(results) == (0, os.getpid())
        assert next(results)
        assert len(multiprocessing.active_children()) == 3
    assert multiprocessing.active_children() == []


NOWHERE = """
import multiprocessing.spawn, os, sys
sys.path.insert(0, sys.argv[1])
from pool_work import square
from seccompgen.pipeline import pool
pool.START_UP = 1e-9
multiprocessing.spawn.set_executable(sys.argv[2])
found = list(pool.spread(square, 1, range(4), 3))
print(found == [(1 + job * job, os.getpid()) for job in range(4)])
"""


@pytest.mark.parametrize("interpreter", ["/bin/false", "/nowhere"])
def test_where_no_process_comes_up_the_work_is_done_here(interpreter: str) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", NOWHERE, HELPERS, interpreter],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("True\n", "")


@pytest.mark.usefixtures("eager")
def test_where_no_process_may_be_created_the_work_is_done_here() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
            if os.geteuid() == 0:  # whom the limit does not bind
                os.setuid(65534)
            with pytest.raises(BlockingIOError):
                os.fork()
            found = list(spread(square, 1, range(4), 3))
            os.write(
                writer, b"done" if found == [(1 + n * n, os.getpid()) for n in range(4)] else b"?"
            )
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"done"


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from pool_work import nap
from seccompgen.pipeline import pool
pool.START_UP = 1e-9
if __name__ == "__main__":
    list(pool.spread(nap, Path(sys.argv[2]), range(9), 3))
"""


# Where tests run in the background, their children are told to ignore Ctrl-C.
AT_A_TERMINAL = ["env", "--default-signal=INT"]


@pytest.fixture
def napping(tmp_path: Path) -> subprocess.Popen[str]:
    """A parent whose three workers have all begun."""
    marks = tmp_path / "marks"
    marks.mkdir()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen(
        [*AT_A_TERMINAL, sys.executable, script, HELPERS, marks],
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    while len(list(marks.iterdir())) < 4:
        assert parent.poll() is None
        time.sleep(0.01)
    return parent


def all_gone(group: int) -> bool:
    """Wait until no process of the group is left, but for those that only wait to be reaped."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        states = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) == group and fields[0] != "Z":
                    states.append(stat)
        if not states:
            return True
        time.sleep(0.02)
    return False


def test_ctrl_c_ends_all_of_them_and_only_the_parent_says_so(
    napping: subprocess.Popen[str],
) -> None:
    os.killpg(napping.pid, signal.SIGINT)
    _, err = napping.communicate()
    assert napping.returncode == -signal.SIGINT
    assert err.count("Traceback") == 1  # the script's own
    assert all_gone(napping.pid)


def test_workers_whose_parent_was_killed_end_too(napping: subprocess.Popen[str]) -> None:
    os.kill(napping.pid, signal.SIGKILL)
    napping.communicate()
    assert napping.returncode == -signal.SIGKILL
    assert all_gone(napping.pid)


def test_cpus_are_those_that_the_process_may_use() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        os.write(writer, str(available_cpus()).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"1"
