"""Programs held to what was recorded of them, several times, however they end.

More of them, which have to be installed first, are in tests/ecosystem/test_enforced.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from enforced import ENDINGS, ITSELF, THREADS, Workload, enforced, hold, recorded
from longer import few_and_many
from running_kernel import require_x86_64

if TYPE_CHECKING:
    from pathlib import Path

require_x86_64()

SHELL = """
exec 3<&0
cat <&3 > /dev/null & cat=$!
trap 'kill $cat; echo told; exit 3' INT TERM
sleep 0.05 & sleep 0.02 | cat &
(exit 5) & wait $!
echo ready
wait
echo done
"""
PYTHON = """
import select, sys, threading
sys.excepthook = lambda *_: None
stop = threading.Event()
lock, ready = threading.Lock(), False
def work():
    while not stop.wait(0.001):
        with lock: pass
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
try:
    # A signal may come just before this waits.
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        if not ready: print("ready", flush=True)
        ready = True
finally:
    stop.set()
    for thread in threads: thread.join()
"""


OFTEN = few_and_many(2, 4, "times")


def workload(name: str, directory: Path) -> Workload:
    if name == "shell":
        return Workload(["/bin/sh", "-c", SHELL], settles=0.5)
    if name == "threads":
        gcc = shutil.which("gcc")
        if gcc is None:
            pytest.skip("gcc is missing")
        (directory / "threads.c").write_text(THREADS)
        program = directory / "threads"
        subprocess.run([gcc, "-pthread", "-o", program, directory / "threads.c"], check=True)
        return Workload([program])
    return Workload([sys.executable, "-I", "-c", PYTHON])


@pytest.mark.few(1, "records programs, and runs them under the result")
@OFTEN
@pytest.mark.parametrize("name", ["shell", "threads", "dies"])
def test_a_program_ends_as_it_does_without_a_filter(name: str, times: int, tmp_path: Path) -> None:
    made = replace(workload(name, tmp_path), times=times)
    hold(made, tmp_path, ENDINGS if times > 2 else ENDINGS[:2])


@pytest.mark.few(1, "records programs, and runs them under the result")
@OFTEN
@pytest.mark.parametrize("name", ["threads", "dies"])
def test_what_was_ended_by_a_signal_can_end_by_itself(
    name: str, times: int, tmp_path: Path
) -> None:
    """Its recording shows no end, of threads or of the process."""
    made = workload(name, tmp_path)
    policy = tmp_path / "recorded.yml"
    assert recorded(policy, made, "SIGHUP").code == 128 + 1
    for outcome in enforced(policy, made, ITSELF, times):
        assert (outcome.code, outcome.said) == (0, "ready\n"), policy.read_text()


@OFTEN
@pytest.mark.parametrize(
    "shell",
    [
        "sh",
        *[pytest.param(x, marks=pytest.mark.long("more shells")) for x in ("bash", "mksh", "zsh")],
    ],
)
def test_a_pipe_can_break_that_did_not(shell: str, times: int, tmp_path: Path) -> None:
    """Sort catches SIGPIPE, removes its files, and ends by it, which a recording may not show."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is missing")
    script = "seq 1 $0 | sort | head -n 2; true | cat; echo done"
    whole, broken = (
        Workload([found, "-c", script, count], settles=0.1) for count in ("9", "50000")
    )
    policy = tmp_path / "recorded.yml"
    assert recorded(policy, whole, ITSELF).said == "1\n2\ndone\n"
    for outcome in enforced(policy, broken, ITSELF, times):
        assert (outcome.code, outcome.said) == (0, "1\n10\ndone\n"), policy.read_text()


@pytest.mark.long("records programs, and runs them under the result")
def test_a_shell_can_wait_longer_than_it_did(tmp_path: Path) -> None:
    """Where a child has ended before the shell waits for it, the recording shows no sleep."""
    script = "sleep $0 & sleep $1; wait; echo done"
    quick, slow = (
        Workload(["/bin/sh", "-c", script, *seconds]) for seconds in (("0", "0.3"), ("0.3", "0"))
    )
    policy = tmp_path / "recorded.yml"
    assert recorded(policy, quick, ITSELF).code == 0
    for outcome in enforced(policy, slow, ITSELF, 2):
        assert (outcome.code, outcome.said) == (0, "done\n"), policy.read_text()
