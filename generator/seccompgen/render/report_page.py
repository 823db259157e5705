"""A report on filters as one self-contained HTML page that makes no network requests.

The content is HTML; the script's data is JSON in the same page. Names, descriptions and paths are
untrusted: the templates escape them, the script writes them as text alone, and a
Content-Security-Policy in the page permits only the page's own script and style, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from seccompgen.core.call_kinds import Kind
from seccompgen.core.number_spans import merged
from seccompgen.core.spelling import stretches
from seccompgen.core.text import printable, some
from seccompgen.render.change_groups import counted, grouped
from seccompgen.render.findings import message_of, witnesses
from seccompgen.render.report_answers import (
    AnswerWords,
    letter_of,
    names_of,
    rule_of,
    short_place,
    words_of,
)
from seccompgen.render.report_data import script_data
from seccompgen.render.templates import render_html, template_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.filter_changes import FilterDiff
    from seccompgen.core.filter_summary import (
        Ability,
        CallPlace,
        CallRoute,
        CallSummary,
        FilterSummary,
        PermissionCondition,
    )
    from seccompgen.core.program import Cost, Program
    from seccompgen.core.tables import Tables
    from seccompgen.lint import Finding
    from seccompgen.render.decision_tree import TreeRow

_MOST_ABIS = 4
_MOST_NAMES = 3
_EFFECTS = {
    "errno": "the call is not made, the program gets that error, and goes on",
    "kill": "it is ended at once",
    "trap": "the call is not made, and the program gets the signal SIGSYS",
    "trace": "a tracer decides, and without one the call fails with ENOSYS",
    "notify": "a supervisor decides",
}
LEGEND = (
    ("A", "allow", "allowed"),
    ("C", "some", "depends on the arguments"),
    ("E", "errno", "fails with an errno"),
    ("K", "kill", "kills"),
    ("T", "trap", "sends SIGSYS"),
    ("R", "trace", "a tracer decides"),
    ("N", "notify", "a supervisor decides"),
    ("L", "log", "allowed and logged"),
    ("·", "none", "no such call"),
)


@dataclass(frozen=True)
class ReportedProgram:
    """A program, its questions, costs and proof.

    ``cost`` and ``bound`` are None for a program that we did not compile. ``proof`` describes how
    it was proved to match its policy, or why it was not; ``proved`` is None without a policy.
    """

    program: Program
    rows: tuple[TreeRow, ...]
    sha256: str
    cost: Cost | None
    bound: Cost | None
    proved: bool | None
    proof: str


@dataclass(frozen=True)
class Report:
    """The content of a page about one filter.

    ``sources`` are the files that it is made from, with their sha256; ``settings`` describe how it
    is installed. ``diff`` is the difference from another filter, if one is given. ``rings`` are the
    answers to operations of rings, as `about.ring_tables` yields them.
    """

    name: str
    form: str
    description: str
    sources: tuple[tuple[str, str], ...]
    settings: str
    summary: FilterSummary
    abilities: tuple[Ability, ...]
    programs: tuple[ReportedProgram, ...]
    findings: tuple[Finding, ...]
    silenced: int
    tables_sha256: str
    programs_sha256: str
    diff: FilterDiff | None = None
    rings: tuple[tuple[str, list[tuple[str, str]]], ...] = ()


@dataclass(frozen=True, slots=True)
class _CallRow:
    """A call in the table: its answers, in parts for ABIs that differ, and its cells.

    A cell is its letter, its class, and the number of adjacent ABIs that it covers.
    """

    name: str
    entries: tuple[tuple[str, tuple[tuple[AnswerWords, tuple[str, ...]], ...]], ...]
    cells: tuple[tuple[str, str, int], ...]
    state: str


class _OtherCalls(NamedTuple):
    """Calls without a name, and their answers as in a `_CallRow`."""

    subject: str
    entries: tuple[tuple[str, tuple[tuple[AnswerWords, tuple[str, ...]], ...]], ...]
    where: str


class _Longest(NamedTuple):
    """The most instructions that run for any of some calls, and the calls that run so many."""

    instructions: int
    calls: str


def render_report(reports: Sequence[Report], tables: Tables) -> bytes:
    """Return the page about ``reports``."""
    style, script = template_source("report.css"), template_source("report.js")
    text = render_html(
        "report.html.j2",
        title=", ".join(one.name for one in reports),
        level=1 if len(reports) == 1 else 2,
        tag=tables.tag,
        legend=LEGEND,
        style=style,
        script=script,
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        filters=[_context(one, tables) for one in reports],
        data=_json([script_data(one, tables) for one in reports]),
    )
    return text.encode("utf-8", "surrogateescape")


def _csp_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _json(data: object) -> str:
    """Return JSON that cannot end the script element that contains it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _context(report: Report, tables: Tables) -> dict[str, object]:
    """Return the values that the template prints for one filter."""
    ways = report.summary.ways
    by_name = report.summary.by_name
    rows = [_row(name, by_name[name], ways) for name in names_of(report.summary)]
    kinds = [(kind, [row for row in rows if by_name[row.name][0].kind is kind]) for kind in Kind]
    groups = grouped(report.diff, tables) if report.diff else []
    return {
        "report": report,
        "paragraphs": _paragraphs(report.description),
        "ways": ways,
        "kinds": [(kind, own, _counts(own)) for kind, own in kinds if own],
        "counts": _counts(rows),
        "rest": [*_numbers(report.summary), *_rest(report.summary)],
        "abilities": [
            (group, [(one, _where(one, ways), _by(one)) for one in found])
            for group, found in groupby(report.abilities, key=lambda one: one.group)
        ],
        "refusal": _refusal(report),
        "signs": {sign for row in rows for sign, _, _ in row.cells},
        "sources": [(PurePath(path).name, sha256) for path, sha256 in report.sources],
        "programs": [
            (one, _in_bitmap(one, report), *_longest(one, report)) for one in report.programs
        ],
        "proved": _how_many_proved(report.programs),
        "bounded": all(one.bound for one in report.programs),
        "findings": [_finding(one, tables) for one in report.findings],
        "changes": groups,
        "counted": counted(report.diff, groups) if report.diff else "",
        "longest": max((len(one.program.instructions) for one in report.programs), default=0),
    }


def _paragraphs(text: str) -> list[list[str]]:
    """Return the paragraphs of a description, each as its lines."""
    lines = [printable(line).rstrip() for line in text.strip().split("\n")]
    found: list[list[str]] = [[]]
    for line in lines:
        if not line.strip():
            found.append([])
        elif line.lstrip().startswith("- ") or not found[-1]:
            found[-1].append(line.strip())
        else:
            found[-1][-1] += f" {line.strip()}"
    return [one for one in found if one]


def _numbers(summary: FilterSummary) -> Iterator[_OtherCalls]:
    """Yield the answers to numbers that have rules but no name; equal answers are merged."""
    alike: dict[Any, list[int]] = defaultdict(list)
    on: dict[Any, set[CallRoute]] = defaultdict(set)
    for name, entries in summary.by_name.items():
        if entries[0].kind is Kind.UNNAMED:
            answers = _row(name, entries, summary.ways).entries
            alike[answers].append(int(name))
            on[answers].update(place.way for one in entries for place in one.places)
    for answers, numbers in alike.items():
        spans = merged((nr, nr) for nr in numbers)
        count = "a number" if len(numbers) == 1 else f"{len(numbers)} numbers"
        subject = f"{count} without a name, but with rules in the policy: {stretches(spans)}"
        ways = [way for way in summary.ways if way in on[answers]]
        yield _OtherCalls(subject, answers, _some_ways(ways, summary.ways))


def _rest(summary: FilterSummary) -> Iterator[_OtherCalls]:
    for one in summary.rest:
        words = AnswerWords(one.answer.action, "", False, *letter_of(one.answer.ret))
        answers = (("", ((words, rule_of(one.answer)),)),)
        yield _OtherCalls(one.subject, answers, _some_ways(one.ways, summary.ways))


def _row(name: str, entries: Sequence[CallSummary], ways: Sequence[CallRoute]) -> _CallRow:
    """Return the row of a call; the answer of most ABIs comes first."""
    ordered = sorted(entries, key=lambda one: -len(one.places))
    having = [place.way for one in ordered for place in one.places]
    where: dict[tuple[AnswerWords, ...], list[CallRoute]] = {}
    rules: dict[tuple[AnswerWords, ...], list[dict[str, None]]] = {}
    for one in ordered:
        words, places = words_of(one)
        where.setdefault(words, []).extend(place.way for place in one.places)
        for known, new in zip(rules.setdefault(words, [{} for _ in words]), places, strict=True):
            known.update(dict.fromkeys(new))
    answers = tuple(
        (
            "" if len(where) == 1 else _some_ways(on, having),
            tuple((one, tuple(places)) for one, places in zip(words, rules[words], strict=True)),
        )
        for words, on in where.items()
    )
    of_way = {place.way: _cell(one) for one in ordered for place in one.places}
    cells = tuple(
        (*cell, len(list(alike)))
        for cell, alike in groupby(of_way.get(way, ("·", "none")) for way in ways)
    )
    states = {_state(one) for one in ordered}
    return _CallRow(name, answers, cells, states.pop() if len(states) == 1 else "some")


def _cell(entry: CallSummary) -> tuple[str, str]:
    if entry.only is None:
        return ("C", "some")
    return letter_of(entry.only.ret)


def _state(entry: CallSummary) -> str:
    """Return whether calls are let through: ``yes``, ``no`` or ``some``."""
    through = {letter_of(one.ret)[1] in {"allow", "log"} for one in entry.answers}
    return "some" if len(through) != 1 else "yes" if through.pop() else "no"


def _counts(rows: Iterable[_CallRow]) -> dict[str, int]:
    states = [row.state for row in rows]
    return {state: states.count(state) for state in ("yes", "some", "no")} | {"all": len(states)}


def _some_ways(ways: Sequence[CallRoute], everything: Sequence[CallRoute]) -> str:
    """Return the names of ABIs; of many, their number, or those that are missing."""
    labels = [one.label for one in ways]
    missing = [one.label for one in everything if one not in ways]
    if not missing:
        return f"all {len(labels)} ABIs" if len(labels) > 1 else labels[0]
    if len(missing) < len(labels) and len(missing) <= _MOST_ABIS:
        return f"all but {', '.join(missing)}"
    return some(labels)


def _refusal(report: Report) -> tuple[str, str] | None:
    """Return the most common answer to refused calls, and its effect; None if none is refused."""
    counts = Counter(
        (one.action, letter_of(one.ret)[1])
        for entry in report.summary.calls
        for one in entry.answers
        if letter_of(one.ret)[1] in _EFFECTS
    )
    if not counts:
        return None
    ((action, name), _), *_ = counts.most_common(1)
    return action, _EFFECTS[name]


def _where(ability: Ability, ways: Sequence[CallRoute]) -> str:
    """Return the ABIs that have an ability, as text; empty for all or none."""
    here = ability.ways
    return f"on {_some_ways(here, ways)}" if here and len(here) < len(ways) else ""


def _by(ability: Ability) -> list[tuple[str, list[tuple[PermissionCondition, str]]]]:
    """Return the calls that give an ability, each with its conditions and their ABIs."""
    return [
        (
            call.name,
            [
                (when, f"on {_some_ways(ways, ability.ways)}" if len(call.conditions) > 1 else "")
                for when, ways in call.conditions
                if when.text != "" or len(call.conditions) > 1
            ],
        )
        for call in ability.permitted
    ]


def _in_bitmap(program: ReportedProgram, report: Report) -> int:
    """Return how many calls of the program's own ABI the kernel's bitmap answers."""
    name = program.program.abi.name
    places = (place for call in report.summary.calls for place in call.places)
    return sum(place.bitmap is True and place.way == (name, name) for place in places)


def _longest(program: ReportedProgram, report: Report) -> tuple[_Longest, _Longest | None]:
    """Return the longest path of all calls, and of those that the bitmap does not answer."""
    own = program.program.abi.name
    costs: list[tuple[int, str, CallPlace]] = [
        (place.executed.most, call.name, place)
        for call in report.summary.calls
        for place in call.places
        if place.way.program == own and place.executed
    ]
    if program.cost:
        longest = program.cost.longest
    else:
        longest = program.rows[0].cost.most if program.rows else 1
    left = [one for one in costs if not one[2].bitmap]
    return (
        _Longest(longest, _taking(longest, costs, own)),
        _Longest(most, _taking(most, left, own))
        if (most := max((one[0] for one in left), default=0))
        else None,
    )


def _taking(most: int, costs: Iterable[tuple[int, str, CallPlace]], own: str) -> str:
    """Return the calls that run ``most`` instructions, if possible those of the program's own ABI.

    Empty if no call with a name runs so many.
    """
    on: dict[str, list[str]] = defaultdict(list)
    for instructions, name, place in costs:
        if instructions == most and not name.isdecimal():
            on[place.way.abi].append(name)
    abi = own if own in on else next(iter(on), "")
    names = on[abi]
    more = sum(map(len, on.values())) - len(names[:_MOST_NAMES])
    text = ", ".join(names[:_MOST_NAMES]) + (f" on {abi}" if abi and abi != own else "")
    return f"{text} and {more} more" if more else text


def _how_many_proved(programs: Sequence[ReportedProgram]) -> str:
    proved = sum(one.proved is True for one in programs)
    return "all" if proved == len(programs) else f"{proved} of {len(programs)}"


def _finding(one: Finding, tables: Tables) -> dict[str, str]:
    where = short_place(one.position) if one.position else ""
    if not where and one.instruction is not None:
        where = f"instruction {one.instruction}"
    return {
        "severity": one.severity.value,
        "code": one.kind.value,
        "message": message_of(one),
        "fix": one.fix,
        "calls": "; ".join(map(" ".join, witnesses(one, tables))),
        "where": where,
    }
