"""Measure, and write the report: ``python -m benchmarks.optimum``, from the top of the checkout."""

from __future__ import annotations

import argparse
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.optimum.instances import KINDS, instances
from benchmarks.optimum.shortest import Proof, shortest
from benchmarks.policies import to_measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.optimum.instances import Instance
    from benchmarks.optimum.shortest import Found

REPORT = Path(__file__).parents[1] / "OPTIMUM.md"
CONFLICTS = 200_000
"""The solver gives a question up after so many conflicts: a minute or two."""
HEAD = """<!-- Written by `make bench-optimum`; do not edit. -->

# Programs beside the shortest that are possible

Small pieces of programs, as the compiler makes them for shortness, beside the shortest program that
does the same. A SAT solver finds it, and proves that one instruction less is impossible.
[README.md](README.md) says how to read this.

| pieces | tried | proved | instructions | shortest | ratio | longer than need be |
|---|---|---|---|---|---|---|
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optimum", description=__doc__)
    parser.add_argument(
        "-o", metavar="FILE", type=Path, default=REPORT, help="default: %(default)s"
    )
    parser.add_argument("--most", metavar="N", type=int, help="of each kind; default: all")
    parser.add_argument("--conflicts", metavar="N", type=int, default=CONFLICTS)
    options = parser.parse_args(arguments)
    tried = list(instances(to_measure(say), random.Random(0), options.most))
    found = []
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        solve = partial(shortest, conflicts=options.conflicts)
        results = pool.map(solve, [instance.program for instance in tried])
        for instance, one in zip(tried, results, strict=True):
            found.append(one)
            text = f"{instance.name}: {one.given} to {one.least}, {one.proof.value}"
            say(f"{len(found)} of {len(tried)}: {text}")
    options.o.write_text(rendered(tried, found))


def say(text: str) -> None:
    """Tell who waits."""
    print(text, file=sys.stderr)


def rendered(tried: Sequence[Instance], found: Sequence[Found]) -> str:
    """Return the report."""
    both = list(zip(tried, found, strict=True))
    rows = [_row(kind, [one for instance, one in both if instance.kind == kind]) for kind in KINDS]
    longer = [
        f"- {instance.kind}: {instance.name}: {one.given}, shortest {one.least}"
        for instance, one in both
        if one.given > one.least
    ]
    text = HEAD + "\n".join([*rows, _row("all", found)]) + "\n"
    return text + ("\nLonger than need be:\n\n" + "\n".join(longer) + "\n" if longer else "")


def _row(kind: str, found: Sequence[Found]) -> str:
    proved = [one for one in found if one.proof is Proof.SHORTEST]
    given, least = sum(one.given for one in proved), sum(one.least for one in proved)
    ratio = f"{given / least:.3f}" if least else ""
    longer = sum(one.given > one.least for one in proved)
    cells = [kind, len(found), len(proved), given, least, ratio, longer]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
