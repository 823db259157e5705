"""A filter's answers to all operations of rings on one ABI, as one side of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position
from seccompgen.core.model import U32, ActionKind, Origin
from seccompgen.core.program import (
    ALU_AND_K,
    JMP_JA,
    JMP_JEQ_K,
    LD_W_ABS,
    RET_K,
    Instruction,
)
from seccompgen.core.ring import (
    FAMILY,
    PERMIT,
    RING_CALLS,
    ContextTest,
    RingField,
    RingOperation,
    RingRule,
)
from seccompgen.core.word import ARCH, ARGS, NR
from seccompgen.filters.find.box_walk import ALL_CALLS, BoxWalk, with_field
from seccompgen.filters.find.ring_programs import ring_programs_of
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.verify import Code, Meaning, Operation, Stack
from seccompgen.verify.call import Structure
from seccompgen.verify.followers import follower
from seccompgen.verify.oracle import Case, FieldTest
from seccompgen.verify.ring_oracle import operation_meaning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.abis import Abi
    from seccompgen.core.ring import RingProgram
    from seccompgen.core.tables import Tables
    from seccompgen.filters.find.loaded_filter import LoadedFilter
    from seccompgen.verify import Relation
    from seccompgen.verify.stack import FilterSemantics

_PERMITTED, _REFUSED = ActionKind.ALLOW.value, ActionKind.KILL_THREAD.value
"""The answers as actions, so that relations between filters hold for operations, too."""
_OPCODE_OFFSET = 8
_LD_IMM = 0x00
_ANY_OTHER = 0xFF

# What no kernel shows of CONNECT: bytes that its family has no field for are 0.
_PADDING = RingField("padding", 22, 2)
_BEHIND_IPV4 = RingField("rest", 28, 12)
_BEHIND_FAMILY = RingField("rest", 20, 20)


def has_section(loaded: LoadedFilter) -> bool:
    """Return True if the filter has programs for rings."""
    return bool(loaded.settings and loaded.settings.without)


def ring_side(
    loaded: LoadedFilter, abi: Abi, relation: Relation, tables: Tables
) -> FilterSemantics:
    """Return the answers to operations of rings on ``abi``: ALLOW, or KILL_THREAD for a refusal.

    Without a section nothing filters a ring: if ``io_uring_setup`` is permitted, in the sense of
    ``relation``, all operations are, else none. Without a program for ``abi`` none is. Contexts
    that no kernel shows are refused. Raises InputError for a module whose programs are not ours.
    """
    here = Position(str(loaded.path))
    if loaded.policy and loaded.policy.io_uring:
        return _of_policy(loaded, abi)
    if loaded.module and abi.name in loaded.module.rings:
        code = _dispatching(ring_programs_of(loaded, abi), abi)
        return Stack(Operation.INTERSECT, (_possible(abi, Origin("", here)), code))
    side = loaded.sides.get(abi.name)
    free = side is not None and _permits_setup(side, abi, relation, tables)
    if free:
        return _possible(abi, Origin("no section io_uring", here))
    return Meaning(abi, (Case((), _REFUSED, Origin("io_uring_setup", here)),))


def about_operation(side: FilterSemantics, abi: Abi, opcode: int | None) -> FilterSemantics:
    """Return ``side`` with all operations refused but ``opcode``; None: but those nobody knows."""
    origin = Origin("", Position(""))
    if opcode is not None:
        cases = [Case((_is_opcode(opcode, abi),), _PERMITTED, origin), Case((), _REFUSED, origin)]
    else:
        known = [one.nr for one in ring_numbers().operations.values()]
        cases = [Case((_is_opcode(nr, abi),), _REFUSED, origin) for nr in known]
        cases.append(Case((), _PERMITTED, origin))
    return Stack(Operation.INTERSECT, (Meaning(abi, tuple(cases)), side))


def _of_policy(loaded: LoadedFilter, abi: Abi) -> Meaning:
    assert loaded.policy and loaded.policy.io_uring
    section = loaded.policy.io_uring
    rules = section.rules_for(abi)
    cases: list[Case] = []
    for operation in section.operations(abi):
        own = [one for one in rules if one.operation == operation]
        means = operation_meaning(
            [*_impossible(operation, section.origin), *own], abi, section.origin
        )
        opcode = _is_opcode(operation.opcode, abi)
        cases += (
            Case((opcode, *one.tests), _PERMITTED if one.ret == PERMIT else _REFUSED, one.origin)
            for one in means.cases
        )
    return Meaning(abi, (*cases, Case((), _REFUSED, section.origin)))


def _possible(abi: Abi, origin: Origin) -> Meaning:
    """Return a filter that refuses what no kernel shows, and permits the rest by ``origin``."""
    connect = RingOperation("CONNECT", ring_numbers().operations["CONNECT"].nr)
    means = operation_meaning(list(_impossible(connect, origin)), abi, origin)
    cases = (
        Case((_is_opcode(connect.opcode, abi), *one.tests), _REFUSED, origin)
        for one in means.cases[:-1]
    )
    return Meaning(abi, (*cases, Case((), _PERMITTED, origin)))


def _impossible(operation: RingOperation, origin: Origin) -> Iterator[RingRule]:
    """Yield rules that refuse what no kernel shows of an operation."""
    if operation.name != "CONNECT":
        return

    def nonzero(field: RingField) -> ContextTest:
        return ContextTest(field, "!=", 0, field.full)

    inet, inet6 = 2, 10
    for tests in (
        (nonzero(_PADDING),),
        (ContextTest(FAMILY, "==", inet, FAMILY.full), nonzero(_BEHIND_IPV4)),
        (
            *(ContextTest(FAMILY, "!=", one, FAMILY.full) for one in (inet, inet6)),
            nonzero(_BEHIND_FAMILY),
        ),
    ):
        yield RingRule(operation, tests, False, origin)


def _is_opcode(opcode: int, abi: Abi) -> FieldTest:
    shift = 0 if abi.byte_order == "little" else 56
    return FieldTest(ARGS + _OPCODE_OFFSET // 8, "==", opcode << shift, _ANY_OTHER << shift)


def _answering(program: RingProgram) -> tuple[Instruction, ...]:
    """Return the instructions of ``program`` with actions as answers."""
    return tuple(
        Instruction(RET_K, 0, 0, _PERMITTED if one.k else _REFUSED) if one.code == RET_K else one
        for one in program.instructions
    )


def _dispatching(programs: Iterable[RingProgram], abi: Abi) -> Code:
    """Return one program that runs that of the operation, and refuses those without one."""
    shift = 0 if abi.byte_order == "little" else 24
    body = [Instruction(RET_K, 0, 0, _REFUSED)]
    jumps: list[tuple[int, int]] = []
    for program in programs:
        jumps.append((program.operation.opcode << shift, len(body)))
        body += _answering(program)
    head = [Instruction(LD_W_ABS, 0, 0, _OPCODE_OFFSET)]
    head.append(Instruction(ALU_AND_K, 0, 0, _ANY_OTHER << shift))
    each = 3
    size = len(head) + each * len(jumps)
    for opcode, place in jumps:
        # A program begins with 0 in the accumulator.
        head += (Instruction(JMP_JEQ_K, 0, 2, opcode), Instruction(_LD_IMM, 0, 0, 0))
        head.append(Instruction(JMP_JA, 0, 0, size + place - len(head) - 1))
    return Code((*head, *body), abi.byte_order, Structure.IO_URING_CONTEXT)


def _permits_setup(side: FilterSemantics, abi: Abi, relation: Relation, tables: Tables) -> bool:
    """Return True if a ring can be made through any ABI of the kernel."""
    return any(
        relation.permits(answer)
        for name in (abi.name, *abi.siblings)
        for answer in _answers(side, ABIS[name], tables)
    )


def _answers(side: FilterSemantics, abi: Abi, tables: Tables) -> Iterable[int]:
    """Yield the answers to io_uring_setup, whatever its arguments are."""
    table = tables.tables.get(abi.name)
    number = table.numbers.get(RING_CALLS[0]) if table else None
    if number is None:
        return
    walk = BoxWalk()
    box = with_field(ALL_CALLS, NR, walk.sets.masked(U32, number))
    box = with_field(box, ARCH, walk.sets.masked(U32, abi.audit_arch))
    yield from (answer for _, answer in walk.parts(follower(side), box))
