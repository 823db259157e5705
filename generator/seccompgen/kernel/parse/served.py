"""Find the functions that serve calls, in tables or in the headers that tables replaced."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.kernel.parse.cpp import evaluate
from seccompgen.kernel.parse.sources import ARM_COMPAT_HEADER, ARM_COMPAT_TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from seccompgen.kernel.parse.expressions import Macro
    from seccompgen.kernel.parse.tbl import Row
    from seccompgen.kernel.parse.tree import Tree

_SERVED = re.compile(
    r"^[ \t]*(?P<form>__SYSCALL|__SC_COMP|__SC_3264|__SC_COMP_3264)"
    r"\(\s*(?P<nr>__NR\w+)\s*,(?P<entries>[\w\s,\\]+)\)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Served:
    """The functions that serve a call, as named by a table.

    ``compat`` is the function by which a 64-bit kernel serves a 32-bit ABI. Either may be empty.
    """

    entry: str
    compat: str = ""


def served_by_table(numbers: Mapping[str, int], rows: Sequence[Row]) -> dict[str, Served]:
    """Return the functions that serve the calls of ``numbers``, by the rows of a table.

    A name that only a header defines has the functions of the row with its number.
    """
    by_name = {row.name: Served(row.entry, row.compat) for row in rows}
    by_number = {row.nr: by_name[row.name] for row in rows}
    by_number |= {numbers[name]: one for name, one in by_name.items() if name in numbers}
    found = {}
    for call, number in numbers.items():
        served = by_name.get(call) or by_number.get(number)
        if served:
            found[call] = served
    return found


def served_by_header(
    numbers: Mapping[str, int],
    macros: Mapping[str, Macro],
    texts: Iterable[str | None],
    bits: int,
) -> dict[str, Served]:
    """Return the functions that serve the calls of ``numbers``, by ``asm-generic/unistd.h``.

    ``macros`` are the macros defined at the end of the headers; a call whose number is not among
    them does not exist on this ABI.
    """
    by_number: dict[int, Served] = {}
    for text in texts:
        for match in _SERVED.finditer(text or ""):
            if match["nr"] in macros:
                entries = [word.strip(" \\\t\n") for word in match["entries"].split(",")]
                by_number[evaluate(macros, match["nr"])] = _of_form(match["form"], entries, bits)
    return {call: by_number[nr] for call, nr in numbers.items() if nr in by_number}


def _of_form(form: str, entries: list[str], bits: int) -> Served:
    compat = entries[-1] if "COMP" in form else ""
    return Served(entries[1] if "3264" in form and bits == 64 else entries[0], compat)


def arm_compat(served: Mapping[str, Served], tree: Tree) -> dict[str, Served]:
    """Return ``served``, the functions of arm's own kernel, with those of arm64's as ``compat``."""
    entries: dict[str, str] = {}
    if ARM_COMPAT_TABLE in tree:
        rows = tree.rows(ARM_COMPAT_TABLE)
        entries = {row.name: row.compat or row.entry for row in rows}
    elif ARM_COMPAT_HEADER in tree:
        entries = {
            match["nr"].removeprefix("__NR_"): match["entries"].strip()
            for match in _SERVED.finditer(tree.source(ARM_COMPAT_HEADER).text)
        }
    return {call: Served(one.entry, entries.get(call, "")) for call, one in served.items()}
