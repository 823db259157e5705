"""Scan the programs of the list, and write the table: ``python -m benchmarks.scanning``."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import machine
from benchmarks.scanning import getting
from benchmarks.scanning.programs import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.scanning.programs import Program

HERE = Path(__file__).parents[1]
_MOST_PLACES = 4
"""The most unknown places of a program that the page lists."""
_MOST_SECONDS = 300
"""The CPU time that each process of a scan may take."""


class Row(NamedTuple):
    """The result of one scan; ``problem`` is what stopped it, or ""."""

    program: Program
    version: str
    calls: int
    unknown: Sequence[Mapping[str, str]]
    seconds: float
    megabytes: float
    problem: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Get the programs, scan them and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scanning", description=__doc__)
    parser.add_argument("directory", type=Path, help="for 2 GB of packages; kept between runs")
    parser.add_argument("--only", metavar="NAME", action="append", help="this one; repeatable")
    parser.add_argument("--cached", action="store_true", help="use earlier results of scan")
    parser.add_argument("-o", metavar="DIR", type=Path, default=HERE, help="default: %(default)s")
    options = parser.parse_args(arguments)
    rows = []
    for row in rows_of(options.directory.absolute(), options.only, cached=options.cached):
        answer = row.problem or (f"{len(row.unknown)} unknown" if row.unknown else "known")
        print(
            f"{row.program.name} ({row.program.abi}): {row.calls} calls, {answer}, "
            f"{row.seconds:.1f} s, {row.megabytes:.0f} MB",
            flush=True,
        )
        rows.append(row)
    options.o.mkdir(parents=True, exist_ok=True)
    (options.o / "SCANNING.md").write_text(report(rows))


def rows_of(directory: Path, only: Sequence[str] | None, *, cached: bool) -> Iterator[Row]:
    """Yield the result for each program, or for those named ``only``."""
    versions: dict[str, dict[str, str]] = {}
    for abi in getting.DEBIAN:
        if not getting.root_of(directory, abi).exists():
            getting.get_debian([one for one in PROGRAMS if one.abi == abi], directory, abi)
        versions[abi] = getting.versions(directory, abi)
    for program in PROGRAMS:
        if only and program.name not in only:
            continue
        root = getting.root_of(directory, program.abi)
        if program.source == "debian":
            yield scanned(
                program,
                versions[program.abi][program.package],
                (root / program.file).resolve(),
                root,
                cached=cached,
            )
        else:
            version = program.package.replace("==", "@").rpartition("@")[2]
            file = getting.get_other(program, directory)
            yield scanned(program, version, file, root, cached=cached)


def scanned(program: Program, version: str, file: Path, root: Path, *, cached: bool) -> Row:
    """Scan one program in a process of its own, whose CPU time and memory count."""
    command = ["prlimit", f"--cpu={_MOST_SECONDS}"]
    command += [str(Path(sys.executable).with_name("seccompgen")), "scan", str(file), "--json"]
    command += [f"--root={root}", *([] if cached else ["--no-cache"])]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaint:
        process = subprocess.Popen(command, stdout=said, stderr=complaint)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        complaint.seek(0)
        is_read = process.returncode in {0, 1}
        found = json.load(said)[0] if is_read else {"syscalls": (), "unknown": ()}
        problem = "" if is_read else " ".join(complaint.read().decode().split()) or "no answer"
    return Row(
        program,
        version,
        len(found["syscalls"]),
        found["unknown"],
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024,
        problem,
    )


def report(rows: Sequence[Row]) -> str:
    """Return the table."""
    known = sum(not row.unknown and not row.problem for row in rows)
    lines = [
        "# Programs that scan knows",
        "",
        f"Written by `make bench-scan`, on {datetime.datetime.now(datetime.UTC).date()}.",
        "",
        *(f"- {what}: {text}" for what, text in machine.describe().items()),
        "",
        f"Of {len(rows)} programs, {known} are known. The list was written before any result was",
        "seen; three entries that could not be had were replaced later (lua, dprint, ripgrep of",
        "PyPI). Seconds are CPU time without a cache, with libraries; *MB* is the most that one of",
        f"its processes has. A process may take {_MOST_SECONDS} s.",
        "",
        "*Made* are the calls of the program, by strace, while it does the work that is described",
        "in `benchmarks/scanning/work`, and *missing* those of them that scan did not find. What",
        "the program executes is left out. It *runs* if it does the same under the policy of its",
        "scan, which kills it at any other call. For aarch64, QEMU traces, and no policy is tried;",
        "nor is it where calls are unknown. Extension modules that it loads are scanned, too.",
        "A program without figures has no work there, or did not do it yet.",
        "",
        "| program | language | | package | calls | unknown | s | MB | made | missing | runs |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        package = row.program.package.replace("==", "@").rpartition("@")
        name = package[0] or package[2]
        lines.append(
            f"| {row.program.name} | {row.program.kind} | {row.program.abi} "
            f"| {row.program.source}: {name} {row.version} | {row.calls} "
            f"| {row.problem or len(row.unknown)} | {row.seconds:.1f} | {row.megabytes:.0f} | | | |"
        )
    lines += ["", "What is unknown:", ""]
    for row in rows:
        where = f"- {row.program.name} ({row.program.abi})"
        for one in row.unknown[:_MOST_PLACES]:
            place = f"{Path(one['path']).name} {one['function'] or hex(int(one['address']))}"
            lines.append(f"{where}, {place}: {one['reason']}")
        if more := len(row.unknown) - _MOST_PLACES:
            lines += [f"{where}: {more} more"] * (more > 0)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
