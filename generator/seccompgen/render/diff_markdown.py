"""Write the differences of filters for a comment on a pull request: tables, collapsed if long.

The text of policies and paths cannot become markup: it is in ``<code>``, where mentions have no
effect, and each character that Markdown or HTML could interpret is an entity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.filter_changes import ChangeEffect, Status
from seccompgen.core.text import many, printable
from seccompgen.render.change_groups import counted, grouped, rules_text
from seccompgen.render.filter_diff import fate, notes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.filter_changes import ChangedOperation, FilterChange, FilterDiff
    from seccompgen.core.tables import Tables
    from seccompgen.render.change_groups import ChangeGroup

_MOST_ROWS = 12
"""The most rows of a table that is not collapsed."""
_PLAIN = frozenset(" ,/=()'")


def diff_markdown(diff: FilterDiff, tables: Tables) -> list[str]:
    """Return the differences as lines of Markdown."""
    groups = grouped(diff, tables)
    title = f"{code(diff.before)} → {code(diff.after)}: {counted(diff, groups)}"
    lines = [f"**{title}**", ""]
    if count := len(groups) + len(diff.operations):
        rows = [*_table(groups), *_operation_rows(diff.operations)]
        lines += _folded(rows, many(count, "change"), count)
    lines += [f"- {code(note)}" for note in notes_of(diff)]
    return [*lines, ""] if lines[-1] else lines


def trees_markdown(found: Sequence[FilterChange], tables: Tables) -> list[str]:
    """Return the filters that differ between two trees, and their changes, as lines of Markdown."""
    lines: list[str] = []
    for one in found:
        if one.diff and one.status is Status.CHANGED:
            lines += diff_markdown(one.diff, tables)
        else:
            lines += [f"{code(one.name)}: {code(fate(one))}", ""]
    return lines or ["No seccomp filter differs."]


def code(written: str) -> str:
    """Return ``written`` so that Markdown and HTML treat it as plain text."""
    characters = (
        one if one.isalnum() or one in _PLAIN else f"&#{ord(one)};" for one in printable(written)
    )
    return f"<code>{''.join(characters)}</code>"


def _table(groups: Sequence[ChangeGroup]) -> Iterator[str]:
    yield "| | calls | where | before | after | an example |"
    yield "|---|---|---|---|---|---|"
    for effect in ChangeEffect:
        for one in (group for group in groups if group.effect is effect):
            cells = (
                f"**{effect.value}**",
                code(one.subject),
                one.where.replace("_", "&#95;"),
                _answer(one.before, one.rules[0]),
                _answer(one.after, one.rules[1]),
                code(one.example),
            )
            yield f"| {' | '.join(cells)} |"


def _operation_rows(operations: Sequence[ChangedOperation]) -> Iterator[str]:
    for one in operations:
        cells = (
            f"**{one.effect.value}**",
            f"ring: {code(', '.join(one.operations))}",
            code(", ".join(one.abis)),
            _answer(one.before, rules_text(one.rules[0])),
            _answer(one.after, rules_text(one.rules[1])),
            code(one.example),
        )
        yield f"| {' | '.join(cells)} |"


def _answer(answer: str, rules: str) -> str:
    return f"{code(answer)}<br>{code(rules)}" if rules else code(answer)


def _folded(lines: list[str], summary: str, rows: int) -> list[str]:
    if rows <= _MOST_ROWS:
        return [*lines, ""]
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "", "</details>", ""]
