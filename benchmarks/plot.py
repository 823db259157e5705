"""Results as one picture: ratios policy by policy, nanoseconds a call, time to install."""

from __future__ import annotations

import io
import math
from statistics import geometric_mean
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks import report
from benchmarks.results import OURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.results import Calls, Results

COLOURS = {
    OURS: "#0b6e4f",
    "libseccomp-O1": "#c8553d",
    "libseccomp-O2": "#e09f3e",
    "python3-seccomp": "#6d597a",
    "pyseccomp": "#b56576",
    "seccompy": "#3d5a80",
}
NO_FILTER = "#999999"


def render(results: Results) -> bytes:
    """Return the picture as SVG: the same results give the same bytes."""
    # Text as text: it can be searched, and lines of a diff can be read.
    settings = {"svg.hashsalt": "seccompgen", "svg.fonttype": "none", "font.size": 9}
    with mpl.rc_context(settings):
        panels = 1 + len(results.calls) + bool(results.installs)
        figure = Figure(figsize=(10, 3.6 * panels), layout="constrained")
        axes = iter(figure.subplots(panels, 1, squeeze=False).flat)
        _draw_ratios(next(axes), results)
        for calls in results.calls:
            _draw_calls(next(axes), calls)
        if results.installs:
            _draw_installs(next(axes), results)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    # Matplotlib ends some lines in a space, which no file of ours has.
    lines = file.getvalue().split(b"\n")
    return b"\n".join(line.rstrip() for line in lines)


def _draw_ratios(axes: Axes, results: Results) -> None:
    peers = report.measured_tools(results)[1:]
    for row, figure in enumerate(report.FIGURES):
        for number, peer in enumerate(peers):
            found = list(report.ratios(results, peer, figure).values())
            if found:
                height = row + (number - (len(peers) - 1) / 2) * 0.24
                # One line with gaps is one path of the file, where a dot a policy is 49.
                places = [x for ratio in found for x in (ratio, ratio, math.nan)]
                heights = [height - 0.09, height + 0.09, math.nan] * len(found)
                axes.plot(places, heights, color=COLOURS[peer], linewidth=0.8, alpha=0.7)
                axes.plot(geometric_mean(found), height, "o", color=COLOURS[peer])
    for peer in peers:
        axes.plot([], [], "o", color=COLOURS[peer], label=peer)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(report.FIGURES)), list(report.FIGURES))
    axes.invert_yaxis()
    axes.set_title("seccompgen by the other: a tick a policy, a dot the geometric mean")
    axes.set_xlabel("ratio; left of 1 seccompgen is ahead")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _draw_calls(axes: Axes, calls: Calls) -> None:
    tools = list(next(iter(calls.times.values()), {}))
    width = 0.8 / max(1, len(tools))
    for number, tool in enumerate(tools):
        times = [of_kind[tool] for of_kind in calls.times.values()]
        places = [kind + (number - (len(tools) - 1) / 2) * width for kind in range(len(times))]
        axes.bar(
            places,
            [time.least for time in times],
            width,
            color=COLOURS[tool] if tool else NO_FILTER,
            label=tool or "no filter",
        )
    axes.set_xticks(range(len(calls.times)), list(calls.times))
    axes.set_title(f"{calls.policy}: nanoseconds a call")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _draw_installs(axes: Axes, results: Results) -> None:
    rows = [(policy, row) for policy, found in results.installs.items() for row in found]
    for number, (_, row) in enumerate(rows):
        colour = COLOURS[row.tool]
        axes.barh(number, row.bare.least / 1e6, color=colour, alpha=0.4)
        axes.barh(number, row.loaded.least / 1e6, color=colour)
    labels = [f"{policy}: {row.tool}, {row.python}" for policy, row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_title("milliseconds until a filter is in force; pale: with all imports")
