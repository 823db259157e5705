"""Workloads that are recorded, then run under what was recorded, however they end.

A workload says on stdout, or by what it listens on, that it is ready. Then it is ended: by itself,
at the end of its stdin, or by a signal. What the policies here do not allow kills, so that no
refused call goes unnoticed where a program takes it lightly.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from running_kernel import install_raw
from seccompgen.core.abis import ABIS
from seccompgen.pipeline.build import build_policy, shipped_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

ITSELF = "itself"
ENDINGS = (ITSELF, "SIGTERM", "SIGINT")
Running = subprocess.Popen[str]
READY = "ready\n"
"""The line by which a workload says that it is ready."""
GRACE = 120.0
"""Seconds that a workload may take to be ready, or to end."""

THREADS = """
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile sig_atomic_t over;
static void told(int number) { over = number; }
static void *work(void *unused)
{
    while (!over) {
        pthread_mutex_lock(&lock);
        usleep(100);
        pthread_mutex_unlock(&lock);
    }
    return unused;
}
int main(void)
{
    struct sigaction action = { .sa_handler = told };
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    struct pollfd end = { .events = POLLIN };
    for (int ready = 0; !over && poll(&end, 1, 10) <= 0; ready = 1)
        if (!ready) {
            puts("ready");
            fflush(stdout);
        }
    int number = over;
    over = 1;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    return number;
}
"""
"""A program in C, whose threads contend for a lock until a signal, or the end of its input."""


@dataclass(frozen=True)
class Workload:
    """A command, and how to tell that it is ready: it says `READY`, or ``port`` accepts.

    ``use`` is what is done with it then, whose result has to be the same each time. It is run so
    many ``times``, ``at_once`` of them beside each other, and goes on for ``settles`` seconds
    before it is ended: what it waits in is part of it.
    """

    command: Sequence[str | Path]
    port: int = 0
    use: Callable[[], object] = lambda: None
    times: int = 10
    at_once: int = 5
    settles: float = 0.0
    directory: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """A run: its exit status as shells tell it, its output, and the result of its use."""

    code: int
    said: str
    used: object


def start(
    words: Sequence[str | Path],
    install: Callable[[], object] | None = None,
    directory: Path | None = None,
) -> Running:
    """Start a command line; ``install`` is called just before it is executed."""
    pipe = subprocess.PIPE

    return subprocess.Popen(
        [*map(str, words)],
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=directory,
        preexec_fn=install,  # noqa: PLW1509 - there are no threads
        close_fds=install is None,  # those calls would be the filter's to judge
    )


def finish(running: Sequence[Running], workload: Workload, ending: str) -> list[Outcome]:
    """Wait until runs of a workload are ready, use each, end them, and return how that went."""
    outcomes = []
    try:
        begun = [(_await(one, workload), workload.use()) for one in running]
        time.sleep(workload.settles)
        for one in running:
            assert one.stdin
            if ending == ITSELF:
                one.stdin.close()
            else:
                one.send_signal(signal.Signals[ending])
        for one, (said, used) in zip(running, begun, strict=True):
            assert one.stdout
            one.wait(GRACE)
            code = 128 - one.returncode if one.returncode < 0 else one.returncode
            outcomes.append(Outcome(code, said + one.stdout.read(), used))
    finally:
        for one in running:
            one.kill()
            one.wait()
            for file in filter(None, (one.stdin, one.stdout)):
                file.close()
    return outcomes


def _await(process: Running, workload: Workload) -> str:
    assert process.stdout
    if not workload.port:
        lines = [process.stdout.readline()]
        while lines[-1] not in {"", READY}:
            lines.append(process.stdout.readline())
        return "".join(lines)
    deadline = time.monotonic() + GRACE
    while process.poll() is None:
        assert time.monotonic() < deadline
        try:
            socket.create_connection(("127.0.0.1", workload.port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return ""
    return process.stdout.read()


def recorded(policy: Path, workload: Workload, ending: str) -> Outcome:
    """Record a run, which kills what it did not see, and return how it went."""
    record = [sys.executable, "-m", "seccompgen", "record", "--exact", "-o", str(policy)]
    words = [*record, "--default-action", "kill_process", "--", *workload.command]
    (outcome,) = finish([start(words, None, workload.directory)], workload, ending)
    assert policy.exists(), outcome
    # What the recorder says itself is about the run, not of it.
    lines = outcome.said.splitlines(keepends=True)
    ours = ("note: ", f"wrote {policy}", "waiting for ", "ending ")
    return Outcome(
        outcome.code, "".join(line for line in lines if not line.startswith(ours)), outcome.used
    )


def enforced(policy: Path, workload: Workload, ending: str, times: int) -> list[Outcome]:
    """Run a workload under a policy, several times, and return how each went."""
    (program,) = build_policy(policy, shipped_tables(), [ABIS["x86_64"]]).programs
    code = program.to_bytes()
    outcomes: list[Outcome] = []
    while len(outcomes) < times:
        count = min(workload.at_once, times - len(outcomes))
        running = [
            start(workload.command, lambda: install_raw(code), workload.directory)
            for _ in range(count)
        ]
        outcomes += finish(running, workload, ending)
    return outcomes


def hold(workload: Workload, directory: Path, endings: Sequence[str] = ENDINGS) -> None:
    """Record a workload once for each way to end, and run it several times under each policy.

    Each run ends as one without a filter, and says the same.
    """
    for ending in endings:
        (bare,) = finish([start(workload.command, None, workload.directory)], workload, ending)
        policy = directory / f"{ending}.yml"
        assert recorded(policy, workload, ending) == bare, ending
        for outcome in enforced(policy, workload, ending, workload.times):
            assert outcome == bare, f"{ending}: {outcome}, not {bare}\n{policy.read_text()}"
