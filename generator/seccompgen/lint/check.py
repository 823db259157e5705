"""Lint a filter: apply each rule to each program, through each ABI that it answers for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position, UndecidedError
from seccompgen.core.problems import Problem
from seccompgen.core.sets import Sets
from seccompgen.lint.bypass import bypasses
from seccompgen.lint.finding import Finding, Severity
from seccompgen.lint.locate import located
from seccompgen.lint.registry import rule, rule_modules, rules
from seccompgen.lint.shared_powers import shared_powers
from seccompgen.lint.upgrade import any_upgrade
from seccompgen.lint.view import FilterView

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Diagnostic
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Table, Tables
    from seccompgen.lint.ring_view import RingView
    from seccompgen.lint.rule import LintRule
    from seccompgen.lint.upgrade import Upgrade
    from seccompgen.verify import Code, Meaning

_MOST_NODES, _MOST_STEPS = 200_000, 2_000_000
"""The most set nodes and steps of a check, for one ABI; real policies need 5,000 and 20,000."""
_STRANGE_ARCH = 0x12345678
"""An audit value that no kernel has."""
_REPEATED = frozenset({"wrong-fallback", "newer-call"})
"""Codes of two findings that report the same of one call."""


@dataclass(frozen=True)
class LintedFilter:
    """A filter: its meaning or program by ABI, and its policy, if known.

    ``notes`` are those of the policy's reader. ``rings`` says what rings may do, by ABI, if there
    is no policy that does.
    """

    file: str
    sides: Mapping[str, Meaning | Code]
    policy: ResolvedPolicy | None = None
    notes: tuple[Diagnostic, ...] = ()
    rings: Mapping[str, RingView] = field(default_factory=dict)


def lint(
    subject: LintedFilter,
    tables: Tables,
    upgrade: Upgrade | None = None,
    *,
    holes: bool = False,
) -> list[Finding]:
    """Return the findings on a filter, each once, with all ABIs that it applies to.

    They are sorted by position, at each the most severe first. Calls of newer libraries are
    examined for ``upgrade``; by default only certain ones are reported. With ``holes``, known ones
    that it leaves open are reported, too.
    """
    sets = Sets()
    found = list(_noted(subject.notes))
    for one in rules("installation") if subject.policy else ():
        found += one.check_policy(subject.policy) if one.check_policy and subject.policy else ()
    for name, side in subject.sides.items():
        served, foreign = views_of(ABIS[name], side, subject, tables, sets)
        found += _of_program(served, foreign, tables, upgrade or any_upgrade())
        if holes:
            found += _whole_program("holes", served, foreign)
        for view in (*served, *foreign):
            found += _undecided(view)
    return sorted(_merged(found), key=_order)


def _noted(notes: Iterable[Diagnostic]) -> Iterator[Finding]:
    """Yield the notes of a policy's reader that a rule reports as findings."""
    for note in notes:
        code = note.kind.value if note.kind else ""
        if code in rule_modules() and rule(code).note_fix:
            yield rule(code).finding(note.message, rule(code).note_fix, position=note.position)


def _of_program(
    served: list[FilterView], foreign: list[FilterView], tables: Tables, upgrade: Upgrade
) -> Iterator[Finding]:
    for view in served:
        found = [
            finding
            for section in ("arguments", "bypasses", "rings", "requirements")
            for one in rules(section)
            for findings in _checks(one, view)
            for finding in _decided(findings, view)
        ]
        newer: list[Finding] = []
        for one in rules("upgrades"):
            if one.check_upgrade:
                newer += _decided(one.check_upgrade(view, upgrade, tables), view)
        both = _without_repeats(newer, found) if upgrade.asked else _without_repeats(found, newer)
        yield from (located(finding, view) for finding in both)
    yield from _whole_program("bypasses", served, foreign)


def _whole_program(
    section: str, served: list[FilterView], foreign: list[FilterView]
) -> Iterator[Finding]:
    """Yield the findings of a section's rules that look at a program through all its ABIs."""
    for one in rules(section):
        for view, findings in one.check_program(served, foreign) if one.check_program else ():
            yield from (located(finding, view) for finding in _decided(findings, view))


def _checks(one: LintRule, view: FilterView) -> Iterator[Iterable[Finding]]:
    if one.check:
        yield one.check(view)
    yield bypasses(one, view)
    yield shared_powers(one, view)


def _decided(findings: Iterable[Finding], view: FilterView) -> list[Finding]:
    """Return a check's findings up to the first undecided answer, which is added to ``view``."""
    found: list[Finding] = []
    try:
        with view.sets.within(_MOST_NODES, _MOST_STEPS):
            found += findings
    except UndecidedError as error:
        view.undecided[""] = error
    return found


def _without_repeats(first: list[Finding], others: list[Finding]) -> list[Finding]:
    """Return all findings except those of ``others`` that repeat one of ``first`` on its call."""

    def call(one: Finding) -> int | None:
        return one.witness.call.nr if one.witness and one.kind.value in _REPEATED else None

    reported = {call(one) for one in first} - {None}
    return [*first, *(one for one in others if call(one) not in reported)]


def views_of(
    abi: Abi, side: Meaning | Code, subject: LintedFilter, tables: Tables, sets: Sets
) -> tuple[list[FilterView], list[FilterView]]:
    """Return views of the program through each ABI that it answers for, its own first.

    The second list has views through the other ABIs that the kernel serves.
    """

    def view(table: Table, arch: int | None = None) -> FilterView:
        ring = subject.rings.get(abi.name)
        return FilterView(side, abi, table, sets, tables.facts, subject.policy, arch, ring)

    served: list[FilterView] = [view(tables.tables[abi.name])]
    foreign: list[FilterView] = []
    # A kernel of another ABI may serve this one as well: i386 programs run on x86_64.
    hosts = [one.name for one in ABIS.values() if abi.name in one.siblings]
    for sibling in dict.fromkeys((*abi.siblings, *hosts)):
        table = tables.tables.get(sibling)
        if table is None:
            continue
        other = view(table)
        (served if _answers_for(other, subject, abi) else foreign).append(other)
    # A MIPS kernel accepts the numbers of its other ABIs in any task.
    foreign += [view(table, abi.audit_arch) for table in tables.dispatched_with(abi)]
    return served, foreign


def _answers_for(view: FilterView, subject: LintedFilter, abi: Abi) -> bool:
    """Return True if a program was made to answer for the ABI of ``view``, too.

    Without a policy this is guessed: the program compares that audit value, and its answers to that
    ABI's calls differ.
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


def _undecided(view: FilterView) -> Iterator[Finding]:
    for error in view.undecided.values():
        reason = error.diagnostics[0]
        yield Finding(
            reason.kind or Problem.TOO_MANY_CASES,
            Severity.NOTE,
            f"lint cannot decide what it answers to some calls: {reason.message}",
            "examine these calls yourself",
            (view.abi.name,),
            programs=(view.program.name,),
        )
        return


def _merged(found: Iterable[Finding]) -> Iterable[Finding]:
    """Merge findings that report the same for several ABIs, with the witness of the first."""
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
