"""CPU time of random policies compiled, and of random pairs of filters combined.

``python -m benchmarks.compiling random`` prints the median and the worst, ``outliers`` compares
policies of each size with their median. The policies are those of the tests' ``random_policy``:
each operation, values of every size, rules that overlap, three ABIs.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from seccompgen.compile import compile_policy
from seccompgen.core.errors import SeccompgenError
from seccompgen.pipeline.build import shipped_tables
from seccompgen.pipeline.pool import spread

from benchmarks.compiling import page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.tables import Tables

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

_RULES = 60
SIZES = (2, 4, 8, 16, 32, 64, 128, 256, 400)
"""The sizes of policies among which outliers are looked for."""
_FEW_RULES = 10
"""A small filter has so many."""
_RUNS = 3
"""A command runs so often, and the least counts: one run says as much about the machine."""
_REFUSED = 2
_NO_PROGRAM = "do not go together into one program"
_OPERATIONS = (("union",), ("subtract", "--action", "errno(EPERM)"))


def _compiled(task: tuple[ResolvedPolicy, Tables], abi: Abi) -> CompiledProgram:
    return compile_policy(task[0], abi, task[1])


def _bytes(program: CompiledProgram | SeccompgenError) -> bytes:
    if isinstance(program, SeccompgenError):
        raise program
    return program.to_bytes()


def _policies(
    draw: Callable[..., ResolvedPolicy], directory: Path, count: int
) -> Iterator[tuple[str, float, str]]:
    """Yield of each policy its name, seconds, and a digest of its programs.

    Each is compiled by a process that has compiled none: what one keeps would help the next.
    """
    tables = shipped_tables()
    for seed in range(count):
        policy = draw(directory, seed, _RULES, tables)
        yield f"policy {seed}", *_in_a_child(policy, policy.arches, tables)


def _in_a_child(policy: ResolvedPolicy, abis: Sequence[Abi], tables: Tables) -> tuple[float, str]:
    """Return the CPU seconds of compiling in a process that has compiled nothing, and a digest."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        start = time.process_time()
        # As `build` does in one process, which looks for garbage less often than Python.
        programs = list(spread(_compiled, (policy, tables), abis, 1))
        taken = time.process_time() - start
        made = b"".join(_bytes(program) for program in programs)
        digest = hashlib.sha256(made).hexdigest()
        os.write(writer, f"{taken} {digest[:16]}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        seconds, _, digest = told.read().partition(" ")
    if os.waitpid(child, 0)[1]:
        raise click.ClickException("a policy was not compiled")
    return float(seconds), digest


def _sized(
    draw: Callable[..., ResolvedPolicy], directory: Path, count: int, jobs: int
) -> Iterator[tuple[int, int, float]]:
    """Yield for ``count`` policies, sizes in turn, the size, the seed, and seconds for an ABI."""
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(_one_sized, draw, directory), range(count))


def _one_sized(
    draw: Callable[..., ResolvedPolicy], directory: Path, seed: int
) -> tuple[int, int, float]:
    tables = shipped_tables()
    size = SIZES[seed % len(SIZES)]
    policy = draw(directory, seed, size, tables)
    seconds, _ = _in_a_child(policy, policy.arches[:1], tables)
    return size, seed, seconds


def _pairs(
    draw: Callable[..., ResolvedPolicy], directory: Path, count: int, arch: str | None
) -> Iterator[tuple[str, float, str]]:
    """Yield the same of each pair that a whole command combines, its workers included.

    The seconds are the least of a few runs, between which all other pairs have theirs: what keeps
    the machine busy for seconds would spoil runs that follow each other.

    A command runs as in a user's shell: a machine that lets Python keep no bytecode would have
    each of them compile all of our modules, which takes longer than combining.
    """
    tables = shipped_tables()
    commands: list[list[str]] = []
    for seed in range(count):
        places = (2 * seed, 2 * seed + 1)
        for place in places:
            draw(directory, place, _FEW_RULES, tables)
        operation, *options = _OPERATIONS[seed % len(_OPERATIONS)]
        options += ["--arch", arch] if arch else []
        names = [f"random{place}.yml" for place in places]
        commands.append([operation, *names, *options, "--name", "both", "-o", f"pair{seed}"])
    taken = [[_timed(command, directory) for command in commands] for _ in range(_RUNS)]
    for seed, (command, *runs) in enumerate(zip(commands, *taken, strict=True)):
        made = sorted((directory / f"pair{seed}" / "both").glob("*.py"))
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in made)).hexdigest()[:16]
        yield f"{command[0]} {seed}", min(runs), digest if made else "refused"


def _timed(command: list[str], directory: Path) -> float:
    """Return the seconds of CPU that a command took, which may find that there is no program."""
    before = os.times()
    ran = subprocess.run(
        [Path(sys.executable).with_name("seccompgen"), *command],
        cwd=directory,
        env={name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    after = os.times()
    refused = ran.returncode == _REFUSED and _NO_PROGRAM in ran.stderr
    if ran.returncode and not refused:
        raise click.ClickException(f"{' '.join(command)}: {ran.stderr}")
    taken = after.children_user + after.children_system
    return taken - before.children_user - before.children_system


def _told(title: str, rows: Iterator[tuple[str, float, str]], *, every: bool) -> None:
    seconds: list[float] = []
    for name, taken, digest in rows:
        seconds.append(taken)
        if every:
            click.echo(f"{name}: {taken:.2f} s, {digest}")
    if seconds:
        click.echo(
            f"{title}: {len(seconds)}, median {statistics.median(seconds):.2f} s, "
            f"worst {max(seconds):.2f} s of CPU"
        )


@click.command()
@click.option("--policies", default=34, show_default=True, help="How many are compiled.")
@click.option("--pairs", default=20, show_default=True, help="How many are combined.")
@click.option("--arch", metavar="ABI", help="Combine for this ABI alone, not for three.")
@click.option("--every", is_flag=True, help="Print each, with a digest of its programs.")
def main(policies: int, pairs: int, arch: str | None, *, every: bool) -> None:
    """Compile and combine policies drawn at random; print the median and the worst CPU time."""
    from random_policies import random_policy  # noqa: PLC0415 - it lies among the tests' helpers

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        told = _policies(random_policy, directory, policies)
        _told(f"policies of {_RULES} rules", told, every=every)
        told = _pairs(random_policy, directory, pairs, arch)
        _told(f"pairs of {_FEW_RULES} rules", told, every=every)


@click.command()
@click.option("--policies", default=1000, show_default=True, help="How many are compiled.")
@click.option("--most", default=10.0, show_default=True, help="The most medians that one may take.")
@click.option("--jobs", default=1, show_default=True, help="Compile so many at a time.")
@click.option(
    "--page",
    "written",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Write the table into this page, COMPILING.md.",
)
def outliers(policies: int, most: float, jobs: int, written: Path | None) -> None:
    """Compile policies of 2 to 400 rules for an ABI; fail if one takes many medians of its size."""
    from random_policies import random_policy  # noqa: PLC0415 - it lies among the tests' helpers

    found: dict[int, list[tuple[float, int]]] = {size: [] for size in SIZES}
    with tempfile.TemporaryDirectory() as name:
        for size, seed, seconds in _sized(random_policy, Path(name), policies, jobs):
            found[size].append((seconds, seed))
        rows = _rows(found, lambda seed: _one_sized(random_policy, Path(name), seed)[2], most)
    for row in rows:
        click.echo(
            f"{row.size} rules: {row.policies} policies, median {row.median:.3f} s, "
            f"worst {row.worst:.3f} s (seed {row.seed}), {row.medians:.1f} medians"
        )
    if written:
        written.write_text(page.with_random(written.read_text(), rows))
    worst = max(row.medians for row in rows)
    if worst > most:
        raise click.ClickException(f"an outlier takes {worst:.1f} medians of its size")


def _rows(
    found: Mapping[int, list[tuple[float, int]]], again: Callable[[int], float], most: float
) -> list[page.RandomRow]:
    """Return the row of each size; a policy of more than half of ``most`` medians is run again.

    The least of three runs counts: one run says as much about the machine.
    """
    rows = []
    for size, own in found.items():
        if own:
            median = statistics.median(seconds for seconds, _ in own)
            runs = [
                (min([seconds, *(again(seed) for _ in range(_RUNS - 1))]), seed)
                if seconds > most / 2 * median
                else (seconds, seed)
                for seconds, seed in own
            ]
            worst, seed = max(runs)
            rows.append(page.RandomRow(size, len(own), median, worst, seed))
    return rows
