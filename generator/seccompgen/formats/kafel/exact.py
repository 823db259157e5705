"""Rules for call numbers, as the compilers of other tools understand them.

There a rule for ``socket`` matches that number alone, and not ``socketcall``. So a translated rule
names the call only if our language means the same by its name; otherwise it has the number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import X32_SYSCALL_BIT
from seccompgen.core.errors import Diagnostic
from seccompgen.core.model import U32, Action, ActionKind, Comparison, Op, Origin, Rule
from seccompgen.core.multiplexed import entrance
from seccompgen.core.problems import Problem
from seccompgen.core.reach import reach
from seccompgen.formats.draft import Entry
from seccompgen.policy.conditions import Lookup, TooLargeError, alternatives
from seccompgen.policy.expressions import ExpressionError, parse_condition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.errors import Position
    from seccompgen.core.model import Predicate
    from seccompgen.core.tables import Table, Tables
    from seccompgen.formats.draft import Draft


def exact_name(number: int, table: Table) -> str | int:
    """Return the call's name if our rule for it matches ``number`` alone, or else ``number``."""
    name = table.names.get(number)
    through = entrance(name) if name else None
    if name is None or (through is not None and through[0] in table.numbers):
        return number
    return name


def is_other_abis(number: int, table: Table) -> bool:
    """Return True if ``number``, under the audit value of ``table``, belongs to another ABI."""
    if table.abi.name not in {"x86_64", "x32"} or number == U32:
        return False
    return bool(number & X32_SYSCALL_BIT) != (table.abi.name == "x32")


class _Written(NamedTuple):
    """A rule of a foreign policy, and its block, given by action and position."""

    number: int
    when: str | None
    at: Position
    block: tuple[str, Position]


@dataclass
class ExactRules:
    """Rules for calls of one ABI, which `write` adds to ``draft``; the first that matches wins.

    A rule that no call reaches is omitted with a note: our language rejects it as a mistake, other
    languages do not. With ``scoped``, groups name their ABI.
    """

    draft: Draft
    table: Table
    tables: Tables
    scoped: bool
    _rules: list[_Written] = field(default_factory=list)

    def add(self, number: int, when: str | None, at: Position, block: tuple[str, Position]) -> None:
        """Add a rule; ``block`` is the action and the position of the block that contains it.

        Consecutive blocks with the same action and position become one.
        """
        self._rules.append(_Written(number, when, at, block))

    def write(self) -> None:
        """Add all rules to the draft."""
        more = {"arches": [self.table.abi.name]} if self.scoped else {}
        dead = self._dead()
        reached = (one for i, one in enumerate(self._rules) if i not in dead)
        for (action, position), rules in groupby(reached, key=lambda one: one.block):
            entries = [Entry(exact_name(o.number, self.table), o.at, o.when) for o in rules]
            self.draft.rule(action, entries, position, **more)

    def _dead(self) -> set[int]:
        """Return the indices of rules that no call reaches; add a note for each."""
        by_number: dict[int, list[int]] = {}
        for i, one in enumerate(self._rules):
            by_number.setdefault(one.number, []).append(i)
        dead: set[int] = set()
        for number, indices in by_number.items():
            if len(indices) == 1 and self._rules[indices[0]].when is None:
                continue
            dead.update(self._dead_among(number, indices))
        return dead

    def _dead_among(self, number: int, indices: list[int]) -> Iterator[int]:
        name = exact_name(number, self.table)
        made: list[Rule] = []
        of: list[int] = []
        for i in indices:
            one = self._rules[i]
            for condition in self._conditions(one):
                origin = Origin(str(name), one.at)
                made.append(Rule(str(name), condition, _ANY, one.at, origin))
                of.append(i)
        hidden = {
            one.index: one.hidden_by
            for one in reach(tuple(made), self.table.abi.argument_bits).dead
        }
        for i in indices:
            own = [k for k, source in enumerate(of) if source == i]
            if not all(k in hidden for k in own):
                continue
            yield i
            by = [rule for k in own for rule in hidden[k] if rule.position != self._rules[i].at]
            why = f"{by[0].position} answers first" if by else "its condition never holds"
            text = f"this rule for {name} never matches, and is left out: {why}"
            note = Diagnostic(text, self._rules[i].at, Problem.RULE_SKIPPED)
            self.draft.notes.append(note)

    def _conditions(self, one: _Written) -> tuple[Predicate | None, ...]:
        """Return the alternatives of a rule's condition; on failure, two that cover all calls."""
        if one.when is None:
            return (None,)
        try:
            expression = parse_condition(one.when)
            tests = Lookup(self.tables.facts, self.table.abi).numbers(expression, "")
            return alternatives(expression, tests or ())
        except (ExpressionError, TooLargeError):
            # The checks of our own language report the error; such a pair makes no other rule dead.
            return (Comparison(0, Op.EQ, 0), Comparison(0, Op.NE, 0))


_ANY = Action(ActionKind.ALLOW)
"""An action for rules whose actions do not matter, only their order."""
