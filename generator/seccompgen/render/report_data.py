"""The data of a report's script: programs to run, trees to draw, names to type.

Numbers only, in flat lists, and texts once in one table: programs for 27 ABIs have many in common.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.text import printable

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.filter_summary import Way
    from seccompgen.core.tables import Tables
    from seccompgen.render.decision_tree import Target, TreeRow
    from seccompgen.render.report import Report, ReportedProgram

_CONSTANT = re.compile(r"[A-Z][A-Z0-9_]+")


class _Texts:
    """Texts by number, each once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self._numbers.setdefault(printable(text), len(self._numbers))

    @property
    def all(self) -> list[str]:
        return list(self._numbers)


def script_data(report: Report, tables: Tables) -> dict[str, object]:
    """Return what the script of a page knows of one filter."""
    texts = _Texts()
    programs = [_program(one, texts) for one in report.programs]
    names = list(report.summary.by_name)
    return {
        "ways": [_way(one, report, tables) for one in report.summary.ways],
        "names": names,
        "arguments": [_arguments(name, report, tables) for name in names],
        "programs": programs,
        "texts": texts.all,
    }


def _program(one: ReportedProgram, texts: _Texts) -> dict[str, object]:
    code: list[int] = []
    for instruction in one.program.instructions:
        code += [instruction.code, instruction.jt, instruction.jf, instruction.k]
    return {
        "abi": one.program.abi.name,
        "big": one.program.abi.byte_order == "big",
        "code": code,
        "rows": [_row(row, texts) for row in one.rows],
    }


def _row(row: TreeRow, texts: _Texts) -> list[object]:
    """Return a row of the tree; targets are [text, row] or [text, -1, SECCOMP_RET value]."""

    def target(one: Target) -> list[int]:
        number = texts.number(one.text)
        if one.row is not None:
            return [number, one.row, int(one.again)]
        return [number, -1, -1 if one.ret is None else one.ret]

    return [
        row.at,
        texts.number(row.question),
        texts.number(row.calls),
        target(row.yes),
        target(row.no),
        -1 if row.parent is None else row.parent,
        int(row.via == "yes"),
        row.depth,
        texts.number(row.rules),
        *row.cost,
    ]


def _way(way: Way, report: Report, tables: Tables) -> dict[str, object]:
    abi = ABIS[way.abi]
    numbers = {
        entry.name: place.nr
        for entry in report.summary.calls
        for place in entry.places
        if place.way == way
    }
    return {
        "label": way.label,
        "program": [one.program.abi.name for one in report.programs].index(way.program)
        if report.programs
        else -1,
        "arch": abi.audit_arch,
        "bits": abi.bits,
        "numbers": [numbers.get(name, -1) for name in report.summary.by_name],
        "bitmap": "".join(
            "1" if any(p.way == way and p.bitmap for e in entries for p in e.places) else "0"
            for entries in report.summary.by_name.values()
        ),
        "constants": _constants(report, abi, tables),
    }


def _arguments(name: str, report: Report, tables: Tables) -> list[str]:
    """Return the names of the arguments of a call, as its first ABI has them."""
    abi = ABIS[report.summary.by_name[name][0].places[0].way.abi]
    prototype = tables.facts.prototype(name, abi)
    if prototype is None:
        return []
    return [tables.naming.argument(name, n, abi) for n in range(len(prototype.parameters))]


def _constants(report: Report, abi: Abi, tables: Tables) -> dict[str, int]:
    """Return the values of the constants that the conditions of the page name."""
    conditions = {answer.condition for entry in report.summary.calls for answer in entry.answers}
    named = {name for text in conditions for name in _CONSTANT.findall(text)}
    values = {name: tables.facts.value(name, abi) for name in sorted(named | _USUAL)}
    return {name: value for name, value in values.items() if value is not None}


_USUAL_TEXT = """
    AF_INET AF_INET6 AF_UNIX AT_FDCWD CLONE_THREAD CLONE_VM O_APPEND O_CLOEXEC O_CREAT O_EXCL
    O_RDONLY O_RDWR O_TRUNC O_WRONLY PROT_EXEC PROT_READ PROT_WRITE SOCK_DGRAM SOCK_STREAM
"""
_USUAL = frozenset(_USUAL_TEXT.split())
"""Constants that people type though no condition has them."""
