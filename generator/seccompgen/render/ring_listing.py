"""Programs for operations of a ring as readable assembly, from their instructions alone.

Words are named after the fields in them; ports and addresses are shown as people write them, too.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from seccompgen.core.model import U32
from seccompgen.core.program import (
    ALU_AND_K,
    JMP_JA,
    JMP_JEQ_K,
    LD_W_ABS,
    RET_K,
)
from seccompgen.core.ring import IPV4, OPERATION_FIELDS, PORT
from seccompgen.core.text import many, some
from seccompgen.render.listing import JUMPS, PLAIN, ListingLine, digits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.program import Instruction
    from seccompgen.core.ring import RingProgram

_WIDTH = 52
_AF = {1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6"}


def ring_listing(
    name: str, instructions: Sequence[Instruction], abi: Abi
) -> tuple[ListingLine, ...]:
    """Return a line for each instruction of the program of the operation ``name``."""
    jumped = {
        to
        for at, one in enumerate(instructions)
        for to in _targets(one, at)
        if to != at + 1 and instructions[to].code != RET_K
    }
    labels = {at: f"{name} ({number})" for number, at in enumerate(sorted(jumped), 1)}
    lines = []
    held = ""
    for at, one in enumerate(instructions):
        if one.code == LD_W_ABS:
            held = word_text(name, one.k, abi)
        text = _text(one, at, held, instructions, labels, abi)
        lines.append(ListingLine(labels.get(at, ""), text))
    return tuple(lines)


def ring_disassembly(programs: Iterable[RingProgram], sign: str = "") -> Iterator[str]:
    """Yield the lines of programs, each with its operation above; ``sign`` begins every line."""
    for program in programs:
        count = many(len(program.instructions), "instruction")
        head = f"operation {program.operation.name} on {program.abi.name}: {count}"
        yield f"{sign}{head}"
        listed = ring_listing(program.operation.name, program.instructions, program.abi)
        for at, line in enumerate(listed):
            if line.head:
                yield f"{sign}{line.head}"
            origins = program.origins[at] if program.origins else ()
            by = f" ; {some([f'{o.label}, {o.position}' for o in origins], 1)}" if origins else ""
            yield f"{sign}{at:5}  {line.text:{_WIDTH if by else 0}}{by}"


def word_text(name: str, offset: int, abi: Abi) -> str:
    """Return the name of the word at ``offset`` of the context of the operation ``name``."""
    if offset < 8:
        return f"user_data+{offset}"
    if offset < 16:
        return "opcode, sqe_flags, pdu_size" if offset == 8 else "padding"
    for field in OPERATION_FIELDS.get(name, ()):
        if field.offset == offset and (field.size < 8 or field.network):
            # The two families share these bytes.
            return "addr" if field == IPV4 else field.name
        if field.offset <= offset < field.offset + field.size:
            part = offset - field.offset
            if field.network:
                return f"addr+{part}"
            low = (part == 0) == (abi.byte_order == "little")
            return f"{field.name}.{'lo' if low else 'hi'}"
    return f"[{offset}]"


def _targets(one: Instruction, at: int) -> tuple[int, ...]:
    if one.code in JUMPS:
        return at + 1 + one.jt, at + 1 + one.jf
    return (at + 1 + one.k,) if one.code == JMP_JA else ()


def _text(
    one: Instruction,
    at: int,
    held: str,
    instructions: Sequence[Instruction],
    labels: dict[int, str],
    abi: Abi,
) -> str:
    def goal(to: int) -> str:
        there = instructions[to]
        return _answer(there.k) if there.code == RET_K else labels.get(to, "next")

    if one.code == LD_W_ABS:
        return f"ld   {held}"
    if one.code == ALU_AND_K:
        return f"and  {one.k:#x}"
    if one.code == RET_K:
        return f"ret  {_answer(one.k)}"
    if one.code == JMP_JA:
        return f"ja   {goal(at + 1 + one.k)}"
    if one.code in JUMPS:
        text = f"{JUMPS[one.code]:4} {_constant(one, held, abi)}"
        ways = []
        if one.jt:
            ways.append(f"-> {goal(at + 1 + one.jt)}")
        if one.jf:
            ways.append(f"else {goal(at + 1 + one.jf)}")
        return f"{text:28}{' '.join(ways)}".rstrip()
    return PLAIN.get(one.code, f"code {one.code:#06x}").format(k=digits(one.k))


def _answer(ret: int) -> str:
    return "permit" if ret else "refuse"


def _constant(one: Instruction, held: str, abi: Abi) -> str:
    if one.code == JMP_JEQ_K and held == "family" and one.k in _AF:
        return f"{one.k} {_AF[one.k]}"
    if one.code == JMP_JEQ_K and held == PORT.name:
        content = one.k.to_bytes(4, abi.byte_order)
        return f"{one.k:#x} {int.from_bytes(content[:2], 'big')}"
    if one.code == JMP_JEQ_K and held == "addr" and one.k <= U32:
        return f"{digits(one.k)} {IPv4Address(one.k.to_bytes(4, abi.byte_order))}"
    return digits(one.k)
