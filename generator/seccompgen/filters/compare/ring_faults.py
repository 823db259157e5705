"""The section ``io_uring`` of a generated filter, compared with its policy.

The programs are proved like those for system calls. The rest, such as what install() tries, has to
be what a build of the policy writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.program import decode
from seccompgen.core.ring import refusing_rings
from seccompgen.pipeline.rings import built_rings, rules_of
from seccompgen.render.ring_source import ring_value
from seccompgen.verify import Code, Proof, kernel_objections, meaning, prove
from seccompgen.verify.call import Structure
from seccompgen.verify.ring_oracle import operation_meaning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import Instruction
    from seccompgen.core.tables import Tables


def ring_faults(
    policy: ResolvedPolicy, rings: Mapping[str, object], tables: Tables
) -> Iterator[str]:
    """Yield how ``rings``, the values of a module by ABI, differ from what ``policy`` means."""
    if policy.io_uring is None:
        return
    for name, value in rings.items():
        abi = ABIS[name]
        if abi in policy.arches:
            yield from (f"{name}: {text}" for text in _faults(policy, abi, value, tables))


def _faults(policy: ResolvedPolicy, abi: Abi, value: object, tables: Tables) -> Iterator[str]:
    wanted = ring_value(built_rings(policy, abi, tables.facts, None), tables.tables[abi.name])
    match value:
        case (
            numbers,
            tuple(operations),
            trials,
            permits_exec,
            bytes(other),
        ) if (numbers, trials, permits_exec) == (wanted[0], *wanted[2:4]):
            pass
        case _:
            yield "what install() does with rings is not what the policy says: generate it again"
            return
    found = {one[0]: one for one in operations if isinstance(one, tuple) and one}
    for opcode, size, data in wanted[1]:
        match found.pop(opcode, None):
            case (_, own, bytes(program)) if own == size:
                if program != data and not _is_meant(policy, abi, opcode, program):
                    yield f"the program for operation {opcode} is not what the policy says"
            case _:
                yield f"there is no program for operation {opcode}, which the policy permits"
    yield from (f"operation {opcode!r} has a program, and must have none" for opcode in found)
    refuses = policy.io_uring is not None and policy.io_uring.without.value == "refuse_rings"
    if refuses:
        code = _code(other, abi)
        means = meaning(refusing_rings(policy), abi, tables)
        if code is None or not isinstance(prove(means, code), Proof):
            yield "the program for kernels that cannot filter rings is not what the policy says"
    elif other:
        yield "there is a program for kernels that cannot filter rings, where install() must fail"


def _is_meant(policy: ResolvedPolicy, abi: Abi, opcode: int, data: bytes) -> bool:
    assert policy.io_uring
    operation = next(o for o in policy.io_uring.operations(abi) if o.opcode == opcode)
    code = _code(data, abi, Structure.IO_URING_CONTEXT)
    means = operation_meaning(rules_of(policy, abi, operation), abi, policy.io_uring.origin)
    return code is not None and isinstance(prove(means, code), Proof)


def _code(data: bytes, abi: Abi, structure: Structure = Structure.SECCOMP_DATA) -> Code | None:
    """Return the program in ``data``; None if a kernel would refuse it."""
    try:
        instructions: tuple[Instruction, ...] = decode(data, abi)
    except ValueError:
        return None
    if kernel_objections(instructions, structure):
        return None
    return Code(instructions, abi.byte_order, structure)
