"""Compile a program and compare it with its policy. This imports all that determines a program.

The cache treats the files of these imports as the compiler (`cache.deciding_files`), so code that
prints or writes results does not belong here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.compile import compile_policy
from seccompgen.core.errors import InputError, UndecidedError
from seccompgen.verify import Code, Difference, kernel_objections, meaning, prove

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.objective import Objective
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.tables import Tables


def compile_proved(
    policy: ResolvedPolicy, abi: Abi, tables: Tables, objective: Objective
) -> tuple[CompiledProgram, Difference | None]:
    """Return the program of ``policy`` for ``abi``, and a call that it answers wrongly.

    The call is None for a proved program, and for a program with `verify.kernel_objections`. A
    program that cannot be proved is replaced by one that tests rule after rule. Raises the errors
    of `compile_policy` and `prove`.
    """
    program = compile_policy(policy, abi, tables, objective)
    if kernel_objections(program.instructions):
        return program, None
    try:
        return program, _difference(program, policy, tables)
    except UndecidedError as error:
        try:
            program = compile_policy(policy, abi, tables, objective, in_order=True)
        except InputError:  # too long
            raise error from None
        return program, _difference(program, policy, tables)


def _difference(
    program: CompiledProgram, policy: ResolvedPolicy, tables: Tables
) -> Difference | None:
    code = Code(program.instructions, program.abi.byte_order)
    found = prove(meaning(policy, program.abi, tables), code)
    return found if isinstance(found, Difference) else None
