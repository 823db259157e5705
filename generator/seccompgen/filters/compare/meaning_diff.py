"""Two filters compared by meaning: all calls that they answer differently, alike ABIs merged.

`call_classes` finds the calls of each program. Here they get names, and what several ABIs have in
common becomes one change. The result is for people to read; `equiv` proves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError, UndecidedError
from seccompgen.core.filter_changes import (
    ChangedCall,
    ChangedOperation,
    ChangedSetting,
    ChangeEffect,
    Example,
    FilterDiff,
    Subject,
    Unlisted,
)
from seccompgen.core.model import U32, ActionKind, All
from seccompgen.core.number_spans import common, merged, numbers_of, without
from seccompgen.core.problems import Problem
from seccompgen.filters.compare.call_classes import differing_calls
from seccompgen.filters.compare.claims import arguments_looked_at
from seccompgen.filters.compare.ring_diff import changed_operations, grouped_operations
from seccompgen.filters.compare.ring_sides import has_section, ring_side
from seccompgen.filters.find.locate import FilterForm, kind_of
from seccompgen.render.call_names import answer_texts, call_text, difference_text
from seccompgen.verify import SAME, Code, Difference, Meaning, Relation, prove

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.filter_changes import Spans
    from seccompgen.core.model import Action, Origin
    from seccompgen.core.tables import Table, Tables
    from seccompgen.filters.compare.call_classes import CallClass
    from seccompgen.filters.find.loaded_filter import LoadedFilter
    from seccompgen.verify.call import Call
    from seccompgen.verify.stack import FilterSemantics

_LETTING_THROUGH = Relation(ActionKind.LOG)


def diff_filters(
    left: LoadedFilter, right: LoadedFilter, tables: Tables, names: tuple[str, str] | None = None
) -> FilterDiff:
    """Return all that differs between two filters, called ``names``; default: their files.

    ``tables`` name the calls. Raw instructions are for one ABI only, so the other filter's further
    ABIs are left out. Raises InputError if no ABI is common.
    """
    called = names or (str(left.path), str(right.path))
    common = [name for name in ABIS if name in left.sides and name in right.sides]
    if not common:
        text = f"{called[0]} and {called[1]} have programs for no common ABI"
        raise InputError(Diagnostic(text, kind=Problem.NO_COMMON_ABI))
    raw = any(kind_of(one.path) is FilterForm.RAW for one in (left, right))
    merged = _Merged(tables, common)
    unlisted = []
    for name in common:
        sides = left.sides[name], right.sides[name]
        try:
            merged.add(ABIS[name], sides)
        except UndecidedError as error:
            unlisted.append(_unlisted(ABIS[name], sides, called, tables, error))
    changes = merged.changes()
    return FilterDiff(
        *called,
        tuple(common),
        _sorted([*common, *_compat(left, common), *_compat(right, common)]),
        () if raw else _lacking(left.sides, right.sides),
        () if raw else _lacking(right.sides, left.sides),
        changes,
        tuple(_settings(left, right)),
        tuple(_policy_actions(left, right, [ABIS[name] for name in common])) if changes else (),
        tuple(unlisted),
        _operations(left, right, common, tables),
    )


def _operations(
    left: LoadedFilter, right: LoadedFilter, abis: Iterable[str], tables: Tables
) -> tuple[ChangedOperation, ...]:
    """Return what rings may do on one side alone; nothing if no filter is about rings."""
    if not has_section(left) and not has_section(right):
        return ()
    found: list[ChangedOperation] = []
    for abi in map(ABIS.__getitem__, abis):
        ours, its = (ring_side(one, abi, _LETTING_THROUGH, tables) for one in (left, right))
        found += changed_operations((ours, its), (left.policy, right.policy), abi, tables.facts)
    return grouped_operations(found)


def _compat(filter_: LoadedFilter, abis: Iterable[str]) -> list[str]:
    """Return the further ABIs that the policy lets the programs for ``abis`` answer for."""
    policy = filter_.policy
    return [one.name for name in abis for one in (policy.compat_of(ABIS[name]) if policy else ())]


def _lacking(ours: Iterable[str], its: Mapping[str, object]) -> tuple[str, ...]:
    there = set(ours)
    return tuple(name for name in ABIS if name in there and name not in its)


def _unlisted(
    abi: Abi,
    sides: tuple[FilterSemantics, FilterSemantics],
    names: tuple[str, str],
    tables: Tables,
    why: UndecidedError,
) -> Unlisted:
    """Return the entry for an ABI whose changes cannot be listed: one call, if one is found."""
    reason = "; ".join(one.message for one in why.diagnostics)
    try:
        found = prove(*sides)
    except UndecidedError:
        return Unlisted(abi.name, reason, None)
    if not isinstance(found, Difference):
        return Unlisted(abi.name, reason, None)
    shown = max(arguments_looked_at(side, found.call) for side in sides)
    return Unlisted(abi.name, reason, difference_text(found, names, abi, tables, shown))


def _settings(left: LoadedFilter, right: LoadedFilter) -> Iterator[ChangedSetting]:
    """Yield the differences in settings; nothing if a side is raw instructions, which have none."""
    if left.settings is None or right.settings is None:
        return
    for name, before, after in zip(
        left.settings._fields, left.settings, right.settings, strict=True
    ):
        if before != after:
            texts = (str(one).lower() or "none" for one in (before, after))
            yield ChangedSetting(name, *texts)


def _policy_actions(
    left: LoadedFilter, right: LoadedFilter, abis: Iterable[Abi]
) -> Iterator[ChangedSetting]:
    if left.policy is None or right.policy is None:
        return
    kernels = [f"v{one}" if one else "none" for one in (left.policy.kernel, right.policy.kernel)]
    if kernels[0] != kernels[1]:
        yield ChangedSetting("kernel", kernels[0], kernels[1])
    for name in ("default_action", "unknown_action", "bad_arch_action"):
        before: Action = getattr(left.policy, name)
        after: Action = getattr(right.policy, name)
        abi = next((one for one in abis if before.ret(one) != after.ret(one)), None)
        if abi:
            yield ChangedSetting(name, *answer_texts(before.ret(abi), after.ret(abi), abi))


# --- changes that several ABIs have in common ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Key:
    """The parts of a change that ABIs must have in common to be merged."""

    effect: ChangeEffect
    subject: Subject
    syscall: str
    elsewhere: bool
    condition: tuple[str, ...]
    before: str
    after: str
    rules: tuple[tuple[Origin, ...], tuple[Origin, ...]]


@dataclass(slots=True)
class _Found:
    """The rest of a change: where it was found, and its condition and example on the first ABI."""

    condition: str
    example: Example
    abis: set[str] = field(default_factory=set)
    programs: set[str] = field(default_factory=set)
    numbers: dict[str, Spans] = field(default_factory=dict)

    def add_numbers(self, abi: str, spans: Spans) -> None:
        self.numbers[abi] = merged((*self.numbers.get(abi, ()), *spans))


class _Merged:
    """The changes of all programs, added one after the other; equal ones are merged."""

    def __init__(self, tables: Tables, abis: Iterable[str]) -> None:
        """Begin without changes; there are programs for ``abis``."""
        self._tables = tables
        self._abis = set(abis)
        self._found: dict[_Key, _Found] = {}

    def add(self, abi: Abi, sides: tuple[FilterSemantics, FilterSemantics]) -> None:
        """Add what the program for ``abi`` answers differently.

        Raises UndecidedError as `differing_calls` does; then nothing is added.
        """
        if _alike(*sides):
            return
        for one in differing_calls(sides, abi, SAME, self._tables, by_rule=False):
            self._add_class(one, abi, sides)

    def changes(self) -> tuple[ChangedCall, ...]:
        """Return the changes, sorted."""
        for key, found in list(self._found.items()):
            own = self._found.get(replace(key, elsewhere=False))
            # If programs of several ABIs answer for one another's calls, they all change alike.
            if key.elsewhere and own and found.abis <= own.abis:
                own.programs |= found.programs
                del self._found[key]
        effects, subjects = list(ChangeEffect), list(Subject)
        made = [
            ChangedCall(
                key.effect,
                key.subject,
                key.syscall,
                tuple((name, found.numbers[name]) for name in ABIS if name in found.numbers),
                all(
                    spans == ((0, U32),)
                    if key.subject is Subject.OTHER_ABIS
                    else self._is_every_number(spans, self._tables.tables[name])
                    for name, spans in found.numbers.items()
                ),
                _sorted(found.abis),
                _sorted(found.programs),
                key.elsewhere,
                found.condition,
                key.before,
                key.after,
                key.rules,
                found.example,
            )
            for key, found in self._found.items()
        ]
        return tuple(
            sorted(
                made,
                key=lambda one: (
                    effects.index(one.effect),
                    subjects.index(one.subject),
                    one.syscall,
                    one.condition,
                    [list(ABIS).index(name) for name in (*one.abis, *one.programs)],
                ),
            )
        )

    def _add_class(
        self, one: CallClass, abi: Abi, sides: tuple[FilterSemantics, FilterSemantics]
    ) -> None:
        if one.arch is None or not self._tables.under(one.arch):
            found = self._entry(one, Subject.OTHER_ABIS, "", one.example.nr, None, abi, sides)
            found.add_numbers(abi.name, one.numbers)
        elif one.named:
            for nr, _ in one.numbers:
                table = self._tables.table_of(one.arch, nr)
                assert table
                self._entry(one, Subject.CALL, table.names[nr], nr, table, abi, sides)
        else:
            for table, spans in self._by_table(one):
                inside = any(first <= one.example.nr <= last for first, last in spans)
                nr = one.example.nr if inside else spans[0][0]
                found = self._entry(one, Subject.UNNAMED, "", nr, table, abi, sides)
                found.add_numbers(table.abi.name, spans)

    def _entry(
        self,
        one: CallClass,
        subject: Subject,
        syscall: str,
        nr: int,
        table: Table | None,
        abi: Abi,
        sides: tuple[FilterSemantics, FilterSemantics],
    ) -> _Found:
        """Return the change that this class belongs to, with this program added."""
        before, after = answer_texts(one.left, one.right, abi)
        rules = [
            dict.fromkeys(origin for pair in one.rules if (origin := pair[side])) for side in (0, 1)
        ]
        key = _Key(
            _effect(one.left, one.right),
            subject,
            syscall,
            table is not None and table.abi != abi and table.abi.name in self._abis,
            self._wordings(one, syscall, table),
            before,
            after,
            (tuple(rules[0]), tuple(rules[1])),
        )
        found = self._found.get(key)
        if found is None:
            example = self._example(one, nr, abi, sides)
            parts = one.condition(self._tables), one.origin_in_memory()
            condition = " ".join(filter(None, parts))
            found = self._found[key] = _Found(condition, example)
        found.programs.add(abi.name)
        if table:
            found.abis.add(table.abi.name)
        return found

    def _wordings(self, one: CallClass, syscall: str, table: Table | None) -> tuple[str, ...]:
        """Return the alternatives of a condition, in an order that depends on no number."""
        if () in one.conditions:
            return (one.origin_in_memory(),)
        if table is None:
            texts = [str(All(tests)) for tests in one.conditions]
        else:
            naming = self._tables.naming
            texts = [naming.condition(All(tests), syscall, table.abi) for tests in one.conditions]
        return (*sorted(texts), one.origin_in_memory())

    def _example(
        self, one: CallClass, nr: int, abi: Abi, sides: tuple[FilterSemantics, FilterSemantics]
    ) -> Example:
        call = one.example
        if one.arch is None:
            call = _through_a_known_abi(call, abi, sides)
        shown = max(arguments_looked_at(side, call) for side in sides)
        text = call_text(nr, call.arch, call.args, self._tables, shown)
        return Example(nr, call.arch, call.args, text)

    def _by_table(self, one: CallClass) -> Iterator[tuple[Table, Spans]]:
        """Yield the tables that lack numbers of the class, with these numbers."""
        for table in self._tables.under(one.arch):
            if spans := tuple(common(one.numbers, numbers_of(table.abi))):
                yield table, spans

    def _is_every_number(self, spans: Spans, table: Table) -> bool:
        """Return whether the numbers are all that the table lacks, or that no related ABI has."""
        lacked = tuple(without(numbers_of(table.abi), sorted(table.names)))
        if spans == lacked:
            return True
        for other in self._tables.dispatched_with(table.abi):
            numbers = other.numbers.values()
            lacked = tuple(common(lacked, ((0, min(numbers) - 1), (max(numbers) + 1, U32))))
        return spans == lacked


def _alike(left: FilterSemantics, right: FilterSemantics) -> bool:
    """Return True if two filters consist of the same tests or instructions."""
    if isinstance(left, Meaning) and isinstance(right, Meaning):
        ours, its = ([(one.tests, one.ret) for one in side.cases] for side in (left, right))
        return left.abi == right.abi and ours == its
    return isinstance(left, Code) and left == right


def _through_a_known_abi(
    call: Call, abi: Abi, sides: tuple[FilterSemantics, FilterSemantics]
) -> Call:
    """Return a call like ``call`` through a well-known ABI, of the same kernel if possible.

    Both filters answer it as they do ``call``. If there is no such ABI, ``call`` itself is
    returned.
    """
    answers = [side.answer(call) for side in sides]
    siblings = (ABIS[name] for name in abi.siblings)
    for other in (*siblings, *ABIS.values()):
        if other.audit_arch != abi.audit_arch and other.filters_since:
            found = replace(call, arch=other.audit_arch)
            if found.exists and [side.answer(found) for side in sides] == answers:
                return found
    return call


def _effect(left: int, right: int) -> ChangeEffect:
    before, after = _LETTING_THROUGH.permits(left), _LETTING_THROUGH.permits(right)
    if before == after:
        return ChangeEffect.OTHERWISE
    return ChangeEffect.PERMITTED if after else ChangeEffect.REFUSED


def _sorted(abis: Iterable[str]) -> tuple[str, ...]:
    there = set(abis)
    return tuple(name for name in ABIS if name in there)
