"""One program of a policy that is read already: from the cache, or compiled and proved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.objective import DEFAULT_OBJECTIVE
from seccompgen.pipeline.build import proved_program
from seccompgen.pipeline.cache import ProgramCache
from seccompgen.verify import kernel_objections

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.tables import Tables
    from seccompgen.pipeline.build import BuildOptions


def one_program(
    policy: ResolvedPolicy, abi: Abi, tables: Tables, means: BuildOptions
) -> CompiledProgram:
    """Return the program that ``build`` makes of ``policy`` for ``abi``, one of its arches."""
    cache = ProgramCache(means.cache, tables, DEFAULT_OBJECTIVE) if means.cache else None
    kept = cache.load(policy, [abi]).get(abi) if cache else None
    if kept and not kernel_objections(kept.instructions):
        return kept
    program = proved_program(policy, abi, tables)
    if cache:
        cache.save([(policy, [program])])
    return program
