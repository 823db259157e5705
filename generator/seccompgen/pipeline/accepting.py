"""Built policies without what their format cannot express, as the user accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.formats.losses import accepted
from seccompgen.formats.writing import writer
from seccompgen.pipeline.build import proved_program

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from seccompgen.core.built import Built
    from seccompgen.core.tables import Tables


def accepted_filters(
    built: Iterable[Built], losses: Collection[str], form: str, tables: Tables
) -> list[Built]:
    """Return the filters without ``losses``, each with a note about what it lost.

    Their programs are compiled and proved again: file, program and policy stay the same.
    """
    found: list[Built] = []
    for one in built:
        policy, notes = accepted(one.policy, losses, writer(form))
        if notes:
            programs = (proved_program(policy, p.abi, tables, one.objective) for p in one.programs)
            said = tuple(note.message for note in notes)
            changed = one._replace(policy=policy, programs=tuple(programs), losses=said)
            found.append(changed._replace(notes=(*one.notes, *notes)))
        else:
            found.append(one)
    return found
