"""A call as a user writes it, ``openat AT_FDCWD 0 'O_RDONLY|O_CLOEXEC'``, read for each ABI.

The first word is a name or a number. Each further word is a value: a number in any base, a
constant, or several joined as in a policy. It is the argument at its position, or the one that it
names, as in ``flags=O_CREAT``. Arguments may be left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, InputError, did_you_mean
from seccompgen.core.model import U32, U64
from seccompgen.core.problems import Problem
from seccompgen.kernel.entry_points import wide_registers
from seccompgen.policy.conditions import Lookup
from seccompgen.policy.expressions import ExpressionError, argument_of, parse_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Prototype
    from seccompgen.core.tables import Table, Tables
    from seccompgen.policy.expressions import ValueExpression

MOST_ARGUMENTS = 6
_NUMBER = re.compile(r"-?(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|[0-9]+)", re.ASCII)
_NAMED = re.compile(r"([a-z_][a-z0-9_]*)=(.*)", re.ASCII | re.DOTALL)

_PROBES = {"uretprobe", "uprobe"}
"""Calls of code that the kernel itself put into a program (kernel/seccomp.c)."""


@dataclass(frozen=True)
class WrittenCall:
    """A call as it was written: ``call`` is a name or a number.

    ``values`` are those of arguments, by index or by name.
    """

    call: str | int
    values: Mapping[int | str, ValueExpression]


class CallOnAbi(NamedTuple):
    """A written call on one ABI: its number, and the known arguments by index.

    ``name`` is empty if the tables have none. ``otherwise`` are other values of arguments that the
    kernel reads alike: the caller may pass them with different high bits. ``remarks`` are for the
    reader.
    """

    name: str
    nr: int
    known: Mapping[int, int]
    otherwise: Mapping[int, int]
    remarks: tuple[str, ...] = ()


def parse_call(words: Sequence[str], tables: Tables) -> WrittenCall:
    """Return the call in ``words``. Raises InputError with all that is wrong on every ABI."""
    first, *rest = words
    wrong: list[Diagnostic] = []
    call: str | int = first
    if _NUMBER.fullmatch(first):
        call = int(first, 0) if not re.fullmatch("-?0+[0-9]+", first) else int(first)
        if not -U32 <= call <= U32:
            wrong.append(_wrong(f"{first}: no number of a call has more than 32 bits"))
    elif first not in tables.calls:
        hint = did_you_mean(first, tables.calls)
        text = f"no ABI of Linux {tables.tag} has a call {first!r}{hint}"
        wrong.append(Diagnostic(text, kind=Problem.UNKNOWN_CALL))
    values: dict[int | str, ValueExpression] = {}
    for place, word in enumerate(rest):
        named = _NAMED.fullmatch(word)
        argument = argument_of(named[1]) if named else place
        if argument == place and place >= MOST_ARGUMENTS:
            wrong.append(_wrong(f"{word}: a call has at most {MOST_ARGUMENTS} arguments"))
        if argument in values:
            wrong.append(_wrong(f"{word}: this argument has a value already"))
        try:
            values[argument] = parse_value(named[2] if named else word)
        except ExpressionError as error:
            wrong.append(_wrong(f"{word}: {error}"))
    if wrong:
        raise InputError(*wrong)
    return WrittenCall(call, values)


def call_on(written: WrittenCall, table: Table, tables: Tables) -> CallOnAbi | str:
    """Return the call on the ABI of ``table``, or why it cannot be made there."""
    abi = table.abi
    if isinstance(written.call, int):
        nr = written.call & U32
        name = table.names.get(nr, "")
    else:
        name = written.call
        found = table.numbers.get(name)
        if found is None:
            return f"{abi.name} has no call {name}"
        nr = found
    prototype = tables.facts.prototype(name, abi)
    lookup = Lookup(tables.facts, abi)
    remarks = ["a tracer that skips a call leaves this number"] if nr == U32 else []
    if abi.name == "x86_64" and name in _PROBES:
        remarks.append("recent kernels let it through, whatever filters say")
    known: dict[int, int] = {}
    otherwise: dict[int, int] = {}
    for argument, expression in written.values.items():
        index = argument if isinstance(argument, int) else _index(prototype, argument)
        if index is None:
            return f"{name or 'this number'} has no argument {argument!r} on {abi.name}"
        if index in known:
            return f"argument {index} of {name} has two values on {abi.name}"
        value = lookup.value(expression)
        if value is None:
            return f"{abi.name} has no {', '.join(lack.name for lack in lookup.lacks)}"
        if not -U64 <= value <= U64 or (value > U32 and not wide_registers(abi)):
            bits = 64 if wide_registers(abi) else 32
            return f"{expression} has more bits than the {bits} of an argument on {abi.name}"
        known[index] = value & (U64 if wide_registers(abi) else U32)
        bits_read = _bits(prototype, index)
        if value < 0 and bits_read == 32 and known[index] > U32:
            otherwise[index] = value & U32
        if prototype and index >= len(prototype.parameters):
            remarks.append(f"the kernel reads no argument {index} of {name}")
    return CallOnAbi(name, nr, known, otherwise, tuple(remarks))


def require_known(written: WrittenCall, tables: Tables, abis: Iterable[Abi]) -> None:
    """Raise InputError for names in a call that none of ``abis`` has, with the nearest ones."""
    facts, wrong = tables.facts, []
    several = list(abis)
    lacks: dict[str, int] = {}
    for abi in several:
        lookup = Lookup(facts, abi)
        for expression in written.values.values():
            lookup.value(expression)
        for name in {lack.name for lack in lookup.lacks}:
            lacks[name] = lacks.get(name, 0) + 1
    for name, times in lacks.items():
        if times == len(several) and name not in facts.constants:
            text = f"unknown constant {name!r}{did_you_mean(name, facts.constants)}"
            wrong.append(Diagnostic(text, kind=Problem.UNKNOWN_CONSTANT))
    if isinstance(written.call, str):
        known = [facts.prototype(written.call, abi) for abi in several]
        names = {p.name for one in known if one for p in one.parameters if p.name}
        for argument in written.values:
            if isinstance(argument, str) and argument not in names:
                text = f"{written.call} has no argument {argument!r}{did_you_mean(argument, names)}"
                listed = f"; it has {', '.join(sorted(names))}" if names else ""
                wrong.append(Diagnostic(f"{text}{listed}", kind=Problem.UNKNOWN_ARGUMENT))
    if wrong:
        raise InputError(*wrong)


def _wrong(text: str) -> Diagnostic:
    return Diagnostic(text, kind=Problem.WRONG_VALUE)


def _index(prototype: Prototype | None, argument: str) -> int | None:
    return prototype.index(argument) if prototype else None


def _bits(prototype: Prototype | None, index: int) -> int:
    if prototype is None or index >= len(prototype.parameters):
        return 64
    return prototype.parameters[index].bits or 64
