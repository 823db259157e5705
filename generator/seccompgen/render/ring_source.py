"""The section ``io_uring`` as install() gets it, as a value of Python and as its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from seccompgen.core.program import INSTRUCTION_SIZE
from seccompgen.core.ring import RING_CALLS
from seccompgen.render.listing import listing
from seccompgen.render.ring_listing import ring_listing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.ring import BuiltRings
    from seccompgen.core.tables import Table, Tables
    from seccompgen.render.listing import ListingLine

_WIDTH = 100
"""The longest line of generated modules, in characters."""
_Operations: TypeAlias = tuple[tuple[int, int, bytes], ...]
_Trials: TypeAlias = "tuple[tuple[int, bytes | tuple[int, ...], bool], ...]"
RingValue: TypeAlias = "tuple[tuple[int, ...], _Operations, _Trials, bool, bytes]"
"""Numbers of system calls, operations, trials, whether exec is permitted, the other program."""


def ring_value(rings: BuiltRings, table: Table) -> RingValue:
    """Return what `_io_uring.install` gets for the ABI of ``table``."""
    return (
        tuple(table.numbers[name] for name in RING_CALLS),
        tuple((one.operation.opcode, one.pdu_size, one.to_bytes()) for one in rings.programs),
        tuple((one.opcode, one.values, one.permitted) for one in rings.trials),
        rings.permits_exec,
        rings.other.to_bytes() if rings.other else b"",
    )


def ring_programs(abi: str, value: object) -> dict[str, bytes]:
    """Return the programs in a `RingValue` of ``abi`` by names of their own, for one hash over all.

    What has not the form of such a value has no programs.
    """
    match value:
        case (_, tuple(operations), _, _, bytes(other)):
            found = {
                f"{abi} {one[0]}": one[-1]
                for one in operations
                if isinstance(one, tuple) and one and isinstance(one[-1], bytes)
            }
            return found | {f"{abi} without": other}
    return {}


def ring_source(rings: BuiltRings, table: Table, tables: Tables) -> str:
    """Return the source of `ring_value`, with the listing of each program, in black's layout."""
    numbers, operations, trials, permits_exec, other = ring_value(rings, table)
    lines = [
        "(",
        f"    # The numbers of {', '.join(RING_CALLS[:-1])} and {RING_CALLS[-1]}.",
        f"    {numbers},",
        "    # What is permitted: opcode, size of the fields that the program reads, program.",
    ]
    lines += _tuple(_operations(rings, operations))
    lines.append("    # Tried in a child before: opcode, fields, whether it is permitted.")
    lines += _tuple(line for trial in trials for line in _trial(*trial))
    lines += [
        "    # Whether a process may become another program.",
        f"    {permits_exec},",
    ]
    if rings.other:
        lines.append(
            "    # Answers system calls where the kernel cannot filter rings: there are none."
        )
        listed = listing(rings.other.instructions, rings.other.abi, tables, rings.other.origins)
        lines += _program(other, listed, "    ")
    else:
        lines.append('    b"",')
    return "\n".join([*lines, ")"])


def _operations(rings: BuiltRings, operations: Sequence[tuple[int, int, bytes]]) -> Iterator[str]:
    for program, (opcode, size, data) in zip(rings.programs, operations, strict=True):
        name = program.operation.name
        if program.is_constant:
            yield f"        ({opcode}, {size}, {_literal(data)}),  # {name}"
            continue
        yield from ("        (", f"            {opcode},  # {name}", f"            {size},")
        listed = ring_listing(name, program.instructions, program.abi)
        yield from _program(data, listed, "            ")
        yield "        ),"


def _program(data: bytes, listed: Sequence[ListingLine], indent: str) -> list[str]:
    lines = []
    for at, line in enumerate(listed):
        begin = at * INSTRUCTION_SIZE
        comma = "," if at == len(listed) - 1 else ""
        if line.head:
            lines.append(f"{indent}# {line.head}")
        literal = _literal(data[begin : begin + INSTRUCTION_SIZE])
        lines.append(f"{indent}{literal}{comma}  # {line.text}")
    return lines


def _trial(opcode: int, values: bytes | tuple[int, ...], permitted: bool) -> list[str]:
    """Return the lines of a trial; black breaks one that is too long at each comma."""
    parts = [str(opcode), _literal(values), str(permitted)]
    line = f"        ({', '.join(parts)}),"
    if len(line) <= _WIDTH:
        return [line]
    return ["        (", *(f"            {part}," for part in parts), "        ),"]


def _tuple(items: Iterable[str]) -> list[str]:
    found = list(items)
    return ["    (", *found, "    ),"] if found else ["    (),"]


def _literal(value: bytes | tuple[int, ...]) -> str:
    if isinstance(value, tuple):
        return repr(value)
    return 'b"' + "".join(f"\\x{byte:02x}" for byte in value) + '"'
