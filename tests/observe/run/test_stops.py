"""Supervisors whose command stops, when somebody continues the job at the most awkward moment.

A shell continues a job once, when it pleases: a supervisor that stops itself afterwards is stopped
for ever. So supervisors are held back before each call that they make for a stop, in turn.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel

if TYPE_CHECKING:
    from collections.abc import Callable

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
STOPS = 24
"""More than there are calls."""
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
    for i in range(20):
        print(i + 1, flush=True)
        os.kill(os.getpid(), signal.SIGTSTP)
        threading.get_native_id() == os.getpid() or os.getppid()
    os._exit(5)

for _ in range(3):
    threading.Thread(target=ask, daemon=True).start()
if sys.argv[1] == "goes":
    threading.Thread(target=stop).start()
    ctypes.CDLL(None).syscall(60, 0)  # exit(2): ends this thread alone
stop()
"""
SUPERVISORS = {
    "notify": ("run", "--trace", "--by", "notify"),
    "ptrace": ("run", "--trace", "--by", "ptrace"),
    "record": ("record", "-o", "recorded.yml", "--"),
}


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("how", "number"),
    [
        *(("notify", "TSTP"), ("notify", "STOP"), ("ptrace", "TSTP"), ("ptrace", "STOP")),
        ("record", "TSTP"),
    ],
)
def test_a_job_that_is_continued_goes_on_whenever_that_comes(
    how: str, number: str, no_parent: Path, tmp_path: Path
) -> None:
    (tmp_path / "held_back.py").write_text(HELD_BACK)
    words = SUPERVISORS[how] if how == "record" else (*SUPERVISORS[how], str(no_parent), "--")
    script = STOPPER.format(stops=STOPS, signal=number)
    said, held = tmp_path / "said", 0

    def says(word: str) -> Callable[[], bool]:
        return lambda: said.read_text().split()[-1:] == [word]

    def is_held_or_stopped(stop: int) -> bool:
        return (tmp_path / f"held-{stop}").exists() or state(job.pid) == "T"

    with (
        said.open("w") as out,
        subprocess.Popen(
            [sys.executable, "held_back.py", *words, "sh", "-c", script],
            stdout=out,
            cwd=tmp_path,
            process_group=0,
        ) as job,
    ):
        try:
            for stop in range(1, STOPS + 1):
                wait_for(says(str(stop)))  # it went on after the stop before
                wait_for(functools.partial(is_held_or_stopped, stop))
                held += state(job.pid) != "T"
                os.killpg(job.pid, signal.SIGCONT)
                (tmp_path / f"continued-{stop}").touch()
            assert job.wait(120) == 5
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
    assert held >= 2
