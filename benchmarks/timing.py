"""Measurements by the clock: installing a filter, and calls under it.

Tools take turns, each round another one first, so that what drifts on the machine drifts for
all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

import corpus
from oracle import U64
from strategies import plain_tables

from benchmarks import peers
from benchmarks.policies import for_peers
from benchmarks.results import OURS, Calls, Install, Times

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.policies import Entry

Call = tuple[int, ...]
"""A number, and arguments; those that are not given are 0."""

SOURCE = Path(__file__).parent / "timing.c"
INSTALL_ROUNDS, INSTALL_SAMPLES = 5, 10
CALL_ROUNDS, CALLS_A_ROUND = 101, 30_000
ERRNO = 0x00050000

CHEAP = ("getppid", "getuid", "geteuid", "getgid", "getegid", "getpgrp", "getpid", "gettid")
"""They look at no argument, and do next to nothing."""
WITH_ARGUMENTS: dict[str, dict[int, int]] = {
    "ioctl": {0: U64},
    "madvise": {},
    "mmap": {},
    "mprotect": {},
    "personality": {},
}
"""They do next to nothing if the arguments that a policy leaves open are these, or else 0: on no
descriptor, with no bytes of memory, or to the calling process alone."""
UNIMPLEMENTED = (
    *("_sysctl", "create_module", "get_kernel_syms", "query_module", "nfsservctl", "getpmsg"),
    *("putpmsg", "afs_syscall", "tuxcall", "security", "vserver"),
)
"""Linux has no more than their numbers: without a filter they fail at once as well."""


class Timer:
    """The compiled ``timing.c``, on one processor. Raises peers.Missing without a C compiler."""

    def __init__(self, directory: Path) -> None:
        self._program = directory / "timing"
        options = ["-O2", "-Wall", "-Wextra", "-Werror", "-o"]
        command: list[str | Path] = ["gcc", *options, self._program, SOURCE]
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError:
            message = "calls are not timed: gcc is missing: apt-get install gcc libc6-dev"
            raise peers.Missing(message) from None

    def run(
        self, program: Path | None, calls: Sequence[Call], total: int = CALLS_A_ROUND
    ) -> tuple[float, list[int]]:
        """Return nanoseconds for a call, and what each of ``calls`` returned."""
        words = [",".join(map(str, call)) for call in calls]
        passes = str(max(1, total // len(calls)))
        run = subprocess.run(
            [self._program, program or "-", passes, *words],
            capture_output=True,
            text=True,
            check=True,
        )
        nanoseconds, *results = run.stdout.split()
        return float(nanoseconds), [int(result) for result in results]


def workloads(entry: Entry) -> dict[str, list[Call]]:
    """Return calls of each kind that a process can make a million times under ``entry``."""
    table = plain_tables()["x86_64"]
    found: dict[str, list[Call]] = {
        "bitmap hit": [
            (table[name],) for name in CHEAP if _always(entry, table[name]) == corpus.ALLOW
        ],
        "argument-filtered": list(chain(*(_filtered(entry, name) for name in WITH_ARGUMENTS))),
        "refused": [
            (table[name],)
            for name in UNIMPLEMENTED
            if name in table and (_always(entry, table[name]) or 0) & ~0xFFFF == ERRNO
        ],
    }
    return {kind: calls for kind, calls in found.items() if calls}


def _always(entry: Entry, nr: int) -> int | None:
    """Return what a call gets whatever its arguments, None if they matter."""
    rules = entry["rules"].get(str(nr), [])
    answers = [action for condition, action in rules if condition is None] or [entry["default"]]
    conditional = {action for condition, action in rules if condition is not None}
    return int(answers[0]) if conditional <= {answers[0]} else None


def _filtered(entry: Entry, name: str) -> list[Call]:
    """Return a call of ``name`` for each of the alternatives in which it is allowed."""
    nr = plain_tables()["x86_64"][name]
    if _always(entry, nr) is not None:
        return []
    found = []
    for condition, _ in entry["rules"][str(nr)]:
        for conjunction in condition or []:
            args = corpus.satisfying(conjunction)
            constrained = {atom[0] for atom in conjunction}
            for argument, value in WITH_ARGUMENTS[name].items():
                if argument not in constrained:
                    args[argument] = value
            if corpus.direct(entry, nr, args) == corpus.ALLOW:
                found.append((nr, *args))
    return found


def time_calls(
    policy: str,
    entry: Entry,
    programs: Mapping[str, bytes],
    timer: Timer,
    rounds: int = CALL_ROUNDS,
) -> Calls:
    """Time each kind of call under each of the programs for ``entry``, and under none."""
    kinds = workloads(entry)
    samples: dict[str, dict[str | None, list[float]]] = {
        kind: {tool: [] for tool in (None, *programs)} for kind in kinds
    }
    with tempfile.TemporaryDirectory() as directory:
        files: dict[str | None, Path | None] = {None: None}
        for name, program in programs.items():
            file = files[name] = Path(directory, name)
            file.write_bytes(program)
        order = list(files)
        for _ in range(rounds):
            order.append(order.pop(0))
            for kind, calls in kinds.items():
                for tool in order:
                    nanoseconds, results = timer.run(files[tool], calls)
                    samples[kind][tool].append(nanoseconds)
                    if tool and kind == "refused":
                        expected = [-(corpus.direct(entry, c[0], [0] * 6) & 0xFFFF) for c in calls]
                        assert results == expected, f"{tool} does not refuse {calls}: {results}"
    return Calls(
        policy=policy,
        workloads={kind: _described(calls) for kind, calls in kinds.items()},
        times={
            kind: {tool: summary(one) for tool, one in of_kind.items()}
            for kind, of_kind in samples.items()
        },
    )


def _described(calls: Sequence[Call]) -> str:
    names = {nr: name for name, nr in sorted(plain_tables()["x86_64"].items(), reverse=True)}
    counts: dict[str, int] = {}
    for nr, *_ in calls:
        counts[names[nr]] = counts.get(names[nr], 0) + 1
    return ", ".join(f"{name} ({n} vectors)" if n > 1 else name for name, n in counts.items())


def time_installs(
    name: str,
    entry: Entry,
    present: Sequence[peers.Peer],
    rounds: int = INSTALL_ROUNDS,
    samples: int = INSTALL_SAMPLES,
) -> tuple[Install, ...]:
    """Time each tool until its filter for ``entry`` is in force, ours by every Python it meets."""
    pythons = dict.fromkeys([sys.executable, *(peer.python for peer in present)])
    runs = [(OURS, python) for python in pythons]
    runs += [(peer.name, peer.python) for peer in present]
    bare: dict[tuple[str, str], list[int]] = {run: [] for run in runs}
    loaded: dict[tuple[str, str], list[int]] = {run: [] for run in runs}
    with tempfile.TemporaryDirectory() as directory:
        ours = {"directory": directory, "module": peers.our_module(name, entry, Path(directory))}
        theirs = for_peers(entry)
        order = list(runs)
        for _ in range(rounds):
            order.append(order.pop(0))
            for tool, python in order:
                given = ours if tool == OURS else theirs
                words = ["install", tool, str(samples)]
                answer = json.loads(peers.work(python, words, given))
                bare[tool, python] += answer["bare"]
                loaded[tool, python] += answer["loaded"]
    versions = {python: python_version(python) for python in pythons}
    return tuple(
        Install(run[0], versions[run[1]], summary(bare[run]), summary(loaded[run])) for run in runs
    )


def python_version(python: str) -> str:
    """Return the version of an interpreter."""
    command = [python, "-Ic", "import platform; print(platform.python_version())"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def summary(samples: Sequence[float]) -> Times:
    """Return what is told of ``samples``."""
    low, median, high = quantiles(samples, n=4, method="inclusive")
    return Times(min(samples), low, median, high)


def stay_on_one_processor() -> None:
    """Keep this process and its children where the scheduler cannot move them."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
