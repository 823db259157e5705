"""Refused calls in a log, as values and as text: the deciding rule, and a change to permit each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seccompgen.core.text import listed, many, printable, some
from seccompgen.render.findings import message_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.deciding import DecidingRule
    from seccompgen.core.errors import Position
    from seccompgen.lint import Finding
    from seccompgen.render.explanation import AnswerCase

_MOST_DEATHS = 10


@dataclass(frozen=True, slots=True)
class ProposedChange:
    """The smallest change of a policy that permits a call.

    ``patch`` is a unified diff of ``files``, ``words`` describe it, ``note`` states its risks.
    ``findings`` are lint's findings that only the changed policy has.
    """

    files: tuple[str, ...]
    words: str
    patch: tuple[str, ...]
    note: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A recorded call through ``abi``, and the filter's part in it.

    ``recorded`` is the action in the records, if they state it. ``cases`` are the filter's possible
    answers; ``permitted`` are conditions under which it permits the call. ``other`` is the reason
    why another filter must have answered, ``unchanged`` the reason why no change is proposed. If
    ``only_logged``, the call was executed: the filter was not in force, or report-only.
    """

    abi: str
    name: str
    nr: int
    recorded: str
    times: int
    places: tuple[Position, ...]
    commands: tuple[str, ...]
    addresses: tuple[int, ...]
    cases: tuple[AnswerCase, ...] = ()
    permitted: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    other: str = ""
    change: ProposedChange | None = None
    unchanged: str = ""
    only_logged: bool = False

    @property
    def subject(self) -> str:
        """The call and its ABI."""
        return f"{self.name or f'nr {self.nr}'} on {self.abi}"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The refused calls of a log, the most frequent first; ``records`` counts all records.

    ``deaths`` are lines about a death by SIGSYS that name no call. ``unread`` are records that
    could not be parsed. ``lost`` counts the records that are missing, according to the log.
    """

    file: str
    records: int
    calls: tuple[RefusedCall, ...]
    deaths: tuple[tuple[Position, str], ...]
    unread: tuple[str, ...]
    lost: int
    lines: int


def audit_text(report: AuditReport) -> Iterator[str]:
    """Yield the lines of a report."""
    records, calls = many(report.records, "record"), many(len(report.calls), "call")
    yield f"{report.file}: {records} of seccomp in {many(report.lines, 'line')}, {calls}"
    for one in report.calls:
        yield ""
        yield from call_text(one)
    if report.deaths or report.unread or report.lost:
        yield ""
    for place, text in report.deaths[:_MOST_DEATHS]:
        yield death_text(place, text)
    if len(report.deaths) > _MOST_DEATHS:
        more = many(len(report.deaths) - _MOST_DEATHS, "line")
        yield f"and {more} more about SIGSYS that name no call"
    if report.unread:
        yield f"{many(len(report.unread), 'record')} could not be parsed:"
        yield from (f"  {one}" for one in report.unread[:_MOST_DEATHS])
        if len(report.unread) > _MOST_DEATHS:
            yield f"  and {len(report.unread) - _MOST_DEATHS} more"
    if report.lost:
        yield f"{many(report.lost, 'record')} more were lost, according to the log"


def death_text(place: Position, text: str) -> str:
    """Return the line about a record, ``text``, of a death by SIGSYS that names no call."""
    return f"{place}: SIGSYS ended a process, and the log does not name the call: {text}"


def call_text(one: RefusedCall) -> Iterator[str]:
    """Yield the lines about one call."""
    recorded = f": {one.recorded}" if one.recorded else ""
    if one.only_logged:
        answers = dict.fromkeys(case.action for case in one.cases)
        recorded = f": made, and logged; it would get {' or '.join(answers)}"
    times = f"{one.times} times  " if one.times > 1 else "once  "
    yield f"{times}{one.subject}{recorded}"
    yield f"  {_seen(one)}"
    if one.other:
        yield f"  another filter: {one.other}"
        return
    if len(one.cases) == 1 and not one.permitted and not one.open:
        yield f"  by {one.cases[0].rule}"
    else:
        yield from _possible(one)
    if one.change:
        yield from _change_lines(one.change)
    elif one.unchanged:
        yield f"  no change is proposed: {one.unchanged}"


def _possible(one: RefusedCall) -> Iterator[str]:
    """Yield the rules that may have answered, depending on arguments that records do not show."""
    rules = list(dict.fromkeys(case.rule for case in one.cases))
    missing = f"the record does not show {listed(one.open) or 'the arguments'}"
    if len(rules) == 1:
        yield f"  by {rules[0]}"
    else:
        yield f"  by one of {len(rules)} rules; {missing}:"
        for case in one.cases:
            when = f" where {case.condition}" if case.condition else ""
            yield f"    {case.rule}: {case.action}{when}"
    if one.permitted:
        yield f"  permitted where {' or '.join(one.permitted)}"
        if len(rules) == 1:
            yield f"  {missing}"


def _change_lines(change: ProposedChange) -> Iterator[str]:
    yield f"  to permit it, {change.words}:"
    yield from (f"    {line}" for line in change.patch)
    if change.note:
        yield f"  {change.note}"
    for one in change.findings:
        yield f"  lint would say: {one.severity.value}: {message_of(one)} [{one.kind.value}]"
        yield f"    fix: {one.fix}"
    if not change.findings:
        yield "  lint has nothing to say against it"


def _seen(one: RefusedCall) -> str:
    first, *_ = one.places
    text = f"first at {first}"
    if one.commands:
        text += f"; by {some([printable(name) for name in one.commands])}"
    if one.addresses:
        text += f"; called before {some([f'{address:#x}' for address in one.addresses])}"
    return text


def audit_json(report: AuditReport) -> dict[str, Any]:
    """Return a report as a value for JSON."""
    return {
        "file": report.file,
        "lines": report.lines,
        "records": report.records,
        "calls": [call_json(one) for one in report.calls],
        "deaths": [{"line": place.line, "text": text} for place, text in report.deaths],
        "unread": list(report.unread),
        "lost": report.lost,
    }


def call_json(one: RefusedCall) -> dict[str, Any]:
    """Return one call as a value for JSON."""
    change = one.change and {
        "files": list(one.change.files),
        "words": one.change.words,
        "patch": "".join(f"{line}\n" for line in one.change.patch),
        "note": one.change.note,
        "findings": [
            {
                "code": finding.kind.value,
                "severity": finding.severity.value,
                "message": finding.message,
                "fix": finding.fix,
            }
            for finding in one.change.findings
        ],
    }
    return {
        "abi": one.abi,
        "syscall": one.name or None,
        "nr": one.nr,
        "recorded": one.recorded or None,
        "times": one.times,
        "lines": [place.line for place in one.places],
        "commands": list(one.commands),
        "addresses": list(one.addresses),
        "rules": [_case_json(case) for case in one.cases],
        "permitted": list(one.permitted),
        "depends_on": list(one.open),
        "other_filter": one.other or None,
        "change": change,
        "unchanged": one.unchanged or None,
        "only_logged": one.only_logged,
    }


def _case_json(case: AnswerCase) -> dict[str, Any]:
    rule: DecidingRule = case.rule
    return {
        "action": case.action,
        "ret": case.ret,
        "condition": case.condition or None,
        "rule": rule.as_json(),
    }
