"""Lint a filter: every check, on every program of it, through every ABI it answers for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position, UndecidedError
from seccompgen.core.problems import Problem
from seccompgen.core.sets import Sets
from seccompgen.lint.arguments import compared_arguments
from seccompgen.lint.fallback import fallbacks
from seccompgen.lint.finding import Finding, Severity
from seccompgen.lint.foreign import foreign_abis, refused_less
from seccompgen.lint.jumps import decided_jumps
from seccompgen.lint.living import cannot_live
from seccompgen.lint.newer import newer_calls
from seccompgen.lint.newer_kernel import newer_kernel
from seccompgen.lint.noted import noted
from seccompgen.lint.places import placed
from seccompgen.lint.refusals import faked, unheeded
from seccompgen.lint.signed_order import signed_order
from seccompgen.lint.threads import unsynchronised
from seccompgen.lint.twins import twins
from seccompgen.lint.upgrade import UPGRADE_CODES, any_upgrade
from seccompgen.lint.view import FilterView
from seccompgen.lint.ways import racing_memory, ways_in
from seccompgen.lint.whole_flags import whole_flags

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Diagnostic
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Table, Tables
    from seccompgen.lint.upgrade import Upgrade
    from seccompgen.verify import Code, Meaning

_MOST_NODES, _MOST_STEPS = 200_000, 2_000_000
"""The most that a check needs for one ABI, in sets; real policies need 5,000 and 20,000."""
_STRANGE_ARCH = 0x12345678
"""An audit value that no kernel has."""
_CHECKS = (
    compared_arguments,
    whole_flags,
    decided_jumps,
    signed_order,
    ways_in,
    twins,
    racing_memory,
    cannot_live,
    fallbacks,
    unheeded,
    faked,
)


@dataclass(frozen=True)
class LintedFilter:
    """A filter as lint looks at it: what it answers, by ABI, and the policy if there is one.

    ``notes`` are what reading the policy had to tell.
    """

    file: str
    sides: Mapping[str, Meaning | Code]
    policy: ResolvedPolicy | None = None
    notes: tuple[Diagnostic, ...] = ()


def lint(subject: LintedFilter, tables: Tables, upgrade: Upgrade | None = None) -> list[Finding]:
    """Return all findings on a filter, each once, with all the ABIs that it holds for.

    They are in the order of their places, the weightiest first at each. What libraries will call
    is looked at for ``upgrade``; without one only what is certain of it is a finding.
    """
    sets = Sets()
    found = [*noted(subject.notes), *unsynchronised(subject.policy)]
    for name, side in subject.sides.items():
        found += _of_program(ABIS[name], side, subject, tables, sets, upgrade or any_upgrade())
    return sorted(_merged(found), key=_order)


def _of_program(
    abi: Abi,
    side: Meaning | Code,
    subject: LintedFilter,
    tables: Tables,
    sets: Sets,
    upgrade: Upgrade,
) -> Iterator[Finding]:
    served, foreign = views_of(abi, side, subject, tables, sets)
    for one in served:
        found = [finding for check in _CHECKS for finding in _all_of(check(one), one)]
        found = _told_once(found, _all_of(newer_calls(one, upgrade), one), upgrade)
        found += _all_of(newer_kernel(one, upgrade, tables), one)
        yield from (placed(finding, one) for finding in found)
    native = served[0]
    yield from (
        placed(finding, native) for finding in _all_of(foreign_abis(native, foreign), native)
    )
    for other in served[1:]:
        for view, one, severity in (
            (other, native, Severity.WARNING),
            # Through another ABI alone something may be refused for faults of the kernel there.
            (native, other, Severity.NOTE),
        ):
            less = _all_of(refused_less(view, one, severity), one)
            yield from (placed(finding, one) for finding in less)
    for one in served:
        yield from _not_followed(one)


def _all_of(findings: Iterable[Finding], view: FilterView) -> list[Finding]:
    """Return what a check finds; what it cannot tell is noted with ``view``."""
    found: list[Finding] = []
    try:
        with view.sets.within(_MOST_NODES, _MOST_STEPS):
            found += findings
    except UndecidedError as error:
        view.undecided[""] = error
    return found


def _told_once(found: list[Finding], newer: list[Finding], upgrade: Upgrade) -> list[Finding]:
    """Return all findings, those on one call by one check: `wrong-fallback` says the same.

    Who asked for an upgrade is told of the release.
    """

    def calls(findings: list[Finding], codes: Collection[Problem]) -> set[int]:
        return {one.witness.call.nr for one in findings if one.witness and one.kind in codes}

    def without(
        findings: list[Finding], codes: Collection[Problem], told: set[int]
    ) -> list[Finding]:
        return [
            one
            for one in findings
            if one.kind not in codes or one.witness is None or one.witness.call.nr not in told
        ]

    fallback = {Problem.WRONG_FALLBACK}
    if upgrade.asked:
        return without(found, fallback, calls(newer, {Problem.NEWER_CALL})) + newer
    return found + without(newer, UPGRADE_CODES, calls(found, fallback))


def views_of(
    abi: Abi, side: Meaning | Code, subject: LintedFilter, tables: Tables, sets: Sets
) -> tuple[list[FilterView], list[FilterView]]:
    """Return the program for ``abi`` seen through each ABI that it answers for, its own first.

    And seen through those others that its kernel serves.
    """

    def view(table: Table, arch: int | None = None) -> FilterView:
        return FilterView(side, abi, table, sets, tables.facts, subject.policy, arch)

    served: list[FilterView] = [view(tables.tables[abi.name])]
    foreign: list[FilterView] = []
    # A kernel that serves this ABI beside its own counts as well: i386 programs run on x86_64, too.
    hosts = [one.name for one in ABIS.values() if abi.name in one.siblings]
    for sibling in dict.fromkeys((*abi.siblings, *hosts)):
        table = tables.tables.get(sibling)
        if table is None:
            continue
        other = view(table)
        (served if _answers_for(other, subject, abi) else foreign).append(other)
    # A MIPS kernel takes the numbers of its other ABIs whatever the task is.
    foreign += [view(table, abi.audit_arch) for table in tables.dispatched_with(abi)]
    return served, foreign


def _answers_for(view: FilterView, subject: LintedFilter, abi: Abi) -> bool:
    """Return True if a program was made to answer for the ABI of ``view``, too.

    Of a program it is guessed: it looks at that audit value, and does not answer all of it alike.
    """
    if subject.policy:
        return view.abi in subject.policy.compat_of(abi)
    if view.arch == abi.audit_arch:
        return False
    strange = FilterView(view.side, abi, view.table, view.sets, view.facts, arch=_STRANGE_ARCH)
    numbers = view.table.names
    try:
        own = {view.answer_to(number).only for number in numbers}
        return len(own) > 1 and any(
            view.answer_to(number).parts != strange.answer_to(number).parts for number in numbers
        )
    except UndecidedError:
        return False


def _not_followed(view: FilterView) -> Iterator[Finding]:
    for error in view.undecided.values():
        reason = error.diagnostics[0]
        yield Finding(
            reason.kind or Problem.TOO_MANY_CASES,
            Severity.NOTE,
            f"what it answers to some calls cannot be told: {reason.message}",
            "look at it yourself",
            (view.abi.name,),
            programs=(view.program.name,),
        )
        return


def _merged(found: Iterable[Finding]) -> Iterable[Finding]:
    """Return findings that say the same of several ABIs as one, with the first one's witness."""
    merged: dict[tuple[object, ...], Finding] = {}
    for one in found:
        key = (one.kind, one.position, one.message, one.severity)
        first = merged.get(key)
        if first is None:
            merged[key] = one
        else:
            abis = tuple(dict.fromkeys((*first.abis, *one.abis)))
            programs = tuple(dict.fromkeys((*first.programs, *one.programs)))
            merged[key] = replace(first, abis=abis, programs=programs)
    return merged.values()


def _order(finding: Finding) -> tuple[object, ...]:
    position = finding.position or Position("")
    at = -1 if finding.instruction is None else finding.instruction
    return (position, at, finding.severity.rank, finding.kind.value, finding.message)
