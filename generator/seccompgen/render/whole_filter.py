"""A whole filter as text: its answers by action, then by kind of call, then by condition.

Calls with the most common answer are counted, not listed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from seccompgen.core.call_kinds import Kind
from seccompgen.core.deciding import origin_json
from seccompgen.core.text import many, some
from seccompgen.render.filter_diff import wrapped
from seccompgen.verify.kernel import rank

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.filter_summary import AnswerSummary, CallRoute, CallSummary, FilterSummary

_MOST_ABIS = 4
_WIDTH = 96


_Answers: TypeAlias = tuple[tuple[str, str, bool], ...]
"""Actions, each with its condition, and True if it answers all other arguments."""


@dataclass(frozen=True, slots=True)
class _AnsweredCall:
    """A call on the ABIs with the same answers; ``where`` names these ABIs if others differ."""

    name: str
    kind: Kind
    answers: _Answers
    where: str

    @property
    def label(self) -> str:
        return f"{self.name} ({self.where})" if self.where else self.name


def whole_filter_text(summary: FilterSummary, file: str, tag: str) -> Iterator[str]:
    """Yield the lines about a whole filter."""
    abis = list(dict.fromkeys(way.label for way in summary.ways))
    shown = ", ".join(abis) if len(abis) <= _MOST_ABIS else f"{len(abis)} ABIs"
    yield f"{file}: {shown}, calls of Linux {tag}"
    entries = _entries(summary)
    ranks = {a.action: rank(a.ret) for call in summary.calls for a in call.answers}
    usual = _usual(entries)
    for action in sorted(ranks, key=lambda one: (-ranks[one], one)):
        lines = list(_action_lines(action, entries, usual))
        if lines:
            yield ""
            yield action
            yield from (f"  {line}" for line in lines)
    rest: dict[tuple[str, str], list[CallRoute]] = defaultdict(list)
    for one in summary.rest:
        rest[one.subject, one.answer.action] += one.ways
    if rest:
        yield ""
    for (subject, action), ways in rest.items():
        apart = len({of for (other, of) in rest if other == subject}) > 1
        on = f" ({some(list(dict.fromkeys(way.label for way in ways)))})" if apart else ""
        yield f"{subject}{on}: {action}"
    yield from (f"undecided: {one}" for one in summary.undecided)


def _entries(summary: FilterSummary) -> list[_AnsweredCall]:
    programs: dict[str, set[str]] = defaultdict(set)
    for way in summary.ways:
        programs[way.abi].add(way.program)
    labels = {w: w.abi if len(programs[w.abi]) == 1 else w.label for w in summary.ways}
    alike: dict[tuple[str, Kind, tuple[tuple[str, str, bool], ...]], dict[str, None]] = defaultdict(
        dict
    )
    for one in summary.calls:
        answers = tuple(_merged(one))
        alike[one.name, one.kind, answers] |= dict.fromkeys(labels[p.way] for p in one.places)
    several = Counter(name for name, _, _ in alike)
    return [
        _AnsweredCall(
            name,
            kind,
            answers,
            f"on {some([*abis])}" if several[name] > 1 else "",
        )
        for (name, kind, answers), abis in alike.items()
    ]


def _merged(call: CallSummary) -> Iterator[tuple[str, str, bool]]:
    """Yield each action once, with its condition, and True if it answers all other arguments."""
    if call.only:
        yield call.only.action, "", False
        return
    of_action: dict[str, list[AnswerSummary]] = defaultdict(list)
    for one in call.answers:
        of_action[one.action].append(one)
    for action, answers in of_action.items():
        if any(one.otherwise for one in answers):
            yield action, "", True
        else:
            yield action, " or ".join(one.condition for one in answers), False


def _usual(entries: Sequence[_AnsweredCall]) -> str:
    """Return the action that most calls get with any arguments."""
    counts = Counter(one.answers[0][0] for one in entries if len(one.answers) == 1)
    return max(counts, key=counts.__getitem__, default="")


def _action_lines(action: str, entries: Sequence[_AnsweredCall], usual: str) -> Iterator[str]:
    if action == usual:
        always = {one.name: one.kind for one in entries if one.answers == ((action, "", False),)}
        numbers = list(always.values()).count(Kind.UNNAMED)
        unnamed = len(always) - numbers
        is_not, its = ("is not", "its") if unnamed == 1 else ("are not", "their")
        yield f"{many(unnamed, 'call')} that {is_not} named here, whatever {its} arguments are"
        if numbers:
            yield f"{many(numbers, 'number')} without a name that the policy has rules for"
    for kind in Kind:
        plain: list[str] = []
        otherwise: list[str] = []
        conditions: dict[str, list[str]] = defaultdict(list)
        for one in entries:
            if one.kind is not kind:
                continue
            for its_action, condition, rest in one.answers:
                if its_action != action:
                    continue
                if rest:
                    otherwise.append(one.label)
                elif condition:
                    conditions[condition].append(one.label)
                elif action != usual:
                    plain.append(one.label)
        if not (plain or otherwise or conditions):
            continue
        yield f"{kind.value}"
        if plain:
            yield from wrapped(", ".join(plain), _WIDTH, "  ")
        for condition, names in conditions.items():
            yield from wrapped(f"{', '.join(names)} where {condition}", _WIDTH, "  ")
        if otherwise:
            yield from wrapped(f"otherwise {', '.join(otherwise)}", _WIDTH, "  ")


def whole_filter_json(summary: FilterSummary, file: str, tag: str) -> dict[str, Any]:
    """Return the answers as a value for JSON, with every call."""
    return {
        "file": file,
        "tag": tag,
        "ways": [way._asdict() for way in summary.ways],
        "calls": [
            {
                "syscall": one.name,
                "kind": one.kind.name.lower(),
                "ways": [{**place.way._asdict(), "nr": place.nr} for place in one.places],
                "answers": [_answer_json(answer) for answer in one.answers],
            }
            for one in summary.calls
        ],
        "rest": [
            {
                "subject": one.subject,
                "ways": [way._asdict() for way in one.ways],
                "answer": _answer_json(one.answer),
            }
            for one in summary.rest
        ],
        "undecided": list(summary.undecided),
    }


def _answer_json(answer: AnswerSummary) -> dict[str, Any]:
    return {
        "action": answer.action,
        "ret": answer.ret,
        "condition": answer.condition or None,
        "otherwise": answer.otherwise,
        "rule": origin_json(answer.origin) if answer.origin else None,
    }
