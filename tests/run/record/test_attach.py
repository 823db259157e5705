"""Processes that are recorded while they run, and go on afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import seccompgen
from recording import calls
from running_kernel import require_x86_64

if TYPE_CHECKING:
    from collections.abc import Iterator

require_x86_64()

SERVER = """
import os, select, signal, sys, threading, time
signal.signal(signal.SIGPIPE, lambda *_: None)
threading.Thread(target=select.poll().poll, args=(10**8,), daemon=True).start()
def work():
    while True: time.sleep(0.005)
for _ in range(3): threading.Thread(target=work, daemon=True).start()
os.getpgid(0)
print("ready", flush=True)
for line in sys.stdin:
    if line == "fork\\n":
        if not os.fork():
            os.getsid(0)
            os._exit(0)
        os.wait()
    elif line == "thread\\n":
        thread = threading.Thread(target=os.getpriority, args=(0, 0))
        thread.start()
        thread.join()
    elif line == "leave\\n":
        os.sched_getscheduler(0)
    print("done", line, end="", flush=True)
"""


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", SERVER], stdin=pipe, stdout=pipe, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def ask(server: subprocess.Popen[str], word: str) -> None:
    assert server.stdin
    assert server.stdout
    server.stdin.write(f"{word}\n")
    server.stdin.flush()
    assert server.stdout.readline() == f"done {word}\n"


def watch(policy: Path, *pids: int) -> subprocess.Popen[str]:
    """Start to record processes; returns when it does."""
    words = [sys.executable, "-m", "seccompgen", "record", "--exact", "-o", str(policy)]
    words += [word for pid in pids for word in ("-p", str(pid))]
    recorder = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert recorder.stderr
    assert recorder.stderr.readline().startswith("watching until Ctrl-C")
    return recorder


def tracers(pid: int) -> set[str]:
    """Return who traces the threads of a process."""
    found = set()
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = status.read_text().splitlines()
        found |= {line.split()[1] for line in lines if line.startswith("TracerPid:")}
    return found


def states(pid: int) -> set[str]:
    """Return the letters that proc(5) has for the states of a process's threads."""
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    return {stat.read_text().rpartition(")")[2].split()[0] for stat in stats}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_is_watched_and_goes_on(
    server: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    policy = tmp_path / "recorded.yml"
    recorder = watch(policy, server.pid)
    ask(server, "fork")
    ask(server, "thread")
    recorder.send_signal(number)
    _, err = recorder.communicate(timeout=60)
    assert (recorder.returncode, err) == (0, f"wrote {policy}\n")
    assert tracers(server.pid) == {"0"}
    found = {*calls(policy)}
    # What waits in a call when it begins to be watched is in that call; threads are, all of them.
    assert {"read", "write", "getsid", "getpriority", "clock_nanosleep", "wait4"} <= found
    assert {"exit_group", "exit", "rt_sigreturn"} <= found
    assert not found & {"getpgid", "execve", "sched_getscheduler"}
    ask(server, "leave")
    ask(server, "fork")
    out, _ = server.communicate(timeout=60)
    assert (server.returncode, out) == (0, "")


def test_what_was_there_before_counts(server: subprocess.Popen[str], tmp_path: Path) -> None:
    """Threads, handlers, and a call that goes on under another name when it was interrupted."""
    policy = tmp_path / "recorded.yml"
    recorder = watch(policy, server.pid)
    recorder.send_signal(signal.SIGINT)
    recorder.communicate(timeout=60)
    assert {"poll", "exit", "tkill"} <= {*calls(policy)}
    assert "clone3" not in calls(policy)


def test_what_is_watched_outlives_a_killed_recorder(
    server: subprocess.Popen[str], tmp_path: Path
) -> None:
    recorder = watch(tmp_path / "recorded.yml", server.pid)
    recorder.kill()
    recorder.communicate()
    ask(server, "fork")
    assert tracers(server.pid) == {"0"}


def test_the_end_of_what_is_watched_is_the_end(
    server: subprocess.Popen[str], tmp_path: Path
) -> None:
    policy = tmp_path / "recorded.yml"
    recorder = watch(policy, server.pid)
    server.communicate(timeout=60)
    _, err = recorder.communicate(timeout=60)
    assert (recorder.returncode, server.returncode) == (0, 0), err
    assert "exit_group" in calls(policy)


def test_a_stopped_process_stays_stopped(server: subprocess.Popen[str], tmp_path: Path) -> None:
    server.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WNOWAIT)
    recorder = watch(tmp_path / "recorded.yml", server.pid)
    recorder.send_signal(signal.SIGINT)
    recorder.communicate(timeout=60)
    # Let go, it has to run as far as to the stop.
    deadline = time.monotonic() + 120
    while states(server.pid) != {"T"}:
        assert time.monotonic() < deadline, states(server.pid)
        time.sleep(0.01)
    server.send_signal(signal.SIGCONT)
    ask(server, "fork")


LEADERLESS = """
import ctypes, os, threading
libc = ctypes.CDLL(None)
def work():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z": pass
    print("ready", flush=True)
    os.read(0, 1)
    os._exit(os.getsid(0) * 0)
threading.Thread(target=work).start()
libc.syscall(60, 0)
"""


def test_a_process_goes_on_when_its_first_thread_has_ended(tmp_path: Path) -> None:
    """The kernel says of a thread that has ended what it says of one that another traces."""
    policy, pipe = tmp_path / "recorded.yml", subprocess.PIPE
    words = [sys.executable, "-I", "-c", LEADERLESS]
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            recorder = watch(policy, process.pid)
            process.communicate("x", timeout=60)
            _, err = recorder.communicate(timeout=60)
        finally:
            process.kill()
    assert (recorder.returncode, err) == (0, f"wrote {policy}\n")
    assert {"read", "getsid", "exit_group"} <= {*calls(policy)}


def test_children_from_before_are_named(tmp_path: Path) -> None:
    shell = subprocess.Popen(
        ["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE, text=True
    )
    assert shell.stdout
    child = int(shell.stdout.readline())
    policy = tmp_path / "recorded.yml"
    words = [sys.executable, "-m", "seccompgen", "record", "--exact", "-o", str(policy)]
    words += ["-p", str(shell.pid)]
    recorder = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert recorder.stderr
    assert f"not {child}, which it started before" in recorder.stderr.readline()
    os.kill(child, signal.SIGKILL)
    recorder.communicate(timeout=60)
    shell.communicate(timeout=60)
    assert "wait4" in calls(policy)


def test_what_cannot_be_watched_is_told(tmp_path: Path) -> None:
    policy = tmp_path / "recorded.yml"
    gone = subprocess.Popen(["true"])
    gone.wait()
    missing = seccompgen("record", "-o", policy, "-p", str(gone.pid))
    assert (missing.code, missing.err) == (3, f"there is no process {gone.pid}\n")
    with subprocess.Popen(["true"]) as over:
        os.waitid(os.P_PID, over.pid, os.WEXITED | os.WNOWAIT)
        ended = seccompgen("record", "-o", policy, "-p", str(over.pid))
    assert (ended.code, ended.err) == (3, f"there is no process {over.pid}\n")
    mixed = seccompgen("record", "-o", policy, "-p", str(os.getpid()), "--", "true")
    assert mixed.code == 2
    assert "it takes no command" in mixed.err
    assert not policy.exists()
