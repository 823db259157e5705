"""Claims that one filter equals another, or permits no more, for `equiv` and `subset`; verdicts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import (
    AnswerNo,
    Diagnostic,
    Position,
    SeccompgenError,
    UndecidedError,
)
from seccompgen.core.filter_changes import ChangeEffect
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.core.model import ActionKind
from seccompgen.core.problems import Problem
from seccompgen.core.program import (
    LD_W_ABS,
    RET_K,
    Instruction,
)
from seccompgen.core.word import ARGS
from seccompgen.filters.compare.call_classes import CallClass, differing_calls
from seccompgen.filters.compare.ring_diff import (
    changed_operations,
    grouped_operations,
    operation_of,
)
from seccompgen.filters.compare.ring_sides import has_section, ring_side
from seccompgen.filters.find.loaded_filter import load_each
from seccompgen.filters.find.locate import FilterForm, kind_of
from seccompgen.pipeline.build import PLAIN_OPTIONS
from seccompgen.pipeline.pool import spread
from seccompgen.render.call_names import difference_text
from seccompgen.verify import (
    SAME,
    Code,
    Difference,
    Meaning,
    Proof,
    Relation,
    Stack,
    prove,
)
from seccompgen.verify.call import word_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.core.filter_changes import ChangedOperation
    from seccompgen.core.model import Origin
    from seccompgen.core.tables import Tables
    from seccompgen.filters.compare.ring_diff import Policies
    from seccompgen.filters.find.loaded_filter import LoadedFilter
    from seccompgen.pipeline.build import BuildOptions
    from seccompgen.verify import Method
    from seccompgen.verify.call import Call
    from seccompgen.verify.stack import FilterSemantics


_OPERATION_ANSWERS = {
    ActionKind.ALLOW.value: "permits it",
    ActionKind.KILL_THREAD.value: "refuses it",
}


@dataclass(frozen=True)
class Claim:
    """A claim that two filters are the same for ``abi``; reports call them ``names``, at ``file``.

    With another ``relation`` that relation is claimed. ``policies`` are the files that the program
    must agree with, unless ``file`` is one. If ``report_only``, the program logs what they refuse,
    and lets every call through. If ``rings``, the sides answer operations of rings (`ring_side`),
    those of these policies.
    """

    file: str
    abi: Abi
    names: tuple[str, str]
    sides: tuple[FilterSemantics, FilterSemantics]
    policies: tuple[str, ...] = ()
    relation: Relation = SAME
    report_only: bool = False
    rings: Policies | None = None


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim; an UndecidedError has the reason why there is none."""

    claim: Claim
    result: Proof | Difference | UndecidedError

    @property
    def proved(self) -> bool:
        """True if the claim holds for every call."""
        return isinstance(self.result, Proof)

    def text(self, tables: Tables) -> str:
        """Return the difference, or why the claim is undecided, as one line."""
        assert not isinstance(self.result, Proof)
        if isinstance(self.result, UndecidedError):
            return "; ".join(map(str, self.result.diagnostics))
        if self.claim.rings:
            text = operation_of(self.result.call, self.claim.abi, tables.facts)
            answers = (_OPERATION_ANSWERS[ret] for ret in (self.result.left, self.result.right))
            said = (f"{name} {a}" for name, a in zip(self.claim.names, answers, strict=True))
            return f"{text} on {self.claim.abi.name}: {', '.join(said)}"
        shown = self.arguments_looked_at(self.result.call)
        return difference_text(self.result, self.claim.names, self.claim.abi, tables, shown)

    def arguments_looked_at(self, call: Call) -> int:
        """Return how many arguments the filters look at, up to the last, to answer ``call``."""
        return max(arguments_looked_at(side, call) for side in self.claim.sides)

    def classes(self, tables: Tables) -> tuple[CallClass, ...]:
        """Return all calls for which the claim is wrong, in classes; none if it is proved.

        None of a claim about rings: `operations` has these. Raises UndecidedError if they cannot be
        listed, though one call is known.
        """
        if not isinstance(self.result, Difference) or self.claim.rings:
            return ()
        return differing_calls(self.claim.sides, self.claim.abi, self.claim.relation, tables)

    def operations(self, tables: Tables) -> tuple[ChangedOperation, ...]:
        """Return all operations of rings for which the claim is wrong."""
        claim = self.claim
        if not isinstance(self.result, Difference) or not claim.rings:
            return ()
        found = changed_operations(claim.sides, claim.rings, claim.abi, tables.facts)
        both = claim.relation is SAME
        return grouped_operations(
            [one for one in found if both or one.effect is ChangeEffect.REFUSED]
        )

    def executed(
        self, side: int, call: Call | None = None
    ) -> tuple[tuple[Instruction, ...], tuple[int, ...]]:
        """Return the program of a side, if it is one, and the instructions that run for ``call``.

        By default that is the call of the difference.
        """
        code = self.claim.sides[side]
        if not isinstance(code, Code) or not isinstance(self.result, Difference):
            return (), ()
        return code.instructions, code.run(call or self.result.call)[1]

    def origin(self, side: int) -> Origin | None:
        """Return the part of a side's policy that decides the call; None for a program."""
        policy = self.claim.sides[side]
        if not isinstance(policy, Meaning) or not isinstance(self.result, Difference):
            return None
        return policy.case(self.result.call).origin


def arguments_looked_at(side: FilterSemantics, call: Call) -> int:
    """Return how many arguments ``side`` looks at, up to the last, to answer ``call``."""
    match side:
        case Meaning():
            fields = [test.field for test in side.case(call).tests]
        case Code():
            loads = (side.instructions[at] for at in side.run(call)[1])
            fields = [
                word_at(one.k, side.byte_order).field for one in loads if one.code == LD_W_ABS
            ]
        case Stack():
            return max(arguments_looked_at(part, call) for part in side.parts)
    return max(0, max(fields, default=0) - ARGS + 1)


def decide(
    claims: Sequence[Claim], methods: tuple[Method, ...], options: BuildOptions = PLAIN_OPTIONS
) -> Iterator[Verdict]:
    """Yield the verdict on each claim, by all of ``methods``; see `verify.prove`."""
    with contextlib.closing(spread(_decide_one, methods, claims, options.workers)) as results:
        for claim, result in zip(claims, results, strict=True):
            if isinstance(result, SeccompgenError) and not isinstance(result, UndecidedError):
                place = Position(claim.file)
                raise type(result)(
                    *(
                        Diagnostic(f"{claim.abi.name}: {one}", place, one.kind)
                        for one in result.diagnostics
                    )
                )
            yield Verdict(claim, result)


def _decide_one(methods: tuple[Method, ...], claim: Claim) -> Proof | Difference:
    """Do one job; at the top of the module, so that a worker finds it."""
    return prove(*claim.sides, methods, claim.relation)


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
    """Return the claims that two filters are equal, for each ABI; policies are not compiled.

    Raises AnswerNo if only one of them has a program for some ABI.
    """
    ours, its = load_each(zip((left, right), (only, only), readings, strict=True), tables)
    lonely = [
        Diagnostic(
            f"no program for {name}, which {other} has; --arch compares one ABI alone",
            Position(str(path)),
            Problem.ABI_MISSING,
        )
        for path, other, names in (
            (right, left, ours.sides.keys() - its.sides.keys()),
            (left, right, its.sides.keys() - ours.sides.keys()),
        )
        for name in ABIS
        if name in names
    ]
    if lonely:
        raise AnswerNo(*lonely)
    return equal_claims(_names_of(left, right), ours, its, tables)


def equal_claims(
    names: tuple[str, str], ours: LoadedFilter, its: LoadedFilter, tables: Tables
) -> list[Claim]:
    """Return the claims that two filters for the same ABIs are equal, rings included."""
    file = f"{names[0]} = {names[1]}"
    claims = [
        Claim(file, ABIS[name], names, (side, its.sides[name])) for name, side in ours.sides.items()
    ]
    return [*claims, *_about_rings(claims, ours, its, Relation(ActionKind.LOG), SAME, tables)]


def _about_rings(
    claims: Sequence[Claim],
    ours: LoadedFilter,
    its: LoadedFilter,
    permission: Relation,
    relation: Relation,
    tables: Tables,
) -> list[Claim]:
    """Return the claims about rings that belong to ``claims``; none if no filter has a section.

    ``permission`` says which answers to io_uring_setup permit a ring.
    """
    if not has_section(ours) and not has_section(its):
        return []
    return [
        Claim(
            f"{one.file}, rings",
            one.abi,
            one.names,
            (
                ring_side(ours, one.abi, permission, tables),
                ring_side(its, one.abi, permission, tables),
            ),
            relation=relation,
            rings=(ours.policy, its.policy),
        )
        for one in claims
    ]


def claims_of_subset(
    left: Path,
    right: Path,
    up_to: ActionKind,
    tables: Tables,
    only: Abi | None,
    readings: Sequence[Reading] = (PLAIN_READING, PLAIN_READING),
) -> list[Claim]:
    """Return the claims that the right filter permits what the left one permits: `subset_claims`.

    Raises InputError with everything that is wrong with either.
    """
    # An ABI that the right filter lacks is an answer, and no mistake.
    its_abi = only if kind_of(right) is FilterForm.RAW else None
    ours, its = load_each(zip((left, right), (only, its_abi), readings, strict=True), tables)
    return subset_claims(_names_of(left, right), ours, its, up_to, tables)


def _names_of(left: Path, right: Path) -> tuple[str, str]:
    """Return the names of two filters in messages; they may be one file read in two ways."""
    if left == right:
        return f"1: {left}", f"2: {right}"
    return str(left), str(right)


def subset_claims(
    names: tuple[str, str],
    ours: LoadedFilter,
    its: LoadedFilter,
    up_to: ActionKind,
    tables: Tables,
) -> list[Claim]:
    """Return for each ABI of ``ours`` the claim that ``its`` permits everything that ``ours`` does.

    An action permits if it is as lax as ``up_to``. Without a program for an ABI, ``its`` permits
    nothing there. Rings are included.
    """
    relation = Relation(up_to)
    claims = [
        Claim(
            f"{names[0]} within {names[1]}",
            ABIS[name],
            names,
            (side, its.sides.get(name, Code(NO_PROGRAM, ABIS[name].byte_order))),
            relation=relation,
        )
        for name, side in ours.sides.items()
    ]
    within = Relation(ActionKind.ALLOW)
    return [*claims, *_about_rings(claims, ours, its, relation, within, tables)]
