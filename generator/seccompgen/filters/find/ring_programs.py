"""The programs of a filter for operations of rings: those of its module, or compiled and proved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.problems import Problem
from seccompgen.core.program import RET_K, decode
from seccompgen.core.ring import RingOperation, RingProgram
from seccompgen.io.reading import MAX_FILTER, read_input
from seccompgen.kernel.ring_operations import ring_numbers
from seccompgen.pipeline.rings import proved_operation
from seccompgen.verify import kernel_objections
from seccompgen.verify.call import Structure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.filters.find.loaded_filter import LoadedFilter

_RETURN = RET_K & 7


def ring_programs_of(loaded: LoadedFilter, abi: Abi) -> tuple[RingProgram, ...]:
    """Return a program for each operation that a filter permits on ``abi``; none without a section.

    Raises InputError for a module whose programs are not ours.
    """
    policy = loaded.policy
    if policy and policy.io_uring:
        operations = policy.io_uring.operations(abi)
        programs = (proved_operation(policy, abi, one) for one in operations)
        return tuple(one for one in programs if one.permits)
    if loaded.module and abi.name in loaded.module.rings:
        here = Position(str(loaded.path))
        return tuple(_of_module(loaded.module.rings[abi.name], abi, here))
    return ()


def raw_ring_program(path: Path, operation: RingOperation, abi: Abi) -> RingProgram:
    """Return the raw instructions in a file as the program of ``operation``.

    Raises InputError if the kernel would refuse it.
    """
    here = Position(str(path))
    try:
        instructions = decode(read_input(path, MAX_FILTER), abi)
    except ValueError as error:
        raise InputError(Diagnostic(str(error), here, Problem.REFUSED_PROGRAM)) from None
    if objections := kernel_objections(instructions, Structure.IO_URING_CONTEXT):
        problems = (Diagnostic(str(one), here, Problem.REFUSED_PROGRAM) for one in objections)
        raise InputError(*problems)
    return RingProgram(operation, abi, instructions)


def _of_module(value: object, abi: Abi, here: Position) -> Iterator[RingProgram]:
    """Yield the programs in a module's value for rings (`ring_source.RingValue`)."""
    names = {one.nr: name for name, one in ring_numbers().operations.items()}
    seen: set[int] = set()
    match value:
        case (_, tuple(operations), _, _, _):
            for one in operations:
                match one:
                    case (int(opcode), int(), bytes(data)) if opcode not in seen:
                        seen.add(opcode)
                        name = names.get(opcode, f"operation {opcode}")
                        yield _program(RingOperation(name, opcode), data, abi, here)
                    case _:
                        raise _not_ours(abi, "its programs for rings", here)
        case _:
            raise _not_ours(abi, "its programs for rings", here)


def _program(operation: RingOperation, data: bytes, abi: Abi, here: Position) -> RingProgram:
    what = f"the program for {operation.name}"
    try:
        instructions = decode(data, abi)
    except ValueError:
        raise _not_ours(abi, what, here) from None
    returns = {one.code for one in instructions if one.code & 7 == _RETURN}
    if kernel_objections(instructions, Structure.IO_URING_CONTEXT) or returns != {RET_K}:
        raise _not_ours(abi, what, here)
    return RingProgram(operation, abi, instructions)


def _not_ours(abi: Abi, what: str, here: Position) -> InputError:
    text = f"{abi.name}: {what}: seccompgen does not write such; generate it again"
    return InputError(Diagnostic(text, here, Problem.REFUSED_PROGRAM))
