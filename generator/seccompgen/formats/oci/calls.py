"""The meaning that libseccomp gives the rules of a profile, on one ABI.

A rule is for every ABI of its filter that has the call. Rules have no order: the first rule without
comparisons decides its call alone; otherwise every rule with comparisons applies. A 32-bit ABI's
arguments are compared by their low words, with the low words of values. Where sockets and System V
IPC can be reached through ``socketcall`` and ``ipc``, a rule for one of their calls also adds a
rule for these, in which the call's number replaces the test of the first argument.

Source: seccomp_rule_add(3); tests compare with libseccomp itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.equalities import OverlapIndex, low_words, word_values
from seccompgen.core.model import U32, U64, Action, All, Comparison, Op
from seccompgen.core.multiplexed import entrance
from seccompgen.core.sets import EVERYTHING, NOTHING, Sets
from seccompgen.formats.draft import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.errors import Position
    from seccompgen.core.tables import Table
    from seccompgen.formats.oci.form import EntryMatch, ProfileEntry


_CONFUSED = {Op.NE, Op.LT, Op.LE, Op.GT, Op.GE}


@dataclass(frozen=True, slots=True)
class CallRule:
    """A rule for one call: ``tests`` must all hold; ``entry`` is the index of its profile entry."""

    name: str
    tests: tuple[Comparison, ...]
    action: Action
    position: Position
    entry: int


_Meaning: TypeAlias = tuple[tuple[Comparison, ...], Action]


@dataclass
class AbiRules:
    """The rules of one ABI by number, as libseccomp keeps them.

    ``never`` are rules that can never match. ``hidden`` are pairs of a rule and another, with a
    different action, that overrides it.
    """

    table: Table
    sets: Sets = field(default_factory=Sets)
    always: dict[int, CallRule] = field(default_factory=dict)
    tested: dict[int, dict[_Meaning, CallRule]] = field(default_factory=dict)
    never: list[CallRule] = field(default_factory=list)
    hidden: list[tuple[CallRule, CallRule]] = field(default_factory=list)

    def add(self, rule: CallRule) -> None:
        """Add a rule, and its counterpart for the call through which its own can be made."""
        for one in self._spread(rule):
            number = self.table.numbers[one.name]
            if number in self.always:
                self._hide(one, self.always[number])
            elif one.tests:
                self._add_tested(number, one)
            else:
                for other in self.tested.pop(number, {}).values():
                    self._hide(other, one)
                self.always[number] = one

    def rules(self) -> Iterator[CallRule]:
        """Yield the rules in force."""
        yield from self.always.values()
        for rules in self.tested.values():
            yield from rules.values()

    def drop_above(self, last: int) -> None:
        """Drop the rules for numbers above ``last``."""
        self.always = {n: one for n, one in self.always.items() if n <= last}
        self.tested = {n: rules for n, rules in self.tested.items() if n <= last}

    def clashes(self) -> Iterator[tuple[CallRule, CallRule]]:
        """Yield pairs of rules with different actions that one call matches."""
        for rules in self.tested.values():
            earlier: dict[Action, tuple[OverlapIndex, list[CallRule]]] = {}
            for one in rules.values():
                words = low_words(one.tests)
                others = (
                    made[i]
                    for action, (index, made) in earlier.items()
                    if action != one.action
                    for i in index.near(words)
                )
                if found := next((other for other in others if self._overlap(one, other)), None):
                    yield found, one
                of_action = earlier.setdefault(one.action, (OverlapIndex(), []))
                of_action[0].add(words)
                of_action[1].append(one)

    def _overlap(self, one: CallRule, other: CallRule) -> bool:
        boxes = (self.sets.box(All(rule.tests)) for rule in (one, other))
        return NOTHING not in self.sets.common(*boxes)

    def doubtful(self) -> Iterator[CallRule]:
        """Yield one rule of each call whose comparisons libseccomp 2.6 can confuse.

        Its trees are right for several rules of one call if these compare by ``==`` and masks, or
        if they compare one argument alone, with values of equal high words.
        """
        for rules in self.tested.values():
            tests = [test for rule in rules.values() for test in rule.tests]
            confused = any(test.op in _CONFUSED for test in tests)
            alike = {(test.argument, test.value >> 32) for test in tests}
            if len(rules) > 1 and confused and len(alike) > 1:
                yield list(rules.values())[-1]

    def _spread(self, rule: CallRule) -> Iterator[CallRule]:
        through = entrance(rule.name)
        if through and through[0] in self.table.numbers:
            tests = (Comparison(0, Op.EQ, through[1]), *(t for t in rule.tests if t.argument))
            yield self._narrowed(replace(rule, name=through[0], tests=tests))
        if rule.name in self.table.numbers:
            yield self._narrowed(rule)

    def _narrowed(self, rule: CallRule) -> CallRule:
        """Return the rule with tests as wide as the ABI's arguments, but none that always hold."""
        if not rule.tests:
            return rule
        most = U64 if self.table.abi.bits == 64 else U32
        tests = []
        for test in rule.tests:
            mask, value = test.mask & most, test.value & test.mask & most
            if test.op is Op.MASKED_EQ and not mask:
                continue
            width = 64 if most == U64 else 32
            tests.append(replace(test, mask=mask, value=value, width=width))
        return replace(rule, tests=tuple(tests))

    def _add_tested(self, number: int, rule: CallRule) -> None:
        sure = word_values(rule.tests) is not None  # such a condition holds for some calls
        if sure or NOTHING not in self.sets.box(All(rule.tests)):
            rules = self.tested.setdefault(number, {})
            rules.setdefault((rule.tests, rule.action), rule)
        else:
            self.never.append(rule)

    def _hide(self, rule: CallRule, by: CallRule) -> None:
        if rule.action != by.action:
            self.hidden.append((rule, by))

    def is_always(self, rule: CallRule) -> bool:
        """Return True if the tests of a rule hold for all arguments."""
        if word_values(rule.tests):
            return False
        box = self.sets.box(All(rule.tests))
        if self.table.abi.bits == 64:
            return box == EVERYTHING
        return all(self.sets.box(test) == EVERYTHING for test in rule.tests)


class RulePiece(NamedTuple):
    """Rules that make one group: of one entry, with one action, on the same ABIs.

    ``arches`` is None if these are all ABIs that have the calls.
    """

    entry: int
    action: Action
    arches: tuple[str, ...] | None


def rule_pieces(
    own: Iterable[tuple[AbiRules, CallRule]], everywhere: Sequence[AbiRules], *, exact: bool = False
) -> list[tuple[RulePiece, list[Entry]]]:
    """Return rules as groups in the order of their entries; ``everywhere`` has all ABIs.

    With ``exact``, no rule for a call is one for the multiplexed call that also makes it.
    """
    where: dict[tuple[int, str, str | None, Action, Position], list[str]] = {}
    for of_abi, rule in own:
        when = _when(rule.tests) if rule.tests and not of_abi.is_always(rule) else None
        key = rule.entry, rule.name, when, rule.action, rule.position
        where.setdefault(key, []).append(of_abi.table.abi.name)
    pieces: dict[RulePiece, list[Entry]] = {}
    for (entry, name, when, action, position), names in where.items():
        through = entrance(name) if exact else None
        ways = {name, through[0]} if through else {name}
        has = [one.table.abi.name for one in everywhere if ways & one.table.numbers.keys()]
        arches = None if set(names) == set(has) else tuple(names)
        pieces.setdefault(RulePiece(entry, action, arches), []).append(Entry(name, position, when))
    for entries in pieces.values():
        entries.sort(key=lambda one: one.position)
    return sorted(pieces.items(), key=lambda item: item[0].entry)


def _when(tests: Sequence[Comparison]) -> str:
    """Return the condition that all of ``tests`` hold, in our language."""
    parts = []
    for test in tests:
        argument = f"u{test.width}(arg{test.argument})"
        if test.op is Op.MASKED_EQ and test.mask == U32:
            parts.append(f"u32(arg{test.argument}) == {test.value}")
        elif test.op is Op.MASKED_EQ:
            parts.append(f"{argument} & {test.mask:#x} == {test.value:#x}")
        else:
            parts.append(f"{argument} {test.op.value} {test.value}")
    return " and ".join(parts)


def call_rules(
    entries: Sequence[ProfileEntry], default: Action, *, splits: bool
) -> Iterator[CallRule]:
    """Yield the rules that a runtime makes of ``entries``, without those of action ``default``.

    If an entry compares one argument twice, a runtime that ``splits`` makes a rule of each of its
    comparisons.
    """
    for place, entry in enumerate(entries):
        if entry.action == default:
            continue
        alternatives = conjunctions(entry, splits=splits)
        for name, position in entry.names:
            for found in alternatives:
                yield CallRule(name, found, entry.action, position, place)


def conjunctions(entry: ProfileEntry, *, splits: bool) -> list[tuple[Comparison, ...]]:
    """Return the tests of an entry: those of one of the groups must all hold."""
    tests = [_test(match) for match in entry.matches]
    return [(one,) for one in tests] if splits and repeats(entry) else [tuple(tests)]


def repeats(entry: ProfileEntry) -> bool:
    """Return True if one argument is compared twice."""
    return len({match.index for match in entry.matches}) < len(entry.matches)


def _test(match: EntryMatch) -> Comparison:
    if match.op is Op.MASKED_EQ:
        return Comparison(match.index, match.op, match.value_two, match.value)
    return Comparison(match.index, match.op, match.value)
