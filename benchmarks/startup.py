"""The cost of a filter to a process of its own: time from the start on, imports, memory.

Each sample is a fresh interpreter, and tools take turns as in `timing`. Time is the processor's:
none of these processes waits for anything but others that want the processor too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import peers
from benchmarks.policies import for_peers
from benchmarks.results import OURS, Start, Starts
from benchmarks.timing import python_version, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.policies import Entry

HERE = Path(__file__).parent
TASK = "import sys; sys.path.insert(0, sys.argv[1]); import start; start.run(*sys.argv[2:])"
"""Python keeps the bytecode of what it imports, not that of a script."""
OURS_TASK = (
    "import sys; sys.path.insert(0, sys.argv[1]); import {module} as filter; filter.install()"
)
ROUNDS, MEMORY_ROUNDS = 60, 5


def measure_starts(
    name: str,
    entry: Entry,
    present: Sequence[peers.Peer],
    rounds: int = ROUNDS,
    memory_rounds: int = MEMORY_ROUNDS,
) -> Starts:
    """Measure each tool for ``entry`` in processes of its own, ours by every Python it meets.

    The C library has no part in it: it is no Python tool.
    """
    peers_of_python = [peer for peer in present if not peer.name.startswith("libseccomp")]
    pythons = dict.fromkeys([sys.executable, *(peer.python for peer in peers_of_python)])
    runs = [("", python) for python in pythons] + [(OURS, python) for python in pythons]
    runs += [(peer.name, peer.python) for peer in peers_of_python]
    process: dict[tuple[str, str], list[float]] = {run: [] for run in runs}
    importing: dict[tuple[str, str], list[float]] = {run: [] for run in runs}
    memory: dict[tuple[str, str], list[tuple[int, int]]] = {run: [] for run in runs}
    code: dict[str, list[float]] = {python: [] for python in pythons}
    with tempfile.TemporaryDirectory() as directory:
        module = _lay_out(name, entry, [tool for tool, _ in runs if tool], Path(directory))
        for tool, python in runs:
            if tool and _told(python, directory, "prove", tool) != "Seccomp:\t2\n":
                raise RuntimeError(f"{tool} put no filter in force")
        order = list(runs)
        for number in range(rounds):
            order.append(order.pop(0))
            for run in order:
                tool, python = run
                process[run].append(_used(python, directory, module, tool))
                if tool:
                    importing[run].append(float(_told(python, directory, "import", tool)))
                if tool == OURS:
                    code[python].append(float(_told(python, directory, "code", tool)))
                if number < memory_rounds:
                    words = ["memory", tool] if tool else ["memory"]
                    rss, uss = _told(python, directory, *words).split()
                    memory[run].append((int(rss), int(uss)))
    versions = {python: python_version(python) for python in pythons}
    starts = tuple(
        Start(
            tool=tool,
            python=versions[python],
            process=summary(process[tool, python]),
            importing=summary(importing[tool, python]) if tool else None,
            rss=min(rss for rss, _ in memory[tool, python]),
            uss=min(uss for _, uss in memory[tool, python]),
        )
        for tool, python in runs
    )
    return Starts(name, starts, {versions[p]: summary(samples) for p, samples in code.items()})


def _lay_out(name: str, entry: Entry, tools: Sequence[str], directory: Path) -> str:
    """Put into ``directory`` what the processes import; return the name of our module there."""
    for file in ("start.py", "tools.py"):
        shutil.copy(HERE / file, directory)
    module = peers.our_module(name, entry, directory)
    ours: dict[str, Any] = {"directory": str(directory), "module": module}
    for tool in dict.fromkeys(tools):
        policy = ours if tool == OURS else for_peers(entry)
        told = directory / f"policy_{tool.replace('-', '_')}.py"
        told.write_text(f"POLICY = {policy!r}\n")
    return module


def _used(python: str, directory: str, module: str, tool: str) -> float:
    """Return the nanoseconds that a process takes from start to end, and those that it starts.

    Ours does what a program of ours does: import and install. The others build their filter.
    """
    words = [TASK, directory, "confine", tool] if tool else ["pass"]
    if tool == OURS:
        words = [OURS_TASK.format(module=module), directory]
    pid = os.posix_spawn(python, [python, "-I", "-c", *words], os.environ)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{tool or 'a bare interpreter'} failed: wait status {status:#x}")
    return (used.ru_utime + used.ru_stime) * 1e9


def _told(python: str, directory: str, *words: str) -> str:
    """Run a task of `start`, and return what it printed."""
    command = [python, "-I", "-c", TASK, directory, *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{' '.join(words)}: {run.stderr.strip()}")
    return run.stdout
