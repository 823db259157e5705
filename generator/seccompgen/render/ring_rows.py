"""The section ``io_uring`` as install() gets it, as the templates of C and similar print it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.program import RET_K, Instruction
from seccompgen.core.ring import REFUSE, RING_CALLS
from seccompgen.render.listing import ListingLine, listing
from seccompgen.render.ring_listing import ring_listing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.ring import BuiltRings, RingProgram, Trial
    from seccompgen.core.tables import Tables

Row = tuple[str, tuple[int, int, int, int], str]
"""An instruction: the heading above it, (code, jt, jf, k), and its text."""
_NOP, _OPENAT2 = 0, 28
_CALLS = (*RING_CALLS, "getdents64", "readlinkat", "rt_sigprocmask", "clone")
_WORDS = 7
"""The words of a trial's values: struct sockaddr_in6 is the longest."""


@dataclass(frozen=True, slots=True)
class OperationRows:
    """The program of an operation; ``size`` is that of the fields that it reads."""

    name: str
    opcode: int
    size: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class TrialRow:
    """An operation that is tried: its values as ``words`` in the order of the ABI.

    They are struct sockaddr for CONNECT, struct open_how for OPENAT2, and else the fields. ``size``
    is their size in bytes.
    """

    opcode: int
    permitted: int
    size: int
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RingRows:
    """All that a filter has for the rings of one ABI.

    ``numbers`` are those of the system calls that install() makes by number. The last of
    ``operations`` is NOP, so that there is one. ``other`` is empty if the policy says ``without:
    fail``.
    """

    numbers: tuple[tuple[str, int], ...]
    operations: tuple[OperationRows, ...]
    trials: tuple[TrialRow, ...]
    permits_exec: bool
    other: tuple[Row, ...]


def ring_rows(rings: BuiltRings, abi: Abi, tables: Tables) -> RingRows:
    """Return what a template prints of ``rings``."""
    numbers = tables.tables[abi.name].numbers
    named = [_operation(one) for one in rings.programs]
    refused = OperationRows("NOP", _NOP, 0, (("", (RET_K, 0, 0, REFUSE), "ret  refuse"),))
    last = [one for one in named if one.opcode == _NOP] or [refused]
    other = rings.other
    return RingRows(
        tuple((name, numbers[name]) for name in _CALLS),
        (*(one for one in named if one.opcode != _NOP), *last),
        tuple(_trial(one, abi) for one in rings.trials),
        rings.permits_exec,
        program_rows(other.instructions, listing(other.instructions, abi, tables, other.origins))
        if other
        else (),
    )


def program_rows(
    instructions: Sequence[Instruction], listed: Sequence[ListingLine]
) -> tuple[Row, ...]:
    """Return the rows of a program and its listing."""
    return tuple(
        (line.head, (i.code, i.jt, i.jf, i.k), line.text)
        for i, line in zip(instructions, listed, strict=True)
    )


def _operation(one: RingProgram) -> OperationRows:
    name, opcode = one.operation
    listed = ring_listing(name, one.instructions, one.abi)
    return OperationRows(name, opcode, one.pdu_size, program_rows(one.instructions, listed))


def _trial(one: Trial, abi: Abi) -> TrialRow:
    order = "<" if abi.byte_order == "little" else ">"
    data = one.values
    if not isinstance(data, bytes):
        data = struct.pack(f"{order}{len(data)}{'Q' if one.opcode == _OPENAT2 else 'I'}", *data)
    words = struct.unpack(f"{order}{_WORDS}I", data.ljust(4 * _WORDS, b"\0"))
    return TrialRow(one.opcode, int(one.permitted), len(data), words)
