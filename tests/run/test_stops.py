"""Supervisors whose command stops, when somebody continues the job at the most awkward moment.

A shell continues a job once, when it pleases: a supervisor that stops itself afterwards is stopped
for ever. So supervisors are held back before each call that they make for a stop, in turn.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel
from tracing import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

kernel.require_x86_64()

HELD_BACK = """
import os, runpy, sys, time

PLACES = {"stop_with", "_stopped", "listens", "_happened_to"}
stops = calls = 0

def is_place(frame):
    return frame.f_code.co_name in PLACES and "seccompgen" in frame.f_code.co_filename

def hold_back(frame, event, called):
    global stops, calls
    if event == "call" and frame.f_code.co_name in {"stop_with", "_stopped"}:
        within = frame.f_back.f_code.co_name == "_stopped"
        stops, calls = (stops, calls) if within else (stops + 1, 0)
    elif event == "c_call" and called.__module__ in {"posix", "_signal"}:
        if is_place(frame) or is_place(frame.f_back):
            calls += 1
            if calls == stops:
                os.close(os.open(f"held-{stops}", os.O_CREAT))
                while not os.path.exists(f"continued-{stops}"):
                    time.sleep(0.01)

sys.setprofile(hold_back)
runpy.run_module("seccompgen", run_name="__main__", alter_sys=True)
"""
STOPPED_EARLY = """
import os, runpy, signal, sys

def stop(frame, event, _):
    if event == "call" and frame.f_code.co_name == "die_with":
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGTSTP)
    elif event == "call" and frame.f_code.co_name == "seize":
        os.waitid(os.P_PID, frame.f_locals["tid"], os.WEXITED | os.WSTOPPED | os.WNOWAIT)

sys.setprofile(stop)
runpy.run_module("seccompgen", run_name="__main__", alter_sys=True)
"""
STOPS = 24
"""More than there are calls."""
LEAST_HELD = 5
"""Of them, before it has stopped."""
POLICY = "policy.yml"
# Each sh asks for its parent, so that it needs a supervisor that goes on.
STOPPER = """
i=1
while [ $i -le {stops} ]; do echo $i; kill -{signal} $$; sh -c :; i=$((i+1)); done
exit 5
"""
THREADED = """
import ctypes, os, signal, sys, threading

def ask():
    while True:
        os.getppid()

def stop():
    for i in range(1, int(sys.argv[2]) + 1):
        print(i, flush=True)
        signal.raise_signal(signal.SIGTSTP)
        os.getppid()
    os._exit(5)

for _ in range(3):
    threading.Thread(target=ask, daemon=True).start()
if sys.argv[1] == "ends":
    threading.Thread(target=stop).start()
    ctypes.CDLL(None).syscall(60, 0)  # exit(2): of this thread alone
stop()
"""
SUPERVISORS = {
    "notify": ("run", "--trace", "--by", "notify", POLICY, "--"),
    "ptrace": ("run", "--trace", "--by", "ptrace", POLICY, "--"),
    "record": ("record", "-o", "recorded.yml", "--"),
}


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Job:
    """A command under a supervisor, in a process group of its own, as a shell starts a job."""

    def __init__(self, place: Path, supervisor: str, *command: str, of: tuple[str, ...]) -> None:
        self._said = place / "said"
        with self._said.open("w") as out:
            self._process = subprocess.Popen(
                [sys.executable, *of, *SUPERVISORS[supervisor], *command],
                stdout=out,
                cwd=place,
                process_group=0,
            )

    def is_stopped(self) -> bool:
        """True if the supervisor is, as a shell sees it."""
        return state(self._process.pid) == "T"

    def has_said(self, word: int) -> bool:
        return self._said.read_text().split()[-1:] == [str(word)]

    def go_on(self) -> None:
        os.killpg(self._process.pid, signal.SIGCONT)

    def end(self) -> int:
        return self._process.wait(120)

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@pytest.fixture
def job(no_parent: Path, tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Start a job under ``no_parent``."""
    started = []

    def start(*words: str, of: tuple[str, ...] = ("-m", "seccompgen")) -> Job:
        started.append(Job(tmp_path, *words, of=of))
        return started[-1]

    no_parent.rename(tmp_path / POLICY)
    yield start
    for one in started:
        one.close()


@pytest.mark.parametrize(
    ("supervisor", "number"),
    [
        ("notify", "TSTP"),
        ("ptrace", "STOP"),
        *[
            pytest.param(*which, marks=pytest.mark.long("the same stops under other supervisors"))
            for which in (("notify", "STOP"), ("ptrace", "TSTP"), ("record", "TSTP"))
        ],
    ],
)
def test_a_job_that_is_continued_goes_on_whenever_that_comes(
    supervisor: str, number: str, job: Callable[..., Job], tmp_path: Path
) -> None:
    (tmp_path / "held_back.py").write_text(HELD_BACK)
    script = STOPPER.format(stops=STOPS, signal=number)
    one = job(supervisor, "sh", "-c", script, of=("held_back.py",))
    held = 0

    def is_held_or_stopped() -> bool:
        return (tmp_path / f"held-{stop}").exists() or one.is_stopped()

    for stop in range(1, STOPS + 1):
        wait_for(partial(one.has_said, stop))  # it went on after the stop before
        wait_for(is_held_or_stopped)
        held += not one.is_stopped()
        one.go_on()
        (tmp_path / f"continued-{stop}").touch()
    assert one.end() == 5
    assert held >= LEAST_HELD


@pytest.mark.parametrize(
    "first",
    [
        pytest.param("stays", marks=pytest.mark.long("less than where its first thread ends")),
        "ends",
    ],
)
@pytest.mark.parametrize("supervisor", SUPERVISORS)
def test_a_job_of_busy_threads_stops_and_goes_on(
    supervisor: str, first: str, job: Callable[..., Job], tmp_path: Path
) -> None:
    """Its threads stop one after the other, and its first thread may have ended before."""
    (tmp_path / "threaded.py").write_text(THREADED)
    one = job(supervisor, sys.executable, "threaded.py", first, "8")
    for stop in range(1, 9):
        wait_for(partial(one.has_said, stop))
        wait_for(one.is_stopped)
        one.go_on()
    assert one.end() == 5


@pytest.mark.few(1, "runs programs under a tracer again and again")
@pytest.mark.parametrize("supervisor", SUPERVISORS)
def test_a_job_that_is_stopped_before_its_command_begins_goes_on(
    supervisor: str, job: Callable[..., Job], tmp_path: Path
) -> None:
    (tmp_path / "stopped_early.py").write_text(STOPPED_EARLY)
    one = job(supervisor, "sh", "-c", "exit 5", of=("stopped_early.py",))
    wait_for(one.is_stopped)
    one.go_on()
    assert one.end() == 5


@pytest.mark.few(1, "runs programs under a tracer again and again")
@pytest.mark.parametrize("supervisor", SUPERVISORS)
def test_a_job_that_ends_before_its_command_begins_ends_by_the_signal(
    supervisor: str, job: Callable[..., Job], tmp_path: Path
) -> None:
    code = STOPPED_EARLY.replace("signal.SIGTSTP", "signal.SIGTERM")
    (tmp_path / "killed_early.py").write_text(code)
    one = job(supervisor, "sh", "-c", "exit 5", of=("killed_early.py",))
    assert one.end() == (128 + signal.SIGTERM if supervisor == "record" else -signal.SIGTERM)
