"""The data of a report's script: programs to run, trees to draw, names to type.

Numbers only, in flat lists, and texts once in one table: programs for 27 ABIs have many in common.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from seccompgen.core.abis import ABIS
from seccompgen.core.text import printable

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.filter_summary import Way
    from seccompgen.core.tables import Tables
    from seccompgen.render.decision_tree import Target, TreeRow
    from seccompgen.render.report import Report, ReportedProgram

_CONSTANT = re.compile(r"[A-Z][A-Z0-9_]+")


T = TypeVar("T")


class _Table(Generic[T]):
    """Values by number, each once."""

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}

    def number(self, value: T) -> int:
        return self._numbers.setdefault(value, len(self._numbers))

    @property
    def all(self) -> list[T]:
        return list(self._numbers)


class _Tables(NamedTuple):
    """Everything that several programs or ABIs have in common."""

    texts: _Table[str]
    rows: _Table[tuple[object, ...]]
    numbers: _Table[tuple[int, ...]]
    constants: _Table[tuple[tuple[str, int], ...]]


def script_data(report: Report, tables: Tables) -> dict[str, object]:
    """Return what the script of a page knows of one filter."""
    shared = _Tables(_Table(), _Table(), _Table(), _Table())
    names = list(report.summary.by_name)
    return {
        "programs": [_program(one, shared) for one in report.programs],
        "ways": [_way(one, report, shared, tables) for one in report.summary.ways],
        "names": names,
        "arguments": [_arguments(name, report, tables) for name in names],
        "texts": shared.texts.all,
        "rows": shared.rows.all,
        "numbers": shared.numbers.all,
        "constants": [dict(one) for one in shared.constants.all],
    }


def _program(one: ReportedProgram, shared: _Tables) -> dict[str, object]:
    code: list[int] = []
    for instruction in one.program.instructions:
        code += [instruction.code, instruction.jt, instruction.jf, instruction.k]
    return {
        "abi": one.program.abi.name,
        "big": one.program.abi.byte_order == "big",
        "code": code,
        "rows": [shared.rows.number(_row(row, shared.texts)) for row in one.rows],
    }


def _row(row: TreeRow, texts: _Table[str]) -> tuple[object, ...]:
    """Return a row of the tree; targets are [-1, row, again] or [text, -1, SECCOMP_RET value]."""

    def text(one: str) -> int:
        return texts.number(printable(one))

    def target(one: Target) -> tuple[int, int, int]:
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


def _way(way: Way, report: Report, shared: _Tables, tables: Tables) -> dict[str, object]:
    """Return an ABI; ``numbers`` has a number for each name, and ``bitmap`` those in the bitmap."""
    abi = ABIS[way.abi]
    places = {
        entry.name: place
        for entry in report.summary.calls
        for place in entry.places
        if place.way == way
    }
    names = list(report.summary.by_name)
    programs = [one.program.abi.name for one in report.programs]
    bitmap = (n for n, name in enumerate(names) if name in places and places[name].bitmap)
    return {
        "label": way.label,
        "program": programs.index(way.program) if programs else -1,
        "arch": abi.audit_arch,
        "numbers": shared.numbers.number(
            tuple(places[name].nr if name in places else -1 for name in names)
        ),
        "bitmap": shared.numbers.number(tuple(bitmap)),
        "constants": shared.constants.number(_constants(report, abi, tables)),
    }


def _arguments(name: str, report: Report, tables: Tables) -> list[str]:
    """Return the names of the arguments of a call, as its first ABI has them."""
    abi = ABIS[report.summary.by_name[name][0].places[0].way.abi]
    prototype = tables.facts.prototype(name, abi)
    if prototype is None:
        return []
    return [tables.naming.argument(name, n, abi) for n in range(len(prototype.parameters))]


def _constants(report: Report, abi: Abi, tables: Tables) -> tuple[tuple[str, int], ...]:
    """Return the values of the constants that the conditions of the page name."""
    conditions = {answer.condition for entry in report.summary.calls for answer in entry.answers}
    named = {name for text in conditions for name in _CONSTANT.findall(text)}
    values = ((name, tables.facts.value(name, abi)) for name in sorted(named | _USUAL))
    return tuple((name, value) for name, value in values if value is not None)


_USUAL_TEXT = """
    AF_INET AF_INET6 AF_UNIX AT_FDCWD CLONE_THREAD CLONE_VM O_APPEND O_CLOEXEC O_CREAT O_EXCL
    O_RDONLY O_RDWR O_TRUNC O_WRONLY PROT_EXEC PROT_READ PROT_WRITE SOCK_DGRAM SOCK_STREAM
"""
_USUAL = frozenset(_USUAL_TEXT.split())
"""Constants that people type though no condition has them."""
