"""Rules in numbers: rules with names, as written, become rules for the compiler.

A rule whose numbers differ by ABI becomes several consecutive ones, each for some ABIs. So does a
condition with alternatives. Rules for calls that can also be made through ``socketcall`` and
``ipc`` are followed by rules for these.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.abis import X32_SYSCALL_BIT
from seccompgen.core.errors import MOST_HINTS, Diagnostic
from seccompgen.core.model import U32, U64, Comparison, Op, Rule, comparisons
from seccompgen.core.multiplexed import entrance
from seccompgen.core.problems import Problem
from seccompgen.core.sets import Sets
from seccompgen.core.text import some
from seccompgen.policy.condition_faults import Lacking
from seccompgen.policy.conditions import Lookup, TooLargeError, alternatives
from seccompgen.policy.horizon import NO_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.model import Action, Origin, Predicate
    from seccompgen.core.tables import Table, Tables
    from seccompgen.policy.conditions import NumericTest
    from seccompgen.policy.expressions import Expression
    from seccompgen.policy.horizon import Horizon

_MOST_RULES = 100_000
"""The most rules of a policy in numbers; lists of names and values multiply fast."""

_Alternatives: TypeAlias = "tuple[Predicate | None, ...]"
_MINUS_ONE = "-1"


class WrittenRule(NamedTuple):
    """A rule for a call by name, or by a number as text, as a policy writes it.

    ``arches`` are the canonical names of the ABIs that its group is for, None for all.
    ``multiplexed`` is the action if the condition cannot be checked in a multiplexed call.
    ``mention`` is the group that the name comes from, such as ``@basic-io``, empty for a name in
    the rule itself; ``spelled`` is True if that is a policy's own group which lists the name
    itself.
    """

    name: str
    expression: Expression | None
    action: Action
    position: Position
    origin: Origin
    optional: bool = False
    arches: frozenset[str] | None = None
    multiplexed: Action | None = None
    mention: str = ""
    spelled: bool = False

    def concerns(self, abi: Abi) -> bool:
        """Return True if the rule's group is for ``abi``."""
        return self.arches is None or abi.name in self.arches


class GroundRule(NamedTuple):
    """A rule in numbers; ``source`` is the index of the written rule that it comes from.

    ``source`` is None if the rule is for a multiplexed call, not for the one that the written rule
    names.
    """

    rule: Rule
    source: int | None


class Ground(NamedTuple):
    """The rules of a policy in numbers, and the ABIs that each written rule applies to."""

    rules: tuple[GroundRule, ...]
    abis: tuple[tuple[Abi, ...], ...]


class _Asked(NamedTuple):
    """The conditions of a written rule by ABI; ``has`` is the number of ABIs with the call."""

    has: int
    conditions: dict[Abi, _Alternatives]


class Grounding:
    """A translator of one policy's rules; it adds findings to ``problems`` and ``notes``."""

    def __init__(
        self,
        tables: Tables,
        answered: Sequence[Table],
        problems: list[Diagnostic],
        notes: list[Diagnostic],
        horizon: Horizon = NO_LIMIT,
    ) -> None:
        self._horizon = horizon
        self._tables = tables
        self._answered = answered
        self._problems = problems
        self._notes = notes
        self._known: dict[tuple[int, tuple[NumericTest, ...]], _Alternatives] = {}
        self._sets = Sets()
        self._made = 0

    def ground(self, lists: Iterable[Sequence[WrittenRule]]) -> Ground:
        """Return the rules of ``lists`` in numbers, in order; the rules of one list commute."""
        listed = [list(one) for one in lists]
        written = [one for rules in listed for one in rules]
        asked = [self._asked(one) for one in written]
        said = self._said_of_entrances(written, asked)
        result: list[GroundRule] = []
        first = 0
        for rules in listed:
            places = range(first, first + len(rules))
            first += len(rules)
            own = [rule for place in places for rule in self._own(written, asked, place)]
            result += _alike_together(own)
            through = [
                GroundRule(rule, None)
                for place in places
                for rule in self._through(written[place], asked[place], said)
            ]
            result += _alike_together(through)
        return Ground(tuple(result), tuple(tuple(one.conditions) for one in asked))

    # --- the calls themselves ----------------------------------------------------------------

    def _asked(self, written: WrittenRule) -> _Asked:
        """Return the alternatives of the rule's condition for each ABI that has the call."""
        here = [table for table in self._answered if written.concerns(table.abi)]
        has = [table for table in here if table.number_of(written.name) is not None]
        if written.name.lstrip("-").isdecimal():
            has = [table for table in has if self._is_own_number(written, table)]
        if written.mention and not written.spelled:
            lacks = self._horizon.lacks
            has = [table for table in has if not lacks(written.name, table.abi.name)]
        if written.expression is None:
            return _Asked(len(has), {table.abi: (None,) for table in has})
        return _Asked(len(has), self._conditional(written, written.expression, has))

    def _conditional(
        self, written: WrittenRule, expression: Expression, has: Sequence[Table]
    ) -> dict[Abi, _Alternatives]:
        """Return the alternatives of ``expression`` for each ABI that has all names in it."""
        # A group may permit less if names in its own condition are missing, which is reported at
        # the mention. It must not refuse less.
        narrower = written.mention and written.action.kind.lets_through
        skipped = written.position if narrower else None
        abis = [table.abi for table in has]
        lacking = Lacking(written.name, self._tables.facts, abis, skipped)
        found: dict[Abi, _Alternatives] = {}
        try:
            for table in has:
                lookup = Lookup(self._tables.facts, table.abi)
                call = table.names.get(table.number_of(written.name) or 0, written.name)
                name = written.name if written.name in table.numbers else call
                tests = lookup.numbers(expression, name)
                lacking.add(lookup, table.abi)
                if tests is None:
                    continue
                found[table.abi] = self._alternatives(expression, tests)
        except TooLargeError:
            text = "this condition has too many alternatives: split it into several groups"
            self._problems.append(Diagnostic(text, written.position, Problem.LARGE_CONDITION))
            return {}
        hints = len(self._problems) < MOST_HINTS
        self._problems += lacking.problems(optional=written.optional, hints=hints)
        self._notes += lacking.notes(optional=written.optional)
        return found

    def _alternatives(
        self, expression: Expression, tests: tuple[NumericTest, ...]
    ) -> _Alternatives:
        key = id(expression), tests
        if key not in self._known:
            self._known[key] = alternatives(expression, tests)
        return self._known[key]

    def _own(
        self, written: Sequence[WrittenRule], asked: Sequence[_Asked], place: int
    ) -> list[GroundRule]:
        """Return the written rule at ``place`` as rules in numbers for the call that it names."""
        one, found = written[place], asked[place].conditions
        where: dict[Predicate | None, list[str]] = {}
        for abi, conditions in found.items():
            for condition in conditions:
                where.setdefault(condition, []).append(abi.name)
        self._made += len(where)
        if self._made > _MOST_RULES:
            text = f"more than {_MOST_RULES:,} rules, once lists and conditions are worked out"
            self._problems.append(Diagnostic(text, one.position, Problem.LARGE_CONDITION))
            return []
        everywhere = one.arches is None and not one.name.isdecimal()
        return [
            GroundRule(
                _rule(
                    one,
                    condition,
                    None if everywhere and len(abis) == asked[place].has else frozenset(abis),
                ),
                place,
            )
            for condition, abis in where.items()
        ]

    def _is_own_number(self, written: WrittenRule, table: Table) -> bool:
        """Return True if the rule's number is ``table``'s; otherwise report a problem."""
        if written.name == _MINUS_ONE:
            return True
        if written.arches is None and len(self._answered) > 1:
            text = (
                f"{written.name} is another call on each ABI: name those that are meant, with "
                "'arches' in this group"
            )
            kind = Problem.NUMBER_WITHOUT_ARCHES
            self._problems.append(Diagnostic(text, written.position, kind))
            return False
        number = int(written.name) & U32
        if _is_foreign(number, table, self._tables):
            text = f"{written.name} is no number of {table.abi.name}, but of another ABI beside it"
            self._problems.append(Diagnostic(text, written.position, Problem.FOREIGN_NUMBER))
            return False
        return True

    # --- socketcall and ipc ------------------------------------------------------------------

    def _said_of_entrances(
        self, written: Sequence[WrittenRule], asked: Sequence[_Asked]
    ) -> dict[tuple[str, str], list[_Alternatives]]:
        """Return the conditions of all rules, by ABI and name of the call."""
        found: dict[tuple[str, str], list[_Alternatives]] = {}
        for one, of_one in zip(written, asked, strict=True):
            for abi, own in of_one.conditions.items():
                found.setdefault((abi.name, one.name), []).append(own)
        return found

    def _through(
        self,
        written: WrittenRule,
        asked: _Asked,
        said: dict[tuple[str, str], list[_Alternatives]],
    ) -> list[Rule]:
        """Return the rules of ``written`` for the multiplexed call that can make its call, too."""
        way = entrance(written.name)
        if way is None:
            return []
        name, number, mask = way
        has = [
            table.abi
            for table in self._answered
            if written.concerns(table.abi) and name in table.numbers
        ]
        always, unsaid, seen = [], [], []
        for abi in has:
            conditions = asked.conditions.get(abi)
            if written.expression is None or conditions == (None,):
                always.append(abi.name)
            elif conditions == ():
                continue
            elif written.multiplexed is not None:
                seen.append(abi.name)
            elif not any(self._covers(c, number) for c in said.get((abi.name, name), ())):
                unsaid.append(abi.name)
        if unsaid:
            text = (
                f"{written.name!r} can also be made through {name} on {some(unsaid)}, where no "
                "filter sees its arguments: write 'multiplexed: errno(EPERM)' at the top, or "
                "another action"
            )
            without = [table.abi for table in self._answered if table.abi not in has]
            if usual := [abi.name for abi in without if abi.bits == 64][:2]:
                text += f"; or, if these are all it is for, 'arches: [{', '.join(usual)}]'"
            self._problems.append(Diagnostic(text, written.position, Problem.MULTIPLEXED_UNSAID))
        whole = mask == U32
        test = Comparison(0, Op.EQ if whole else Op.MASKED_EQ, number, U64 if whole else mask, 32)
        return [
            replace(_rule(written, test, frozenset(abis)), name=name, action=action)
            for abis, action in ((always, written.action), (seen, written.multiplexed))
            if abis and action is not None
        ]

    def _covers(self, conditions: _Alternatives, number: int) -> bool:
        """Return True if one of ``conditions`` holds whenever the first argument is ``number``."""
        for condition in conditions:
            tests = list(comparisons(condition))
            if all(t.argument == 0 and self._sets.has(self._sets.of(t), number) for t in tests):
                return True
        return False


def _rule(written: WrittenRule, condition: Predicate | None, abis: frozenset[str] | None) -> Rule:
    return Rule(
        written.name,
        condition,
        written.action,
        written.position,
        written.origin,
        group=written.mention,
        abis=abis,
    )


def _alike_together(rules: Sequence[GroundRule]) -> list[GroundRule]:
    """Return the rules of one list, reordered so that equal conditions are adjacent."""
    alike: dict[object, list[GroundRule]] = {}
    for one in rules:
        key = one.rule.condition, one.rule.abis, one.rule.action
        alike.setdefault(key, []).append(one)
    return [one for found in alike.values() for one in found]


def _is_foreign(number: int, table: Table, tables: Tables) -> bool:
    """Return True if a kernel dispatches ``number`` to another ABI than that of ``table``."""
    if table.abi.audit_arch_name == "AUDIT_ARCH_X86_64":
        return number != U32 and bool(number & X32_SYSCALL_BIT) != (table.abi.name == "x32")
    others = (other.numbers.values() for other in tables.dispatched_with(table.abi))
    return any(min(numbers) <= number <= max(numbers) for numbers in others)
