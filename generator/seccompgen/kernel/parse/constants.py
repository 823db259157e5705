"""Constants of the kernel's headers, on each ABI."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, OutsideError, Position
from seccompgen.core.facts import Constant
from seccompgen.kernel.parse.cpp import Run, Source, take_apart
from seccompgen.kernel.parse.headers import (
    NET,
    SHARED_HEADERS,
    SOCKET,
    SOCKET_TYPES,
    asm_headers,
)
from seccompgen.kernel.parse.sources import AUDIT, VIEWS
from seccompgen.kernel.parse.typed import CInt
from seccompgen.kernel.parse.unit import Unit, Workshop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seccompgen.kernel.parse.tree import Tree
    from seccompgen.kernel.parse.unit import Outcome

_NAME = re.compile(
    r"(?:[A-Z]|[a-z][a-z0-9_]*_[A-Z]|__W[A-Z]|__O_|_IOC_|_NSIG|_LINUX_CAPABILITY_|__AUDIT_ARCH_)\w*",
    re.ASCII,
)
"""Names for programs; most names with leading underscores are internal to the headers."""
_NOT_FOR_PROGRAMS = frozenset({"MSG_CMSG_COMPAT", "MSG_INTERNAL_SENDMSG_FLAGS"})
_REQUEST = re.compile(r"\b_IO[A-Z_]*\b|\bsizeof\b")


def read_constants(abis: Iterable[str], tree: Tree) -> tuple[dict[str, Constant], set[str]]:
    """Return the constants of ``abis``, by name, and the files that they come from.

    Raises OutsideError with every problem found: files that are cut off or are no headers.
    """
    workshop = Workshop(tree)
    errors: dict[Diagnostic, None] = dict.fromkeys(_other_socket_types(workshop))
    used: set[str] = set()
    found: dict[str, dict[str, Outcome]] = {}
    abis = tuple(abis)
    for abi in abis:
        unit = Unit(abi, workshop)
        unit.read_all(SHARED_HEADERS)
        unit.read_all(asm_headers(VIEWS[abi].srcarch))
        unit.read_path(SOCKET)
        unit.read(take_apart(Source("SOCKET_TYPES", SOCKET_TYPES)), 0)
        unit.close()
        errors.update(dict.fromkeys(unit.errors))
        used |= unit.used
        for name, outcome in _outcomes(unit):
            found.setdefault(name, {})[abi] = outcome
    if errors:
        raise OutsideError(*errors)
    merged = (_merged(name, found[name], abis) for name in sorted(found))
    return {one.name: one for one in merged if one}, used | {AUDIT}


def _other_socket_types(workshop: Workshop) -> list[Diagnostic]:
    """Return an error for each socket type of the tag that differs from `SOCKET_TYPES`.

    The header is read for nothing else, so it is no input of the constants.
    """
    if NET not in workshop.tree:
        return []
    runs = tuple(item for item in workshop.header(NET).items if isinstance(item, Run))
    declared = {one.name: one for one in workshop.declarations(runs).enumerators}
    ours = dict(re.findall(r"^#define (SOCK_[A-Z]+) ([0-9]+)$", SOCKET_TYPES, re.MULTILINE))
    ours |= {"SOCK_STREAM": "1", "SOCK_DGRAM": "2"}  # those of MIPS are not in this header
    return [
        Diagnostic(f"{name} is not {value} here, as seccompgen takes it to be", Position(NET))
        for name, value in ours.items()
        if name in declared and declared[name].base != (value,)
    ]


def _outcomes(unit: Unit) -> Iterable[tuple[str, Outcome]]:
    names = {**unit.macros, **unit.enumerators}
    for name in names:
        if _is_for_programs(name):
            outcome = unit.outcome(name)
            if isinstance(outcome, CInt) or (outcome and _is_request(unit, name)):
                yield name, outcome


@lru_cache(maxsize=1 << 16)
def _is_for_programs(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name not in _NOT_FOR_PROGRAMS


def _is_request(unit: Unit, name: str) -> bool:
    """Return True if the macro ``name`` may lack a value only because a size is unknown."""
    macro = unit.macros.get(name)
    return macro is not None and _REQUEST.search(macro.body) is not None


def _merged(name: str, outcomes: Mapping[str, Outcome], abis: tuple[str, ...]) -> Constant | None:
    """Return the constant ``name`` from its outcomes on each ABI; None without value and reason."""
    values = {abi: _value(outcomes.get(abi)) for abi in abis}
    common = Counter(values.values()).most_common(1)[0][0]
    elsewhere = {abi: value for abi, value in values.items() if value != common}
    if common is None and not elsewhere:
        reasons = [one for one in outcomes.values() if isinstance(one, str)]
        return Constant(name, None, {}, re.sub(r'[,"\s]+', " ", reasons[0])[:100])
    return Constant(name, common, elsewhere)


def _value(outcome: Outcome | None) -> int | None:
    return outcome.value if isinstance(outcome, CInt) else None
