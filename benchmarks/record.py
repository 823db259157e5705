"""The cost of recording beside ``strace -f``, and a check that both see the same.

``python -m benchmarks.record`` writes RECORD.md. Each figure is the best of several runs, in
turns, for what else runs only adds to it; calls are compared as sets.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import machine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).parent
ROUNDS = 5
CALLS = 100_000
LOOP = f"""
#include <sys/syscall.h>
#include <unistd.h>
int main(void)
{{
    for (int i = 0; i < {CALLS}; i++)
        syscall(SYS_getppid);
    return 0;
}}
"""
SERVER = """
import http.server, threading, urllib.request
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
server.RequestHandlerClass.log_message = lambda *args: None
server.RequestHandlerClass.do_GET = lambda self: (self.send_response(200), self.end_headers())
threading.Thread(target=server.serve_forever, daemon=True).start()
def load():
    for _ in range(50):
        urllib.request.urlopen("http://127.0.0.1:%d/" % server.server_address[1]).read()
clients = [threading.Thread(target=load) for _ in range(8)]
for client in clients: client.start()
for client in clients: client.join()
server.shutdown()
"""
FILES = "for _ in range(5000): open('/proc/self/cmdline').read()"
SHELL = "for n in 1 2 3 4 5 6 7 8 9 10; do ls -l /usr/bin | sort | wc -l; done"
SHORT = {
    "`sh -c :`": ["/bin/sh", "-c", ":"],
    "`make -n`": ["make", "-n", "-f", "{directory}/Makefile"],
    "`python3 -I -c pass`": [sys.executable, "-I", "-c", "pass"],
    "`git status`": ["git", "-C", "{directory}/repository", "status", "--short"],
    "20 processes of a shell": [
        "/bin/sh",
        "-c",
        "for n in 1 2 3 4 5; do ls / | sort; expr $n; done",
    ],
    "`ls -lR /usr/share/doc`": ["ls", "-lR", "/usr/share/doc"],
}
"""Short commands, that is such as end before Python has started."""
MAKEFILE = "".join(f"all: t{n}\nt{n}:\n\t@echo {n}\n" for n in range(50))
FILES_OF_A_REPOSITORY = 500
FLOOR = [sys.executable, "-I", "-S", "-c", "pass"]
"""Python alone: no program in it starts faster."""
TIMING = frozenset({"restart_syscall", "futex", "sched_yield", "rt_sigreturn", "rt_sigsuspend"})
"""Calls that depend on when threads run; any run may lack them."""


@dataclass(frozen=True, slots=True)
class Row:
    """The time of a workload in seconds of processor time, by how it was run.

    ``only`` are the calls that only one of the two saw.
    """

    name: str
    seconds: Mapping[str, float]
    calls: int
    only: Mapping[str, Sequence[str]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    parser.add_argument("-o", metavar="DIR", type=Path, default=HERE, help="default: %(default)s")
    options = parser.parse_args(arguments)
    gcc, strace = shutil.which("gcc"), shutil.which("strace")
    if gcc is None or strace is None:
        parser.error("gcc and strace are needed: apt-get install gcc libc6-dev strace")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "loop.c").write_text(LOOP)
        loop = str(directory / "loop")
        subprocess.run([gcc, "-O1", "-o", loop, directory / "loop.c"], check=True)
        workloads = {
            "nothing (`true`)": ["/bin/true"],
            f"{CALLS} calls in a row": [loop],
            "CPython, 5000 files read": [sys.executable, "-I", "-c", FILES],
            "CPython, a server with 8 clients": [sys.executable, "-I", "-c", SERVER],
            "40 processes of a shell": ["/bin/sh", "-c", SHELL],
        }
        rows = [
            measure(name, command, strace, directory, options.rounds)
            for name, command in workloads.items()
        ]
        short = [
            measure(name, command, strace, directory, options.rounds)
            for name, command in short_commands(directory).items()
        ]
    floor = min(spent(FLOOR)[0] for _ in range(options.rounds))
    path = options.o / "RECORD.md"
    path.write_text(render(rows, short, floor))
    print(f"wrote {path}", file=sys.stderr)


def short_commands(directory: Path) -> dict[str, list[str]]:
    """Return those that this machine has, with what they work on below ``directory``."""
    (directory / "Makefile").write_text(MAKEFILE)
    repository = directory / "repository"
    repository.mkdir()
    for number in range(FILES_OF_A_REPOSITORY):
        (repository / f"{number}.txt").touch()
    if git := shutil.which("git"):
        subprocess.run([git, "-C", repository, "init", "--quiet"], check=True)
        subprocess.run([git, "-C", repository, "add", "."], check=True)
    return {
        name: [word.format(directory=directory) for word in command]
        for name, command in SHORT.items()
        if shutil.which(command[0])
    }


def spent(words: Sequence[str]) -> tuple[float, bytes]:
    """Run a command; return its processor time in seconds, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def measure(name: str, command: Sequence[str], strace: str, directory: Path, rounds: int) -> Row:
    """Run a workload bare, under strace and recorded, in turns."""
    print(f"running {name}", file=sys.stderr)
    policy, trace = directory / "recorded.yml", directory / "trace"
    program = str(Path(sys.executable).with_name("seccompgen"))
    record = [program, "record", "-o", str(policy)]
    ways = {
        "bare": [*command],
        "strace": [strace, "-f", "-o", str(trace), *command],
        "record": [*record, "--json", "--", *command],
        "again": [*record, "--merge", str(policy), "--", *command],
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    said = b""
    for _ in range(rounds):
        policy.unlink(missing_ok=True)
        for way, words in ways.items():
            seconds, printed = spent(words)
            taken[way].append(seconds)
            if way == "record":
                said = printed
    lines = trace.read_text(errors="replace")
    calls = re.findall(r"^\d+ +(\w+)\(", lines, re.MULTILINE)
    resumed = re.findall(r"^\d+ +<\.\.\. (\w+) resumed", lines, re.MULTILINE)
    report = json.loads(said[said.rindex(b'{\n  "exit_code"') :])
    theirs = {*calls, *resumed}
    ours = {call["name"] for call in report["calls"]}
    only = {"strace": sorted(theirs - ours), "record": sorted(ours - theirs)}
    return Row(name, {way: min(taken[way]) for way in ways}, len(calls), only)


def render(rows: Sequence[Row], short: Sequence[Row], floor: float) -> str:
    """Return the report."""
    start = rows[0].seconds
    lines = [
        "# Recording beside strace",
        "",
        "Written by `python -m benchmarks.record`.",
        "",
        *(f"- {what}: {text}" for what, text in machine.describe().items()),
        "",
        "Seconds of processor time, of the command and of what watches it, the best of several",
        "runs in turns: unlike the clock, that does not measure what else a machine does. *Again*",
        "is `record --merge` with what the run before it wrote: it compiles a filter first, then",
        "what is known runs without a stop. *Cost* is what `record` adds to the bare run, as a",
        "ratio to what `strace -f` adds; what each takes to start is taken off first.",
        "",
        "| workload | calls | bare | `strace -f` | `record` | again | cost |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [f"{row.seconds[way]:.3f}" for way in ("bare", "strace", "record", "again")]
        ratio = "" if row is rows[0] else f"{_cost(row, start, 'record'):.2f}"
        lines.append(f"| {row.name} | {row.calls} | {' | '.join(cells)} | {ratio} |")
    lines += ["", *_short(rows, short, floor)]
    lines += ["", "Calls that only one of the two saw:", ""]
    for row in (*rows, *short):
        for tool, names in row.only.items():
            explained = " (timing)" if {*names} <= TIMING else ""
            if names:
                lines.append(f"- {row.name}: only {tool}: {', '.join(names)}{explained}")
    if lines[-1] == "":
        lines.append("- none")
    return "\n".join(lines) + "\n"


def _short(rows: Sequence[Row], short: Sequence[Row], floor: float) -> list[str]:
    """Return what is to say of short commands: what starting costs, and when it is made up for."""
    start, loop = rows[0], rows[1]
    first = {way: start.seconds[way] for way in ("strace", "record")}
    each = {way: (loop.seconds[way] - first[way]) / (loop.calls - start.calls) for way in first}
    told = [
        f"To start, `record` takes {first['record']:.3f} s, of which {floor:.3f} are Python's",
        f"(`python3 -I -S -c pass`), and `strace -f` {first['strace']:.3f}. A call of the loop",
        f"above costs {each['record'] * 1e6:.1f} µs and {each['strace'] * 1e6:.1f}.",
    ]
    if each["record"] < each["strace"]:
        calls = (first["record"] - first["strace"]) / (each["strace"] - each["record"])
        told.append(f"So `record` is the cheaper from about {round(calls, -3):.0f} calls on.")
    told += [
        "",
        "| short command | calls | bare | `strace -f` | `record` |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(short, key=lambda row: row.calls):
        cells = [f"{row.seconds[way]:.3f}" for way in ("bare", "strace", "record")]
        told.append(f"| {row.name} | {row.calls} | {' | '.join(cells)} |")
    return told


def _cost(row: Row, start: Mapping[str, float], way: str) -> float:
    """Return how much longer ``way`` makes a workload than bare, as a ratio to strace's."""

    def added(one: str) -> float:
        return (row.seconds[one] - start[one]) - (row.seconds["bare"] - start["bare"])

    return added(way) / added("strace")


if __name__ == "__main__":
    main()
