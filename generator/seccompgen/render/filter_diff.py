"""Write the differences of filters: as lines for people, and as JSON values for programs."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from seccompgen.core.deciding import origin_json
from seccompgen.core.filter_changes import ChangeEffect, Status, Subject
from seccompgen.core.styled import Style, Styled
from seccompgen.core.text import many, some
from seccompgen.render.change_groups import counted, grouped, rules_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from seccompgen.core.filter_changes import (
        ChangedCall,
        ChangedOperation,
        FilterChange,
        FilterDiff,
        NewCall,
        TablesDiff,
    )
    from seccompgen.core.model import Origin
    from seccompgen.core.tables import Tables
    from seccompgen.render.change_groups import ChangeGroup

_STYLES = {
    ChangeEffect.PERMITTED: Style.RED,
    ChangeEffect.REFUSED: Style.GREEN,
    ChangeEffect.OTHERWISE: Style.YELLOW,
}
_MOST_OPERATIONS = 24
WIDTH = 100
"""The width of a line if there is no terminal."""


def diff_text(diff: FilterDiff, tables: Tables, width: int = WIDTH) -> list[str]:
    """Return the differences as lines of at most ``width`` characters, if words allow it.

    Newly permitted calls come first, then newly refused ones, then those with other answers, then
    all differences that are not about calls.
    """
    groups = grouped(diff, tables)
    lines = wrapped(f"{diff.before} -> {diff.after}: {counted(diff, groups)}", width, "")
    for effect in ChangeEffect:
        those = [group for group in groups if group.effect is effect]
        if those:
            lines += ["", Styled((f"{effect.value}:", _STYLES[effect]))]
        for group in those:
            lines += _group_lines(group, width)
    for effect in ChangeEffect:
        rings = [one for one in diff.operations if one.effect is effect]
        if rings:
            lines += ["", Styled((f"{effect.value}, on rings:", _STYLES[effect]))]
        for one in rings:
            lines += operation_lines(one, width=width)
    if notes := list(notes_of(diff)):
        lines += ["", "besides:"]
    for text in notes:
        lines += wrapped(text, width, "  ")
    return lines


def trees_text(found: Sequence[FilterChange], tables: Tables, width: int = WIDTH) -> list[str]:
    """Return the filters that differ between two trees, and their changes, as lines."""
    lines: list[str] = []
    for one in found:
        lines += ["", ""] if lines and one.status is Status.CHANGED else []
        if one.diff and one.status is Status.CHANGED:
            lines += diff_text(one.diff, tables, width)
        else:
            lines += wrapped(f"{one.name}: {fate(one)}", width, "")
    return lines or ["no filter differs"]


def tables_text(one: TablesDiff, tables: Tables, width: int = WIDTH) -> list[str]:
    """Return the effect of other tables on a filter: its answers to new calls, then the changes."""
    count = len({call.syscall for call in one.new_calls})
    new = f"{many(count, 'call')} {'is' if count == 1 else 'are'} new"
    lines = [f"{one.name}: {new} from {one.before} to {one.after}"]
    for answer, calls in _by_answers(one.new_calls, rules_text).items():
        lines += ["", *wrapped(f"{answer}:", width, "  "), *wrapped(calls, width, "    ")]
    return [*lines, "", *diff_text(one.diff, tables, width)]


def new_calls_text(name: str, calls: Sequence[NewCall]) -> list[str]:
    """Return the answers of the policy ``name`` to new calls, one line per rule."""

    def labels(rules: Sequence[Origin]) -> str:
        return ", ".join(dict.fromkeys(one.label for one in rules))

    return [f"{name}: {answer}: {of}" for answer, of in _by_answers(calls, labels).items()]


def _by_answers(
    calls: Sequence[NewCall], named: Callable[[Sequence[Origin]], str]
) -> dict[str, str]:
    """Return the names of calls by their answers; ``named`` formats the rules."""
    alike: dict[str, dict[str, None]] = {}
    for call in calls:
        rules = named(call.rules)
        answer = " or ".join(call.answers) + (f", by {rules}" if rules else "")
        alike.setdefault(answer, {})[call.syscall] = None
    return {answer: ", ".join(names) for answer, names in alike.items()}


def tables_json(found: Sequence[TablesDiff]) -> dict[str, Any]:
    """Return the effect of other tables on filters as a value for JSON."""
    filters = [
        {
            "filter": one.name,
            "new_calls": [
                {
                    "syscall": call.syscall,
                    "abis": list(call.abis),
                    "answers": list(call.answers),
                    "rules": [origin_json(rule) for rule in call.rules],
                }
                for call in one.new_calls
            ],
            **diff_json(one.diff),
        }
        for one in found
    ]
    changes = [{"filter": one["filter"], **change} for one in filters for change in one["changes"]]
    tags = {"before": found[0].before, "after": found[0].after} if found else {}
    return {"tags": tags, "changes": changes, "filters": filters}


def fate(one: FilterChange) -> str:
    """Return the status of a filter whose changes are not listed, in words."""
    match one.status:
        case Status.ADDED:
            return "new"
        case Status.REMOVED:
            return "removed"
        case Status.AS_POLICY:
            return f"the same changes as {one.policy}"
        case _:
            return "edited, with no difference in meaning"


def notes_of(diff: FilterDiff) -> Iterator[str]:
    """Yield the differences that are not about calls, a sentence each."""
    for one in diff.settings:
        yield f"{one.name}: {one.before} -> {one.after}"
    for one in diff.policy_actions:
        yield f"{one.name}: {one.before} -> {one.after}"
    for abis, side in ((diff.only_before, diff.after), (diff.only_after, diff.before)):
        if abis:
            yield f"{side} has no program for {', '.join(abis)}"
    for lack in diff.unlisted:
        known = f"one of them: {lack.example}" if lack.example else "nobody knows if there are any"
        yield f"the changes on {lack.abi} cannot be listed, as {lack.reason}; {known}"


def _group_lines(group: ChangeGroup, width: int) -> Iterator[str]:
    yield from (Styled((line, Style.STRONG)) for line in wrapped(group.subject, width, "  "))
    yield from wrapped(f"{group.before} -> {group.after} {group.where}", width, "    ")
    words = (("before", group.rules[0]), ("after", group.rules[1]))
    for word, rules in words:
        if rules:
            yield from wrapped(f"{word}: {rules}", width, "    ")
    yield from wrapped(f"such as {group.example}", width, "    ")


def operation_lines(
    one: ChangedOperation, names: tuple[str, str] = ("before", "after"), width: int = WIDTH
) -> Iterator[str]:
    """Yield the lines about a change of what rings may do; the sides are called ``names``."""
    subject = some(one.operations, _MOST_OPERATIONS)
    yield from (Styled((line, Style.STRONG)) for line in wrapped(subject, width, "  "))
    for word, text, rules in zip(names, (one.before, one.after), one.rules, strict=True):
        by = f", by {rules_text(rules)}" if rules else ""
        yield from wrapped(f"{word}: {text}{by}", width, "    ")
    yield from wrapped(f"on {', '.join(one.abis)}; such as {one.example}", width, "    ")


def wrapped(text: str, width: int, indent: str) -> list[str]:
    """Return a paragraph in lines; no name, position or number is broken."""
    more = f"{indent}  "
    return textwrap.wrap(
        text,
        max(width, len(more) + 20),
        initial_indent=indent,
        subsequent_indent=more,
        break_long_words=False,
        break_on_hyphens=False,
    )


def change_json(one: ChangedCall) -> dict[str, Any]:
    """Return a change as a value for JSON."""
    numbers = {abi: [list(span) for span in spans] for abi, spans in one.numbers}
    return {
        "effect": one.effect.name.lower(),
        "syscall": one.syscall or None,
        "subject": one.subject.value,
        **({"numbers": numbers} if one.subject is not Subject.CALL else {}),
        "abis": list(one.abis),
        "programs": list(one.programs),
        "condition": one.condition or None,
        "before": one.before,
        "after": one.after,
        "rules": {
            "before": [origin_json(rule) for rule in one.rules[0]],
            "after": [origin_json(rule) for rule in one.rules[1]],
        },
        "example": [one.example.nr, *one.example.arguments],
        "example_arch": one.example.arch,
        "example_text": one.example.text,
    }


def operation_json(one: ChangedOperation) -> dict[str, Any]:
    """Return a change of what rings may do as a value for JSON."""
    return {
        "effect": one.effect.name.lower(),
        "operations": list(one.operations),
        "abis": list(one.abis),
        "before": one.before,
        "after": one.after,
        "rules": {
            "before": [origin_json(rule) for rule in one.rules[0]],
            "after": [origin_json(rule) for rule in one.rules[1]],
        },
        "example": one.example,
    }


def diff_json(diff: FilterDiff) -> dict[str, Any]:
    """Return all differences as a value for JSON."""
    return {
        "before": diff.before,
        "after": diff.after,
        "differs": diff.differs,
        "abis": list(diff.abis),
        "only_before": list(diff.only_before),
        "only_after": list(diff.only_after),
        "changes": [change_json(one) for one in diff.changes],
        "operations": [operation_json(one) for one in diff.operations],
        "settings": {one.name: [one.before, one.after] for one in diff.settings},
        "policy_actions": {one.name: [one.before, one.after] for one in diff.policy_actions},
        "unlisted": [
            {"abi": one.abi, "reason": one.reason, "example": one.example} for one in diff.unlisted
        ],
    }


def trees_json(found: Sequence[FilterChange]) -> dict[str, Any]:
    """Return the filters that differ between two trees, and their changes, as a value for JSON."""
    filters = [
        {
            "filter": one.name,
            "status": one.status.value,
            **({"policy": one.policy} if one.policy else {}),
            **(diff_json(one.diff) if one.diff else {}),
        }
        for one in found
    ]
    changes = [
        {"filter": one["filter"], **change} for one in filters for change in one.get("changes", ())
    ]
    return {"changes": changes, "filters": filters}
