"""Points of the curves: what each tool takes for each family at each size."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.compiling.families import FAMILIES, for_peers, minijails, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.compiling.families import Family

ROOT = Path(__file__).parents[2]
MINIJAIL = ROOT.parent / "shared" / "peers" / "minijail"
OURS, PEERS = "seccompgen", ("libseccomp", "minijail")
SIZES = (10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120)
ABIS = (1, 3, 7, 14, 27)
_SHORT = 2.0
"""A policy that takes more CPU than this is compiled once only."""
_LONGEST = 120.0
"""A tool that needed so many seconds is not tried on larger policies of the family."""


@dataclass(frozen=True, slots=True)
class Point:
    """What a tool took for one policy: CPU seconds, memory, and the length of its programs."""

    seconds: float
    megabytes: float
    instructions: int


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of a tool by the size of the policy, or what the tool said instead of one."""

    family: str
    tool: str
    points: dict[int, Point | str]

    def seconds(self, size: int) -> float | None:
        """Return the CPU seconds for one size, if there are any."""
        point = self.points.get(size)
        return point.seconds if isinstance(point, Point) else None


def curves(most: int, runs: int, jobs: int, say: Callable[[str], None]) -> Iterator[Curve]:
    """Yield the curves of all families, up to ``most`` rules, and that of ABIs.

    The least of ``runs`` counts; ``jobs`` families are measured at a time.
    """
    sizes = [size for size in SIZES if size <= most]
    with ThreadPoolExecutor(jobs) as pool:
        of_abis = pool.submit(_of_abis, runs, say)
        for family in pool.map(lambda one: _of_family(one, sizes, runs, say), FAMILIES):
            yield from family
        yield of_abis.result()


def _of_abis(runs: int, say: Callable[[str], None]) -> Curve:
    file = ROOT / "policies" / "web_worker.yml"
    points = {}
    for count in ABIS:
        points[count] = measured(OURS, file, runs, count)
        say(f"ABIs, {count}: {points[count]}")
    return Curve("ABIs", OURS, points)


def _of_family(
    family: Family, sizes: list[int], runs: int, say: Callable[[str], None]
) -> list[Curve]:
    """Return a curve for each tool; of one size all tools have their turn before the next."""
    found: dict[str, dict[int, Point | str]] = {tool: {} for tool in (OURS, *PEERS)}
    ended: set[str] = set() if MINIJAIL.exists() else {"minijail"}
    for size in sizes:
        rules = family.of(size)
        told = {OURS: ours(rules), "libseccomp": for_peers(rules), "minijail": minijails(rules)}
        for tool, policy in told.items():
            if tool in ended:
                continue
            point = measured(tool, policy, runs) if policy else "cannot be said"
            found[tool][size] = point
            say(f"{family.name}, {size}, {tool}: {point}")
            if isinstance(point, str) or point.seconds > _LONGEST:
                ended.add(tool)
    return [Curve(family.name, tool, points) for tool, points in found.items()]


def measured(tool: str, policy: Any, runs: int, abis: int | None = None) -> Point | str:
    """Return the least of some runs of ``tool`` on ``policy``, or what it says."""
    least: Point | None = None
    for _ in range(runs):
        one = _once(tool, policy, abis)
        if isinstance(one, str):
            return one
        if least is None or one.seconds < least.seconds:
            least = one
        if one.seconds > _SHORT:
            break
    assert least is not None
    return least


def _once(tool: str, policy: Any, abis: int | None) -> Point | str:
    told = {"policy": policy, "file": None, "abis": abis, "minijail": str(MINIJAIL)}
    if isinstance(policy, Path):
        told |= {"policy": None, "file": str(policy)}
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.compiling.once", tool],
        input=json.dumps(told),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        return (ran.stderr.strip() or f"exit status {ran.returncode}").splitlines()[-1][:200]
    found = json.loads(ran.stdout)
    if "error" in found:
        return str(found["error"])
    return Point(found["seconds"], found["megabytes"], found["instructions"])
