"""What each program calls that ``scan`` lacks, and whether it runs under what was found.

``python -m benchmarks.scanning.workloads DIR``, as root, after ``python -m benchmarks.scanning
DIR``: fills three columns of SCANNING.md. Each program does the work of `work/NAME.sh`, three
times: alone, under strace, and under the policy of its scan, with ``kill_process`` for the rest.
All three must end well and print the same. Programs for aarch64 run under QEMU, which prints
their calls as strace does. No filter can hold them there: the kernel sees QEMU's calls.

The packages' /usr and /etc lie over this machine's, in a mount namespace, so that a program runs
with the libraries that were scanned; servers listen in a network namespace.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.kernel.shipped import shipped_tables

from benchmarks.scanning import getting, truth
from benchmarks.scanning.programs import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.scanning.programs import Program

_HERE = Path(__file__).parent
_SECCOMPGEN = Path(sys.executable).with_name("seccompgen")
_QEMU = "qemu-aarch64 -L {root}"
_MOST_SECONDS = 120
_ENTER = """
ip link set lo up
for part in $OVER; do mount -t overlay -o lowerdir="$ROOT/$part:/$part" overlay "/$part"; done
mount -t tmpfs tmpfs /run
trap 'jobs -p >/run/jobs; kill $(cat /run/jobs) 2>/dev/null || :' EXIT
wait_for() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; return 1; }
. "$1"
"""


class Result(NamedTuple):
    """What one program called, what of that its scan lacks, and whether it ran under that."""

    made: frozenset[str]
    missing: frozenset[str]
    runs: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the work of each program, and fill its row; return 1 if a call is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scanning.workloads")
    parser.add_argument("directory", type=Path, help="where the programs are")
    parser.add_argument("--only", metavar="NAME", action="append", help="this one; repeatable")
    parser.add_argument("--page", type=Path, default=_HERE.parent / "SCANNING.md")
    options = parser.parse_args(arguments)
    is_bad = False
    for program in PROGRAMS:
        script = _HERE / "work" / f"{program.name.partition(',')[0]}.sh"
        if (options.only and program.name not in options.only) or not script.exists():
            continue
        result = result_of(program, script, options.directory.absolute())
        lacks = " ".join(["; MISSING:", *sorted(result.missing)]) if result.missing else ""
        print(f"{program.name} ({program.abi}): {len(result.made)}, {result.runs}{lacks}")
        is_bad |= bool(result.missing) or result.runs == "no"
        options.page.write_text(filled(options.page.read_text(), program, result))
    return is_bad


def result_of(program: Program, script: Path, directory: Path) -> Result:
    """Let the program do its work in all three ways."""
    root = getting.root_of(directory, program.abi)
    is_foreign = program.abi == "aarch64"
    if program.source == "debian":
        # The name that it is called by may be a link, and decide what it is.
        called = root / "".join(named(script, "called") or [program.file])
    else:
        called = getting.get_other(program, directory)
    file = called.resolve()
    if program.source == "debian" and not is_foreign:
        called = Path("/", called.relative_to(root))
    # Extension modules: which ones a program loads, no scan can see.
    loaded = [f"--library={root / one}" for one in named(script, "loads")]
    found = truth.scan(file, f"--root={root}", *loaded)
    plain = _QEMU.format(root=root) if is_foreign else ""
    expected, _ = work(script, called, plain, root)
    traced = f"{plain} -strace -D {{traces}}/$$" if is_foreign else truth.STRACE
    printed, made = work(script, called, traced, root)
    if not expected or not made or printed != expected:
        raise SystemExit(f"{program.name}: {printed!r} when traced, or else {expected!r}")
    names = shipped_tables().tables[program.abi].names  # QEMU knows newer calls by number alone
    made = frozenset(names[int(one)] if one.isdecimal() else one for one in made)
    runs = "under QEMU" if is_foreign else "unknown"
    if not is_foreign and not found["unknown"]:
        with tempfile.TemporaryDirectory() as name:
            Path(name).chmod(0o755)
            policy = Path(name, "policy.yml")
            allowed = ",".join({"execve"}.union(*started(script, root)))
            options = [f"--root={root}", "--default-action=kill_process", f"--allow={allowed}"]
            command = [str(_SECCOMPGEN), "scan", str(file), "-o", str(policy), *loaded]
            subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
            held, _ = work(script, called, f"{_SECCOMPGEN} run {policy} --", root, check=False)
        runs = "yes" if held == expected else "no"
        if runs == "no":
            print(f"{program.name}: {held!r} under its policy, or else {expected!r}")
    return Result(made, made - {*found["syscalls"]}, runs)


def started(script: Path, root: Path) -> Iterator[Sequence[str]]:
    """Yield the calls of each program that the work's program starts, and which it confines."""
    for one in named(script, "starts"):
        is_packaged = (root / one).exists()
        below = root if is_packaged else Path("/")
        yield truth.scan((below / one).resolve(), f"--root={below}")["syscalls"]


def named(script: Path, what: str) -> list[str]:
    """Return the files that a line ``# WHAT: FILE...`` of the script names."""
    line = re.search(rf"^# {what}: (.*)$", script.read_text(), re.MULTILINE)
    return line[1].split() if line else []


def work(
    script: Path, program: Path, start: str, root: Path, *, check: bool = True
) -> tuple[str, frozenset[str]]:
    """Return what the work prints with ``start`` before the program, and the traced calls."""
    with (
        truth.standing_in(program, start) as (environment, traces),
        tempfile.TemporaryDirectory() as place,
    ):
        Path(place).chmod(0o777)  # for servers that become another user
        environment |= {"ROOT": str(root), "OVER": "" if "qemu" in start else "usr etc"}
        environment |= {"LC_ALL": "C.UTF-8", "TERM": "xterm", "HOME": place}
        words = ["unshare", "--mount", "--net", "sh", "-euc", _ENTER, "sh", str(script)]
        # To files: what is left running would keep a pipe open.
        said, complaint = traces.parent / "said", traces.parent / "complaint"
        with said.open("wb") as output, complaint.open("wb") as errors:
            command = ["timeout", str(_MOST_SECONDS), *words]
            ended = subprocess.run(
                command, cwd=place, env=environment, stdout=output, stderr=errors, check=False
            )
        if ended.returncode and (check or ended.returncode == 124):  # 124: it took too long
            reason = complaint.read_text(errors="replace")
            raise SystemExit(f"{script} ended with {ended.returncode}\n{reason}")
        called = truth.calls_in(traces) if "traces" in start else frozenset[str]()
        return said.read_text(errors="replace"), called


def filled(page: str, program: Program, result: Result) -> str:
    """Return the page with the three last cells of the program's row filled."""
    start = f"| {program.name} | {program.kind} | {program.abi} |"
    lines = page.split("\n")
    row = next(number for number, line in enumerate(lines) if line.startswith(start))
    cells = [len(result.made), ", ".join(sorted(result.missing)) or 0, result.runs]
    before = lines[row].removesuffix("|").split("|")[:-3]
    lines[row] = "|".join([*before, *(f" {cell} " for cell in cells), ""])
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
