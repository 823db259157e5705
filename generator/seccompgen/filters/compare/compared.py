"""Claims of two filters, for ``equiv`` and ``subset``: one claim for each ABI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import AnswerNo, Diagnostic, Position
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.core.model import ActionKind
from seccompgen.core.problems import Problem
from seccompgen.core.program import RET_K, Instruction
from seccompgen.filters.compare.claims import Claim
from seccompgen.filters.find.load import load_each
from seccompgen.filters.find.locate import FilterForm, kind_of
from seccompgen.verify import Code, Relation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.core.tables import Tables
    from seccompgen.verify.stack import FilterSemantics

NO_PROGRAM = (Instruction(RET_K, 0, 0, ActionKind.KILL_PROCESS.value),)
"""The answers of a filter on an ABI that it has no program for: it refuses every call."""


def without_program(claims: Iterable[Claim]) -> list[str]:
    """Return the ABIs that the right filter has no program for."""
    sides = ((claim.abi.name, claim.sides[1]) for claim in claims)
    return [
        abi for abi, side in sides if isinstance(side, Code) and side.instructions is NO_PROGRAM
    ]


def claims_of_two(
    left: Path,
    right: Path,
    tables: Tables,
    only: Abi | None,
    readings: Sequence[Reading] = (PLAIN_READING, PLAIN_READING),
) -> list[Claim]:
    """Return the claims that two filters are one, for each ABI; policies are not compiled.

    Raises AnswerNo if only one of them has a program for some ABI.
    """
    filters = load_each(zip((left, right), (only, only), readings, strict=True), tables)
    ours, its = (one.sides for one in filters)
    lonely = [
        Diagnostic(
            f"no program for {name}, which {other} has; --arch compares one ABI alone",
            Position(str(path)),
            Problem.ABI_MISSING,
        )
        for path, other, names in (
            (right, left, ours.keys() - its.keys()),
            (left, right, its.keys() - ours.keys()),
        )
        for name in ABIS
        if name in names
    ]
    if lonely:
        raise AnswerNo(*lonely)
    names = _names_of(left, right)
    return [
        Claim(f"{names[0]} = {names[1]}", ABIS[name], names, (side, its[name]))
        for name, side in ours.items()
    ]


def claims_of_subset(
    left: Path,
    right: Path,
    up_to: ActionKind,
    tables: Tables,
    only: Abi | None,
    readings: Sequence[Reading] = (PLAIN_READING, PLAIN_READING),
) -> list[Claim]:
    """Return the claims that the right filter permits what the left one does: see `subset_claims`.

    Raises InputError with everything that is wrong with either.
    """
    # An ABI that the right filter lacks is an answer, and no mistake.
    its_abi = only if kind_of(right) is FilterForm.RAW else None
    ours, its = load_each(zip((left, right), (only, its_abi), readings, strict=True), tables)
    return subset_claims(_names_of(left, right), ours.sides, its.sides, up_to)


def _names_of(left: Path, right: Path) -> tuple[str, str]:
    """Return how messages call two filters, which may be one file read in two ways."""
    if left == right:
        return f"1: {left}", f"2: {right}"
    return str(left), str(right)


def subset_claims(
    names: tuple[str, str],
    ours: Mapping[str, FilterSemantics],
    its: Mapping[str, FilterSemantics],
    up_to: ActionKind,
) -> list[Claim]:
    """Return for each ABI of ``ours`` the claim that ``its`` permits what that does.

    An action permits if it is as lax as ``up_to``. Where ``its`` has no program it permits nothing.
    """
    return [
        Claim(
            f"{names[0]} within {names[1]}",
            ABIS[name],
            names,
            (side, its.get(name, Code(NO_PROGRAM, ABIS[name].byte_order))),
            relation=Relation(up_to),
        )
        for name, side in ours.items()
    ]
