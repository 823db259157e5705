"""``seccompgen run --trace`` from outside, and processes to wait for."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command import ROOT, Result, forked

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = sys.executable
NO_EXEC = ROOT / "policies" / "no_exec.yml"
NOTIFY, PTRACE = ["--trace", "--by", "notify"], ["--trace", "--by", "ptrace"]
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
"""The head of a command that runs without capabilities, as root else has them."""
both = pytest.mark.parametrize("how", [NOTIFY, PTRACE], ids=["notify", "ptrace"])


def run(*words: str | Path) -> Result:
    return forked("run", *words)


def traced(how: list[str], policy: Path, code: str) -> tuple[Result, list[dict[str, Any]]]:
    """Run Python code under the policy; also return what was refused."""
    done = run(*how, "--json", policy, "--", PYTHON, "-c", code)
    lines = [line for line in done.err.splitlines() if line.startswith("{")]
    return done, [json.loads(line) for line in lines]


@contextlib.contextmanager
def start(*words: str | Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [PYTHON, "-m", "seccompgen", "run", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    ) as child:
        try:
            yield child
        finally:
            left = [child.pid, *children(child.pid)]
            for pid in left if child.poll() is None else ():
                os.kill(pid, signal.SIGKILL)


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


@contextlib.contextmanager
def halted(pid: int) -> Iterator[None]:
    """Have a process stopped meanwhile: it sees what happens only afterwards, in one piece."""
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: state(pid) == "T")
    yield
    os.kill(pid, signal.SIGCONT)


def killed(pid: int) -> None:
    """Kill a process; returns when it has ended, though nobody may have reaped it."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid))


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for task in tasks for word in task.read_text().split()]


def alive(pid: int) -> bool:
    return state(pid) not in {"", "Z", "X"}


def state(pid: int) -> str:
    """Return the letter that proc(5) has for the state; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
