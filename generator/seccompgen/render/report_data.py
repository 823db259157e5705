"""The data of a report's script: programs to run, trees to draw, names to type.

It has only numbers, in flat lists, and each text once, in one table: programs for 27 ABIs share
many.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from seccompgen.core.abis import ABIS
from seccompgen.core.argument_families import families_of
from seccompgen.core.text import printable
from seccompgen.render.report_answers import answer_text, names_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.filter_summary import CallRoute
    from seccompgen.core.tables import Tables
    from seccompgen.render.decision_tree import BranchTarget, TreeRow
    from seccompgen.render.report_page import Report, ReportedProgram

_CONSTANT = re.compile(r"[A-Z][A-Z0-9_]+")
_USUAL = frozenset(
    {"clone", "mmap", "mprotect", "open", "openat", "socket", "socketcall", "unshare"}
)
"""Calls whose arguments people ask about, even if a filter tests none of them."""


T = TypeVar("T")


class _Numbered(Generic[T]):
    """Distinct values, numbered in the order of their first use."""

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}

    def number(self, value: T) -> int:
        return self._numbers.setdefault(value, len(self._numbers))

    @property
    def all(self) -> list[T]:
        return list(self._numbers)


class _Shared(NamedTuple):
    """The tables of values that programs or ABIs share."""

    texts: _Numbered[str]
    rows: _Numbered[tuple[object, ...]]
    numbers: _Numbered[tuple[int, ...]]
    constants: _Numbered[tuple[tuple[str, int], ...]]


def script_data(report: Report, tables: Tables) -> dict[str, object]:
    """Return the data about one filter for the script of a page."""
    shared = _Shared(_Numbered(), _Numbered(), _Numbered(), _Numbered())
    names = names_of(report.summary)
    return {
        "programs": [_program(one, shared) for one in report.programs],
        "ways": [_way(one, report, shared, tables) for one in report.summary.ways],
        "names": names,
        "arguments": [_arguments(name, report, tables) for name in names],
        "texts": shared.texts.all,
        "rows": shared.rows.all,
        "numbers": shared.numbers.all,
        "constants": _differences([dict(one) for one in shared.constants.all]),
    }


def _differences(constants: list[dict[str, int]]) -> list[dict[str, int | None]]:
    """Return the first values, then the differences of the others; None for an absent constant."""
    first = constants[0] if constants else {}
    names = sorted({name for one in constants for name in one})
    others = (
        {name: one.get(name) for name in names if one.get(name) != first.get(name)}
        for one in constants[1:]
    )
    return [dict(first), *others]


def _program(one: ReportedProgram, shared: _Shared) -> dict[str, object]:
    code: list[int] = []
    for instruction in one.program.instructions:
        code += [instruction.code, instruction.jt, instruction.jf, instruction.k]
    return {
        "abi": one.program.abi.name,
        "big": one.program.abi.byte_order == "big",
        "code": code,
        "rows": [shared.rows.number(_row(row, shared.texts)) for row in one.rows],
    }


def _row(row: TreeRow, texts: _Numbered[str]) -> tuple[object, ...]:
    """Return a row of the tree; targets are [-1, row, again] or [text, -1, SECCOMP_RET value]."""

    def text(one: str) -> int:
        return texts.number(printable(one))

    def target(one: BranchTarget) -> tuple[int, int, int]:
        if one.row is not None:
            return (-1, one.row, int(one.again))
        return (text(one.text), -1, -1 if one.ret is None else one.ret)

    return (
        row.at,
        text(row.question),
        text(row.calls),
        target(row.yes),
        target(row.no),
        -1 if row.parent is None else row.parent,
        int(row.via == "yes"),
        row.depth,
        text(row.rules),
        *row.cost,
    )


def _way(way: CallRoute, report: Report, shared: _Shared, tables: Tables) -> dict[str, object]:
    """Return an ABI; ``numbers`` and ``answers`` have a number and a text for each name.

    ``bitmap`` lists the names that the bitmap answers.
    """
    abi = ABIS[way.abi]
    found = {
        entry.name: (place, entry)
        for entry in report.summary.calls
        for place in entry.places
        if place.way == way
    }
    places = {name: place for name, (place, _) in found.items()}
    names = names_of(report.summary)
    programs = [one.program.abi.name for one in report.programs]
    bitmap = (n for n, name in enumerate(names) if name in places and places[name].bitmap)
    return {
        "label": way.label,
        "program": programs.index(way.program) if programs else -1,
        "arch": abi.audit_arch,
        "numbers": shared.numbers.number(
            tuple(places[name].nr if name in places else -1 for name in names)
        ),
        "answers": shared.numbers.number(
            tuple(
                shared.texts.number(printable(answer_text(found[name][1]))) if name in found else -1
                for name in names
            )
        ),
        "bitmap": shared.numbers.number(tuple(bitmap)),
        "constants": shared.constants.number(_constants(report, abi, tables)),
    }


def _arguments(name: str, report: Report, tables: Tables) -> list[str]:
    """Return the names of the arguments of a call on its first ABI."""
    abi = ABIS[report.summary.by_name[name][0].places[0].way.abi]
    prototype = tables.facts.prototype(name, abi)
    if prototype is None:
        return []
    return [tables.naming.argument(name, n, abi) for n in range(len(prototype.parameters))]


def _constants(report: Report, abi: Abi, tables: Tables) -> tuple[tuple[str, int], ...]:
    """Return the values of the constants that people type, or that conditions of the page name.

    People type the constants of calls whose arguments matter, in this filter or usually. Of the
    thousands of requests of ioctl, only those that conditions name are included.
    """
    summary = report.summary
    conditions = {answer.condition for entry in summary.calls for answer in entry.answers}
    named = {name for text in conditions for name in _CONSTANT.findall(text)}
    counting = {entry.name for entry in summary.calls if entry.only is None} - {"ioctl"}
    named.update(_typed(counting | _USUAL, abi, tables))
    values = ((name, tables.facts.value(name, abi)) for name in sorted(named))
    return tuple((name, value) for name, value in values if value is not None)


def _typed(calls: Iterable[str], abi: Abi, tables: Tables) -> Iterator[str]:
    """Yield the names of all constants that the arguments of ``calls`` can take, such as flags."""
    for call in calls:
        prototype = tables.facts.prototype(call, abi)
        for one in prototype.parameters if prototype else ():
            for family in families_of(call, one.name):
                yield from family.names(tables.facts)
