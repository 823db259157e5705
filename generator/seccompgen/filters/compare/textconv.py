"""A generated file as text that git can compare line by line: answers instead of instructions.

The lines of programs, and hashes in banners, are removed; the answers that the programs give follow
instead, one line for each class of calls. Everything else stays, so nothing that was added to a
file can hide. A file that seccompgen did not write is shown as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError, UndecidedError
from seccompgen.core.program import decode
from seccompgen.filters.compare.call_classes import differing_calls
from seccompgen.filters.find.module import read_module, read_program
from seccompgen.filters.find.raw_abis import abis_of
from seccompgen.io.reading import MAX_FILTER, read_input
from seccompgen.render.listing import ret_action
from seccompgen.verify import Code, Relation, kernel_objections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seccompgen.core.tables import Tables

_HASH = re.compile(r"(?m)^(#   (?:policy|part  |tables|proved|profile) .*?)  sha256:[0-9a-f]{64}$")
_PROGRAM_LINE = re.compile(r"(?m)^[ ]+(?:b\"(?:\\x[0-9a-f]{2})+\"[ ]*(?:#.*)?|# [^\n]*)\n")
"""An instruction with its comment, or the heading of a block; other files have no such lines."""
_RINGS = "\nIO_URING = ("
_NAMED_ABI = re.compile(r"\.(\w+)\.bpf$")


class _Nothing(Relation):
    """A relation that no two answers have, so that every call is listed."""

    def holds(self, left: int, right: int) -> bool:
        """Return False."""
        del left, right
        return False


def textconv(path: Path, tables: Tables) -> list[str]:
    """Return the lines to compare instead of those of the file at ``path``.

    Only its content and suffix count, because git hands over copies. Raises InputError if the file
    cannot be read.
    """
    content = read_input(path, MAX_FILTER)
    try:
        programs = dict(_programs(path, content))
        answers = [line for abi, code in programs.items() for line in _answers(abi, code, tables)]
    except (InputError, UndecidedError, ValueError):
        return _as_it_is(path, content)
    if path.suffix == ".bpf":
        return answers
    text = _HASH.sub(r"\1", content.decode(errors="surrogateescape"))
    if not programs:
        return text.splitlines()
    # The programs for operations of rings come behind: their lines stay, since no answers follow.
    program, rings, operations = text.partition(_RINGS)
    return [*f"{_PROGRAM_LINE.sub('', program)}{rings}{operations}".splitlines(), *answers]


def _as_it_is(path: Path, content: bytes) -> list[str]:
    if path.suffix == ".bpf":
        return [content[at : at + 8].hex(" ") for at in range(0, len(content), 8)]
    return content.decode(errors="surrogateescape").splitlines()


def _programs(path: Path, content: bytes) -> Iterator[tuple[str, Code]]:
    """Yield the programs in a file, by the names of their ABIs.

    Raises InputError or ValueError if the kernel would refuse a program.
    """
    found: dict[str, bytes] = {}
    if path.suffix == ".bpf":
        named = _NAMED_ABI.search(path.name)
        abis = [named[1]] if named and named[1] in ABIS else [one.name for one in abis_of(content)]
        if not abis:
            raise ValueError("its ABI is unknown")
        found = dict.fromkeys(abis, content)
    elif path.suffix == ".py" and b"\nPROGRAM = (" in content:
        found = dict([read_program(path)])
    elif path.suffix == ".py" and b"\n_PROGRAMS = {" in content:
        found = dict(read_module(path).programs)
    for abi, data in found.items():
        instructions = decode(data, ABIS[abi])
        if kernel_objections(instructions):
            raise ValueError("the kernel would refuse it")
        yield abi, Code(instructions, ABIS[abi].byte_order)


def _answers(name: str, code: Code, tables: Tables) -> Iterator[str]:
    """Yield the answers of a program: sorted by calls, those of other ABIs last."""
    abi = ABIS[name]
    lines: set[str] = set()
    whole: dict[tuple[str, str], set[str]] = {}
    for one in differing_calls((code, code), abi, _Nothing(), tables, by_rule=False):
        condition = " ".join(filter(None, (one.condition(tables), one.origin_in_memory())))
        when = f" where {condition}" if condition else ""
        answer = f"{when}: {ret_action(one.left, abi)}"
        home = one.arch == abi.audit_arch
        for nr, _ in one.numbers if one.named and one.arch is not None else ():
            table = tables.table_of(one.arch, nr)
            assert table
            if table.abi == abi:
                lines.add(f"{table.names[nr]}{answer}")
            else:
                whole.setdefault((table.abi.name, answer), set()).add(table.names[nr])
        if not one.named or one.arch is None:
            what = "numbers that no call has" if home else "calls through other ABIs"
            lines.add(f"({what}) {_spans(one.numbers)}{answer}")
    others: list[str] = []
    for (other, answer), calls in whole.items():
        everything = calls == set(tables.tables[other].names.values())
        others += [
            f"{other} {call}{answer}" for call in (["(every call)"] if everything else calls)
        ]
    yield f"answers on {name}:"
    yield from sorted(lines)
    yield from sorted(others)


def _spans(spans: tuple[tuple[int, int], ...]) -> str:
    return ", ".join(f"{a:#x}" if a == b else f"{a:#x}-{b:#x}" for a, b in spans)
