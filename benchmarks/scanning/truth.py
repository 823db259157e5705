"""What a program's tests make it call, beside what ``scan`` finds: a row for docs/scan.md.

``python -m benchmarks.scanning.truth PROGRAM COMMAND...``. Each COMMAND is a line for the shell,
and runs tests of PROGRAM. A stand-in takes the program's place, first in PATH and named by
``$PROGRAM``: it starts the program under strace. Other programs are not traced: strace lets go
of a process that executes something, and if that is the stand-in, it has a trace of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

STRACE = (
    'strace --quiet=all -A -D -f -b execve -e raw=all -e signal=none -o {traces}/$$ --argv0="$0" --'
)
ORIGINS = ("imported", "deeper", "by pointer", "other")
_CALL = re.compile(r"(?:\d+ +)?(?:<\.\.\. )?(?:(?=[a-z_])|Unknown syscall (?=\d+$))(\w+)(?:[( ]|$)")
_GRACE = 20.0
"""Seconds that processes may go on after their command."""


class Truth(NamedTuple):
    """What the tests called and the scan found; ``extra``: what is too much, and its origin."""

    made: frozenset[str]
    found: frozenset[str]
    extra: Mapping[str, str]

    @property
    def missing(self) -> frozenset[str]:
        """What was called and not found: an error of ``scan``."""
        return self.made - self.found

    @property
    def f1(self) -> float:
        """Twice what both have, of what each has."""
        return 2 * len(self.made & self.found) / (len(self.made) + len(self.found) or 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the commands and scan the program, and print the row; return 1 if a call is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scanning.truth")
    parser.add_argument("program", type=Path, help="as its tests shall run it")
    parser.add_argument("command", nargs="+", help="for the shell; the program is $PROGRAM")
    parser.add_argument("--names", action="store_true", help="name the calls")
    options = parser.parse_args(arguments)
    program = options.program.absolute()
    truth = compare(program, made(program, options.command))
    print(row(program.name, truth))
    if options.names:
        print("made:", *sorted(truth.made))
        for origin in ORIGINS:
            print(
                f"{origin}:", *sorted(name for name in truth.extra if truth.extra[name] == origin)
            )
    if truth.missing:
        print("MISSING:", *sorted(truth.missing))
    return bool(truth.missing)


def row(name: str, truth: Truth) -> str:
    """Return the row of the table: without the tests, which nothing here knows."""
    origins = Counter(truth.extra.values())
    cells = [len(truth.made), len(truth.found), f"{truth.f1:.2f}"]
    return f"| {name} | | {' | '.join(map(str, [*cells, *(origins[one] for one in ORIGINS)]))} |"


def made(program: Path, commands: Sequence[str]) -> frozenset[str]:
    """Return the calls of the program, and of what it forks, while the commands run."""
    with standing_in(program, STRACE) as (environment, traces):
        for command in commands:
            ended = subprocess.run(["/bin/sh", "-c", command], env=environment, check=False)
            print(f"{command!r} ended with {ended.returncode}", file=sys.stderr)
        return calls_in(traces)


@contextlib.contextmanager
def standing_in(program: Path, start: str) -> Iterator[tuple[dict[str, str], Path]]:
    """Put a stand-in, which runs ``start`` and the program, in the program's place.

    Yield the environment of its users, and the directory for traces: ``{traces}`` in ``start``.
    """
    with tempfile.TemporaryDirectory() as name:
        traces, stand_in = Path(name, "traces"), Path(name, "bin", program.name)
        traces.mkdir(mode=0o777)
        traces.chmod(0o777)  # for tests that become another user
        Path(name).chmod(0o755)
        stand_in.parent.mkdir()
        words = f'{start.format(traces=traces)} {shlex.quote(str(program))} "$@"'
        stand_in.write_text(f"#!/bin/sh\nexec {words}\n")
        stand_in.chmod(0o755)
        path = f"{stand_in.parent}:{os.environ['PATH']}"
        yield os.environ | {"PROGRAM": str(stand_in), "PATH": path}, traces


def calls_in(traces: Path) -> frozenset[str]:
    """Return the calls in all traces, once no process is traced any more."""
    end = time.monotonic() + _GRACE
    while _is_traced(traces) and time.monotonic() < end:
        time.sleep(0.1)
    files = list(traces.iterdir())
    print(f"{len(files)} processes were traced", file=sys.stderr)
    return frozenset().union(*map(_calls, files))


def _is_traced(traces: Path) -> bool:
    """Say whether a process of strace goes on, of those that write into ``traces``."""
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"{traces}/".encode() in one.read_bytes():
                return True
        except OSError:  # it has ended, or is another user's
            continue
    return False


def _calls(trace: Path) -> frozenset[str]:
    """Return the calls in a trace.

    Its start is not the program's own call. It is the one execve that strace sees return: at those
    of the program, strace lets go of the process.
    """
    lines = trace.read_text(errors="replace").splitlines()
    own = (line for line in lines if "execve(" not in line or not line.endswith("= 0"))
    return frozenset(match[1] for match in map(_CALL.match, own) if match)


def compare(program: Path, calls: frozenset[str]) -> Truth:
    """Scan the program, and say what it finds beyond ``calls``, with the origin of each."""
    found = frozenset(scan(program)["syscalls"])
    extra = found - calls
    paths = scan(program, f"--why={','.join(sorted(extra))}")["paths"] if extra else {}
    origins = {name: origin(paths[name]["steps"]) if name in paths else "other" for name in extra}
    return Truth(calls, found, origins)


def origin(steps: Sequence[Mapping[str, str]]) -> str:
    """Return by what kind of way a call is reached, from the program's entry point on."""
    ways = [one["kind"] for one in steps if one["path"] != steps[0]["path"]]
    if not ways:
        return "other"
    if set(ways) - {"import", "call", "next"}:
        return "by pointer"
    return "imported" if len(ways) == 1 else "deeper"


def scan(program: Path, *options: str) -> dict[str, Any]:
    """Return what ``scan`` prints about the program, as JSON."""
    command = [str(Path(sys.executable).with_name("seccompgen")), "scan", str(program), "--json"]
    answer = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if answer.returncode not in {0, 1}:  # 1: with something unknown
        raise SystemExit(answer.stderr)
    result: dict[str, Any] = json.loads(answer.stdout)[0]
    if result["unknown"]:
        print(f"{len(result['unknown'])} calls are unknown to scan", file=sys.stderr)
    return result


if __name__ == "__main__":
    sys.exit(main())
