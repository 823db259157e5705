"""Results as Markdown, and the ratios that are drawn from them."""

from __future__ import annotations

from statistics import geometric_mean
from typing import TYPE_CHECKING

from corpus import Figures

from benchmarks.results import OURS, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.results import Results, Times

FIGURES = {
    "length": "instructions of the program",
    "longest": "instructions executed by the worst call",
    "mean": "instructions executed by an allowed call, on average",
    "conditional": "the same, of calls whose arguments are looked at only",
}
BEST = "the best of them, policy by policy"


def render(results: Results) -> str:
    """Return the whole report."""
    sections = [
        "<!-- Written by `make bench`; do not edit. -->",
        "# What filters cost",
        "Shorter and faster is better; a ratio is seccompgen's figure divided by the other tool's, "
        "so below 1 seccompgen is ahead. [README.md](README.md) says what is measured and how.",
        "![Ratios, nanoseconds a call and milliseconds to install](results.svg)",
        *_setting(results),
        *_ratios(results),
        *_calls(results),
        *_starts(results),
        *_installs(results),
        *_exact(results),
        *_problems(results),
    ]
    return "\n\n".join(sections) + "\n"


def measured_tools(results: Results) -> list[str]:
    """Return the tools with programs of their own, ours first."""
    return [tool.name for tool in results.tools if tool.same_as is None]


def ratios(results: Results, peer: str, figure: str) -> dict[str, float]:
    """Return ours by the peer's, for each policy where both have the figure.

    ``peer`` may be BEST: whichever peer has the smallest.
    """
    found = {}
    for policy, cells in results.exact.items():
        theirs = [
            value
            for tool in measured_tools(results)
            if tool != OURS
            and peer in {tool, BEST}
            and (value := _value(cells[tool], figure)) is not None
        ]
        ours = _value(cells[OURS], figure)
        if ours is not None and theirs:
            found[policy] = ours / min(theirs)
    return found


def _value(cell: object, figure: str) -> float | None:
    return getattr(cell, figure) if isinstance(cell, Figures) else None


def _setting(results: Results) -> Iterable[str]:
    yield "## Where, and with what"
    yield _table(["", ""], [[f"**{key}**", value] for key, value in results.machine.items()])
    rows = []
    for tool in results.tools:
        programs = f"the same as {tool.same_as}'s" if tool.same_as else "its own"
        others = f"allowed under {', '.join(tool.open_to)}" if tool.open_to else "refused"
        rows.append([tool.name, tool.version, programs, others])
    yield _table(["tool", "version", "programs", "calls through i386 and x32"], rows)
    if results.notes:
        yield "\n".join(f"- {note}" for note in results.notes)


def _ratios(results: Results) -> Iterable[str]:
    yield "## Ratios, seccompgen by the other"
    count = len(results.exact)
    policies = f"{count} policies" if count > 1 else "one policy"
    yield (
        f"Geometric mean over {policies}, and the worst of them. "
        "Exact: from an interpreter that counts, not from a clock."
    )
    rows = []
    for peer in [*measured_tools(results)[1:], BEST]:
        row = [peer]
        for figure in FIGURES:
            found = ratios(results, peer, figure).values()
            row.append(f"{geometric_mean(found):.2f} ({max(found):.2f})" if found else "")
        rows.append(row)
    yield _table(["against", *FIGURES], rows, numbers=True)


def _calls(results: Results) -> Iterable[str]:
    if results.calls:
        yield "## Nanoseconds a call"
        yield (
            "The least of many runs is what is compared. *Over none* is what the filter adds to a "
            "call without any. Tools with the same programs are timed once."
        )
    for calls in results.calls:
        for kind, times in calls.times.items():
            yield f"### {calls.policy}: {kind}"
            yield f"Calls made: {calls.workloads[kind]}."
            rows = []
            for tool, time in times.items():
                over = f"{time.least - times[None].least:+.1f}" if tool else ""
                ratio = f"{times[OURS].least / time.least:.2f}" if tool else ""
                spread = f"{time.median:.1f} ({time.low:.1f} to {time.high:.1f})"
                rows.append([tool or "no filter", f"{time.least:.1f}", spread, over, ratio])
            header = ["under", "ns", "median (quartiles)", "over none", "ours / its"]
            yield _table(header, rows, numbers=True)


def _starts(results: Results) -> Iterable[str]:
    if results.starts:
        yield "## What a filter adds to a process"
        yield (
            "Each sample is a process of its own. *Process* is the processor time that it takes, "
            "from its start, under the filter, to its end; "
            "*added* is that less a bare interpreter's, which does nothing (`python3 -I -c pass`). "
            "With seccompgen it imports a generated filter and installs it; with the others it "
            "builds the filter first, from a list of rules. The least of many runs is what is "
            "compared, with seccompgen's in the same Python. "
            "*Import* is of the tool by itself; for seccompgen it is of a generated filter and its "
            "runtime, in a package that is loaded."
        )
    for starts in results.starts:
        yield f"### {starts.policy}, from the start"
        bare = {row.python: row for row in starts.rows if not row.tool}
        ours = {row.python: row for row in starts.rows if row.tool == OURS}
        cells = []
        for row in starts.rows:
            base, our = bare[row.python], ours[row.python]
            time = row.process
            cell = [row.tool or "bare", row.python, f"{time.least / 1e6:.2f}"]
            if row.tool:
                added = time.least - base.process.least
                ratio = (our.process.least - base.process.least) / added
                importing = row.importing.least / 1e6 if row.importing else 0.0
                cell += [f"{added / 1e6:.2f}", f"{ratio:.2f}", f"{importing:.3f}"]
                cell += [f"+{row.rss - base.rss}", f"+{row.uss - base.uss}"]
            else:
                cell += ["", "", "", str(row.rss), str(row.uss)]
            cells.append(cell)
        header = ["tool", "Python", "process, ms", "added, ms", "ours / its", "import, ms"]
        yield _table([*header, "RSS, KiB", "USS, KiB"], cells, numbers=True)
        for python, time in starts.code.items():
            yield (
                f"install() of seccompgen in Python {python}, with ctypes loaded and with system "
                f"calls that return at once: {time.least / 1e3:.0f} µs at the least, median "
                f"{time.median / 1e3:.0f} ({time.low / 1e3:.0f} to {time.high / 1e3:.0f})."
            )


def _installs(results: Results) -> Iterable[str]:
    if results.installs:
        yield "## Nanoseconds until a filter is in force"
        yield (
            "*Bare* is in a child forked from an interpreter that has imported nothing, so with "
            "all imports; *loaded* in one forked from an interpreter that has imported the tool. "
            "The least of many runs is what is compared, with seccompgen's in the same Python."
        )
    for policy, rows in results.installs.items():
        ours = {row.python: row for row in rows if row.tool == OURS}
        for state in ("bare", "loaded"):
            yield f"### {policy}, {state}"
            cells = []
            for row in rows:
                time: Times = getattr(row, state)
                our_time: Times = getattr(ours[row.python], state)
                spread = f"{time.median:,.0f} ({time.low:,.0f} to {time.high:,.0f})"
                ratio = f"{our_time.least / time.least:.2f}"
                cells.append([row.tool, row.python, f"{time.least:,.0f}", spread, ratio])
            header = ["tool", "Python", "ns", "median (quartiles)", "ours / its"]
            yield _table(header, cells, numbers=True)


def _exact(results: Results) -> Iterable[str]:
    tools = measured_tools(results)
    for figure, meaning in FIGURES.items():
        yield f"## {figure.capitalize()}: {meaning}"
        rows = []
        for policy, cells in results.exact.items():
            values = [_value(cells[tool], figure) for tool in tools]
            least = min((value for value in values if value is not None), default=None)
            row = [policy]
            for tool, value in zip(tools, values, strict=True):
                cell = cells[tool]
                text = cell.word if isinstance(cell, Problem) else _number(value)
                row.append(f"**{text}**" if value is not None and value == least else text)
            rows.append(row)
        yield _table(["policy", *tools], rows, numbers=True)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _problems(results: Results) -> Iterable[str]:
    found = [
        f"- {tool}, {policy}: {cell.word}: {cell.text}"
        for policy, cells in results.exact.items()
        for tool, cell in cells.items()
        if isinstance(cell, Problem)
    ]
    yield "## What tools got wrong, or refused"
    yield (
        "\n".join(found) or "Nothing: every program answered every call that was tried as it must."
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    """Return a table; with ``numbers``, all columns but the first stand to the right."""
    rule = ["---", *(["--:" if numbers else "---"] * (len(header) - 1))]
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
