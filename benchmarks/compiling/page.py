"""The curves as a page and as a picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.compiling.curves import OURS, PEERS, Curve, Point
from benchmarks.compiling.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEAD = """<!-- Written by `make bench-compile`; do not edit. -->

# How long compiling takes

CPU seconds from a policy, as each tool takes it, to the program in memory; starting the tool is not
in them. seccompgen searches for programs that are short and have short paths, where libseccomp and
minijail's compiler write tests one after the other; so it takes longer. *Doubling* is the ratio to
the row above. The kernel loads up to 4,096 instructions; longer programs show the growth alone, and
those of up to twice that are searched a second time for a shorter one.
*Ratio* is seccompgen's CPU time, or length, by the other tool's in the same
run. [README.md](README.md#how-long-compiling-takes) says how this is measured.

![CPU seconds by the number of rules](compiling.svg)
"""
_RANDOM = "## Random policies"
_DRAWN = """Policies drawn at random, compiled for one ABI. *Worst* is the one of its size that took
longest, in CPU seconds and in medians. `make bench-compile ARGS=outliers` measures them.

| rules | policies | median | worst | medians |
|---|---|---|---|---|
"""
_COLOURS = {OURS: "#0b6e4f", "libseccomp": "#c8553d", "minijail": "#3d5a80"}


def rendered(machine: Mapping[str, str], curves: Sequence[Curve]) -> str:
    """Return the page."""
    parts = [HEAD, "\n".join(f"- {name}: {value}" for name, value in machine.items())]
    for family in FAMILIES:
        own = {curve.tool: curve for curve in curves if curve.family == family.name}
        if not own:
            continue
        parts.append(f"\n## {family.name.capitalize()}\n\nA rule is {family.text}.\n")
        parts.append(_table("rules", own))
    own = {curve.tool: curve for curve in curves if curve.family == "ABIs"}
    parts.append("\n## ABIs\n\nThe stock policy `web_worker`, for more and more ABIs.\n")
    parts.append(_table("ABIs", own))
    return "\n".join(parts) + "\n"


class RandomRow(NamedTuple):
    """Random policies of one size: CPU seconds of the median, and of the worst with its seed."""

    size: int
    policies: int
    median: float
    worst: float
    seed: int

    @property
    def medians(self) -> float:
        """The worst in medians."""
        return self.worst / self.median


def with_random(text: str, rows: Sequence[RandomRow]) -> str:
    """Return the page ``text`` with a table of ``rows`` as its part on random policies."""
    lines = [
        f"| {one.size} | {one.policies} | {one.median:.3f} | {one.worst:.3f} "
        f"| {one.medians:.1f} |\n"
        for one in rows
    ]
    return text.partition(f"\n{_RANDOM}")[0] + f"\n{_RANDOM}\n\n{_DRAWN}" + "".join(lines)


def random_of(text: str) -> str:
    """Return what the page ``text`` says of random policies, which has its own run."""
    _, title, rest = text.partition(f"\n{_RANDOM}")
    return title + rest


def _table(unit: str, curves: Mapping[str, Curve]) -> str:
    peers = [tool for tool in PEERS if tool in curves and curves[tool].points]
    head = [unit, "seconds", "doubling", "MB", "instructions"]
    for tool in peers:
        head += [f"{tool}: seconds", "ratio", "instructions", "ratio"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    before: float | None = None
    for size, point in curves[OURS].points.items():
        cells = [str(size), *_own(point, before)]
        for tool in peers:
            cells += _peers(point, curves[tool].points.get(size, ""))
        lines.append("| " + " | ".join(cells) + " |")
        before = point.seconds if isinstance(point, Point) else None
    return "\n".join(lines)


def _own(point: Point | str, before: float | None) -> list[str]:
    if isinstance(point, str):
        return [point, "", "", ""]
    doubling = f"{point.seconds / before:.2f}" if before else ""
    return [
        f"{point.seconds:.2f}",
        doubling,
        f"{point.megabytes:.0f}",
        str(point.instructions),
    ]


def _peers(own: Point | str, theirs: Point | str) -> list[str]:
    if isinstance(theirs, str):
        return [theirs, "", "", ""]
    if isinstance(own, str):
        return [f"{theirs.seconds:.4f}", "", str(theirs.instructions), ""]
    return [
        f"{theirs.seconds:.4f}",
        _figure(own.seconds / theirs.seconds),
        str(theirs.instructions),
        f"{own.instructions / theirs.instructions:.2f}",
    ]


def _figure(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"


def picture(curves: Sequence[Curve]) -> bytes:
    """Return the curves as SVG: the same points give the same bytes."""
    import matplotlib as mpl  # noqa: PLC0415 - in the extra `bench` alone
    from matplotlib.figure import Figure  # noqa: PLC0415

    settings = {"svg.hashsalt": "seccompgen", "svg.fonttype": "none", "font.size": 9}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(10, 9), layout="constrained")
        panels = iter(figure.subplots(3, 2).flat)
        for family in FAMILIES:
            axes = next(panels)
            for curve in curves:
                sizes = [n for n in curve.points if curve.seconds(n) is not None]
                if curve.family == family.name and sizes:
                    seconds = [curve.seconds(n) or 0 for n in sizes]
                    axes.loglog(sizes, seconds, "o-", color=_COLOURS[curve.tool], label=curve.tool)
            axes.set_title(f"{family.name}: CPU seconds by rules")
            axes.legend(loc="upper left")
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return b"\n".join(line.rstrip() for line in file.getvalue().split(b"\n"))
