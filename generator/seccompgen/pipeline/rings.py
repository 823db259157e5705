"""Compile and prove the section ``io_uring`` of a policy, and choose what install() tries of it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from seccompgen.compile.ring import compile_operation
from seccompgen.core.errors import AnswerNo, Diagnostic, InputError, Position
from seccompgen.core.model import ActionKind
from seccompgen.core.ring import (
    CONTEXT_SIZE,
    FAMILY,
    IPV4,
    IPV6,
    OPERATION_FIELDS,
    PERMIT,
    PORT,
    BuiltRings,
    RingOperation,
    RingProgram,
    Trial,
)
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.verify import Code, Difference, kernel_objections, prove
from seccompgen.verify.call import Call, Structure
from seccompgen.verify.ring_oracle import operation_meaning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Literal

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Facts
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.ring import RingField, RingRule
    from seccompgen.verify import Meaning

_MOST_CONTEXTS = 4096
_WITHOUT_EFFECT = ("NOP", "READ", "WRITE", "SEND", "RECV", "SHUTDOWN")
"""Operations without fields that change nothing on descriptor -1, and are tried for that."""
_FURTHER = (
    *("FSYNC", "LISTEN", "ACCEPT", "CLOSE", "READV", "WRITEV", "READ_FIXED", "WRITE_FIXED"),
    *("POLL_ADD", "SYNC_FILE_RANGE", "FALLOCATE", "FADVISE", "BIND", "FTRUNCATE"),
    *("FIXED_FD_INSTALL", "URING_CMD", *OPERATION_FIELDS),
)
"""Such operations, and those with fields: one of them is tried if it alone shows a refusal."""
_CHANGED_FLAGS = frozenset({"O_LARGEFILE", "O_PATH", "O_TMPFILE_MASK"})
_EXECUTING = frozenset({"execve", "execveat"})
_EXECUTING_ON_ALPHA = _EXECUTING | {"exec_with_loader", "osf_execve"}
_AF_INET, _AF_INET6 = 2, 10


def built_rings(
    policy: ResolvedPolicy, abi: Abi, facts: Facts, other: CompiledProgram | None
) -> BuiltRings:
    """Return what a filter has for the rings of ``abi``; the policy has a section.

    ``other`` is the program for kernels that cannot filter rings. Raises AnswerNo if a program
    differs from its rules, and UndecidedError if that is unknown.
    """
    assert policy.io_uring
    programs: list[RingProgram] = []
    trials: list[Trial] = []
    permitted = policy.io_uring.operations(abi)
    for operation in permitted:
        program = proved_operation(policy, abi, operation)
        if program.permits:
            programs.append(program)
        if operation.name in OPERATION_FIELDS:
            trials += _tried(operation.name, policy, abi, facts)
    for name in _WITHOUT_EFFECT:
        trials += _tried(name, policy, abi, facts)
    if all(one.permitted for one in trials):
        # A kernel that asks no filter answers these as one that does.
        further = (one for name in _FURTHER for one in _tried(name, policy, abi, facts))
        trials += itertools.islice((one for one in further if not one.permitted), 1)
    return BuiltRings(
        tuple(programs), tuple(sorted(set(trials), key=_order)), _permits_exec(policy, abi), other
    )


def _tried(name: str, policy: ResolvedPolicy, abi: Abi, facts: Facts) -> Iterator[Trial]:
    """Yield what is tried of one operation."""
    assert policy.io_uring
    operation = RingOperation(name, ring_numbers().operations[name].nr)
    rules = rules_of(policy, abi, operation)
    means = operation_meaning(rules, abi, policy.io_uring.origin)
    if name in OPERATION_FIELDS:
        yield from _trials(operation, rules, means, facts)
    else:
        yield Trial(operation.opcode, (), means.answer(Call(0, 0)) == PERMIT)


def rules_of(policy: ResolvedPolicy, abi: Abi, operation: RingOperation) -> tuple[RingRule, ...]:
    """Return the rules of ``policy`` about ``operation``."""
    assert policy.io_uring
    return tuple(one for one in policy.io_uring.rules_for(abi) if one.operation == operation)


def proved_operation(policy: ResolvedPolicy, abi: Abi, operation: RingOperation) -> RingProgram:
    """Return the program of ``operation``; raise the errors of `built_rings`."""
    assert policy.io_uring
    origin = policy.io_uring.origin
    rules = rules_of(policy, abi, operation)
    program = compile_operation(operation, rules, abi, origin)
    objections = kernel_objections(program.instructions, Structure.IO_URING_CONTEXT)
    if objections:
        raise InputError(*(f"{policy.name}: {operation.name}: {text}" for text in objections))
    code = Code(program.instructions, abi.byte_order, Structure.IO_URING_CONTEXT)
    found = prove(operation_meaning(rules, abi, origin), code)
    if isinstance(found, Difference):
        raise AnswerNo(
            Diagnostic(
                f"seccompgen compiled a wrong program for {operation.name} on {abi.name}, and does "
                "not write it; please report this, with the policy",
                Position(policy.file),
            )
        )
    return program


def _order(trial: Trial) -> tuple[int, bool, bytes, tuple[int, ...]]:
    values = trial.values
    return (
        (trial.opcode, trial.permitted, values, ())
        if isinstance(values, bytes)
        else (trial.opcode, trial.permitted, b"", values)
    )


def _permits_exec(policy: ResolvedPolicy, abi: Abi) -> bool:
    """Return True if some call may start another program, also by a supervisor's leave."""
    refusing = {ActionKind.ERRNO, ActionKind.TRAP, ActionKind.KILL_PROCESS, ActionKind.KILL_THREAD}
    for name in _EXECUTING_ON_ALPHA if abi.name == "alpha" else _EXECUTING:
        for rule in (one for one in policy.rules if one.name == name):
            if rule.action.kind not in refusing:
                return True
            if rule.condition is None:
                break
        else:
            if {policy.default_action.kind, policy.unknown_action.kind} - refusing:
                return True
    return False


def _trials(
    operation: RingOperation, rules: Sequence[RingRule], means: Meaning, facts: Facts
) -> Iterator[Trial]:
    """Yield a permitted and a refused operation, for each family, if there are such."""
    seen: set[tuple[int, bool]] = set()
    for values in itertools.islice(_contexts(operation, rules, means.abi, facts), _MOST_CONTEXTS):
        permitted = means.answer(context_call(values, means.abi)) == PERMIT
        kind = (values[FAMILY] if operation.name == "CONNECT" else 0), permitted
        if kind not in seen:
            seen.add(kind)
            yield Trial(operation.opcode, _asked(operation, values, means.abi), permitted)


def _contexts(
    operation: RingOperation, rules: Sequence[RingRule], abi: Abi, facts: Facts
) -> Iterator[Mapping[RingField, int]]:
    """Yield values of the fields, near those that ``rules`` compare."""
    near: dict[RingField, list[int]] = {}
    for field in OPERATION_FIELDS[operation.name]:
        # In rules, O_LARGEFILE is not among the bits of `flags`, so these fields differ.
        tests = [t for rule in rules for t in rule.tests if t.field.name == field.name]
        numbers = [0, *(t.value + step for t in tests for step in (0, 1, -1)), 1]
        numbers += [t.mask if t.value == 0 else t.value ^ t.mask & -t.mask for t in tests]
        bits = _shown(operation, field, abi, facts)
        near[field] = list(dict.fromkeys(n & bits for n in numbers if n >= 0))
    if operation.name != "CONNECT":
        for values in itertools.product(*near.values()):
            yield dict(zip(near, values, strict=True))
        return
    for family, address in ((_AF_INET, IPV4), (_AF_INET6, IPV6)):
        for number, port in itertools.product(near[address], near[PORT]):
            yield {FAMILY: family, PORT: port, address: number}


def _shown(operation: RingOperation, field: RingField, abi: Abi, facts: Facts) -> int:
    """Return the bits of ``field`` that the kernel shows to a filter as the program gave them.

    OPENAT drops unknown flags, the mode unless a file is made, and most flags with O_PATH.
    """
    if operation.name != "OPENAT":
        return field.full & field.bits
    if field.name != "flags":
        return 0
    known = {one: facts.value(one, abi) or 0 for one in facts.constants if one.startswith("O_")}
    bits = 0
    for name, value in known.items():
        bits |= value if name not in _CHANGED_FLAGS and value > 0 else 0
    return bits


def context_call(values: Mapping[RingField, int], abi: Abi) -> Call:
    """Return the context with ``values``, and 0 in all other fields."""
    content = bytearray(CONTEXT_SIZE)
    for field, value in values.items():
        order: Literal["little", "big"] = "big" if field.network else abi.byte_order
        content[field.offset : field.offset + field.size] = value.to_bytes(field.size, order)
    words = [int.from_bytes(content[n : n + 8], abi.byte_order) for n in range(0, CONTEXT_SIZE, 8)]
    a, b, c, d, e = words
    return Call(0, 0, (a, b, c, d, e, 0))


def _asked(
    operation: RingOperation, values: Mapping[RingField, int], abi: Abi
) -> bytes | tuple[int, ...]:
    """Return what a program hands to the kernel for ``values``: see `Trial`."""
    if operation.name != "CONNECT":
        fields = OPERATION_FIELDS[operation.name]
        return tuple(values[one] for one in fields)[: 2 if operation.name == "OPENAT" else 3]
    # struct sockaddr_in and sockaddr_in6: the family has 16 bits there.
    head = values[FAMILY].to_bytes(2, abi.byte_order) + values[PORT].to_bytes(2, "big")
    if IPV4 in values:
        return head + values[IPV4].to_bytes(4, "big") + bytes(8)
    return head + bytes(4) + values[IPV6].to_bytes(16, "big") + bytes(4)
