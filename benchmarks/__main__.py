"""Measure, and write the report: ``python -m benchmarks``, from the top of the checkout."""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import seccompgen
from corpus import Figures

from benchmarks import machine, peers, report, startup, timing
from benchmarks.exact import lets_others_in, measured
from benchmarks.policies import to_measure
from benchmarks.results import OURS, Problem, Results, Tool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.policies import Entry
    from benchmarks.results import Calls, Cell, Install, Starts

HERE = Path(__file__).parent
TIMED_CALLS = ("docker", "crosvm-gpu_device")
TIMED_STARTS = ("docker",)
"""Policies under which a process can still look at its own memory."""
TIMED_INSTALLS = ("docker", "go-example")
"""A large policy and a small one; the largest and the smallest where these are not measured."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="this policy; repeatable")
    parser.add_argument("--no-timing", action="store_true", help="what needs no clock only")
    parser.add_argument("-o", metavar="DIR", type=Path, default=HERE, help="default: %(default)s")
    options = parser.parse_args(arguments)
    notes: list[str] = []
    entries = to_measure(partial(_note, notes))
    if options.only:
        unknown = sorted(set(options.only) - entries.keys())
        if unknown:
            parser.error(f"no policy {', '.join(unknown)}; there are {', '.join(entries)}")
        entries = {name: entries[name] for name in options.only}
    results = measure(entries, notes, timed=not options.no_timing)
    options.o.mkdir(parents=True, exist_ok=True)
    _write(options.o / "RESULTS.md", report.render(results).encode())
    try:
        from benchmarks import plot  # noqa: PLC0415 - the report does without matplotlib
    except ImportError as error:
        _say(f"no plot is drawn ({error}): {peers.BENCH}")
    else:
        _write(options.o / "results.svg", plot.render(results))


def measure(entries: Mapping[str, Entry], notes: Sequence[str] = (), *, timed: bool) -> Results:
    """Measure seccompgen and every peer that is there on ``entries``."""
    said = list(notes)
    versions, present = {OURS: seccompgen.__version__}, []
    for peer in peers.PEERS:
        try:
            versions[peer.name] = peers.version(peer)
            present.append(peer)
        except peers.Missing as missing:
            _note(said, str(missing))
    _say(f"compiling with {', '.join(versions)}")
    programs = {OURS: peers.our_programs(entries)}
    for peer in present:
        programs[peer.name] = peers.programs(peer, entries)
    same: dict[str, str] = {}
    for tool, made in programs.items():
        first = next(other for other, others in programs.items() if others == made)
        if first != tool:
            same[tool] = first
    exact = {name: _cells(name, entry, programs, same) for name, entry in entries.items()}
    right = {name: _right(cells, name, programs) for name, cells in exact.items()}
    able = {name: entry for name, entry in entries.items() if OURS in right[name]}
    starts, installs, calls = (
        _timed(able, right, present, same, said) if timed and able else ((), {}, ())
    )
    tools = tuple(
        Tool(tool, version, same.get(tool), _open_to(programs[tool]))
        for tool, version in versions.items()
    )
    return Results(machine.describe(), tools, exact, installs, calls, tuple(said), starts)


def _cells(
    name: str,
    entry: Entry,
    programs: Mapping[str, Mapping[str, bytes | Problem]],
    same: Mapping[str, str],
) -> dict[str, Cell]:
    _say(f"running {name}")
    cells: dict[str, Cell] = {}
    for tool, made in programs.items():
        if tool not in same:
            program = made[name]
            cells[tool] = measured(entry, program) if isinstance(program, bytes) else program
    return cells


def _right(
    cells: Mapping[str, Cell], name: str, programs: Mapping[str, Mapping[str, bytes | Problem]]
) -> dict[str, bytes]:
    made = {tool: programs[tool][name] for tool, cell in cells.items() if isinstance(cell, Figures)}
    return {tool: program for tool, program in made.items() if isinstance(program, bytes)}


def _open_to(made: Mapping[str, bytes | Problem]) -> tuple[str, ...]:
    return tuple(
        name
        for name, program in made.items()
        if isinstance(program, bytes) and lets_others_in(program)
    )


def _timed(
    entries: Mapping[str, Entry],
    right: Mapping[str, Mapping[str, bytes]],
    present: Sequence[peers.Peer],
    same: Mapping[str, str],
    notes: list[str],
) -> tuple[tuple[Starts, ...], dict[str, tuple[Install, ...]], tuple[Calls, ...]]:
    """Time the tools whose programs are ``right``, on some of the policies."""
    timing.stay_on_one_processor()
    by_size = sorted(entries, key=lambda name: len(entries[name]["rules"]))
    starts: list[Starts] = []
    installs: dict[str, tuple[Install, ...]] = {}
    calls: list[Calls] = []
    able = {
        name: [peer for peer in present if same.get(peer.name, peer.name) in right[name]]
        for name in entries
    }
    for name in (name for name in TIMED_STARTS if name in entries):
        _say(f"starting processes under {name}")
        starts.append(startup.measure_starts(name, entries[name], able[name]))
    for name in _some(entries, TIMED_INSTALLS, [by_size[-1], by_size[0]]):
        _say(f"timing installs of {name}")
        installs[name] = timing.time_installs(name, entries[name], able[name])
    with tempfile.TemporaryDirectory() as directory:
        try:
            timer = timing.Timer(Path(directory))
        except peers.Missing as missing:
            _note(notes, str(missing))
            return tuple(starts), installs, ()
        for name in _some(entries, TIMED_CALLS, [by_size[-1]]):
            _say(f"timing calls under {name}")
            calls.append(timing.time_calls(name, entries[name], right[name], timer))
    return tuple(starts), installs, tuple(calls)


def _some(
    entries: Mapping[str, Entry], preferred: Sequence[str], otherwise: Sequence[str]
) -> list[str]:
    return [name for name in preferred if name in entries] or list(dict.fromkeys(otherwise))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _say(f"wrote {path}")


def _note(notes: list[str], text: str) -> None:
    notes.append(text)
    _say(text)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
