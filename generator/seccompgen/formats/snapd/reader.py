"""Translate snapd's policies into our language, as snap-seccomp and libseccomp understand them.

snapd installs two filters: one that allows what the rules name and answers all else with EPERM, and
one that answers what rules with ``~`` name with EACCES. The kernel takes the stricter answer, and
of two errors that of the filter which was installed last, the first one here. So a call that is
denied and not allowed gets EPERM. With ``@complain`` all that is not allowed is logged, and what is
denied gets EACCES. Calls through other ABIs end the thread, those of x32 as well.

Sources: cmd/snap-seccomp/main.go and cmd/snap-confine/seccomp-support.c of canonical/snapd; tests
compare with snap-seccomp's own programs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING

from seccompgen.core.errors import MOST_HINTS, Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.model import Action, ActionKind, All, Op, Origin, Rule
from seccompgen.core.multiplexed import MULTIPLEXED, entrance
from seccompgen.core.problems import Problem
from seccompgen.core.reach import reach
from seccompgen.core.sets import NOTHING
from seccompgen.core.text import some
from seccompgen.formats.draft import Draft
from seccompgen.formats.oci.calls import AbiRules, CallRule, rule_pieces
from seccompgen.formats.snapd.constants import NEWER, constant_value
from seccompgen.formats.snapd.grammar import SnapdProfile, SnapdRule, parse, tests_of
from seccompgen.formats.source_comments import line_comments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables

_MACHINES: dict[str, tuple[str, ...]] = {
    "x86_64": ("i386",), "i386": (), "aarch64": ("arm",), "arm": (), "ppc64le": (),
    "ppc64": ("ppc",), "ppc": (), "s390x": (), "riscv64": (),
}  # fmt: skip
"""The machines of snapd, and the other ABIs of its filters there."""
_ALLOWED = Action(ActionKind.ALLOW)
_DENIED = Action(ActionKind.ERRNO, 13)
_DEFAULT = Action(ActionKind.ERRNO, 1)
_LOGGED = Action(ActionKind.LOG)
_LAST = 1 << 32
"""The entry of rules after all others; those of rules that deny are below 0."""


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return the policy in ``text``. Raises InputError with every error."""
    draft = Draft(file)
    profile = parse(text, file)
    machines = draft.machines(reading, _MACHINES, "snapd")
    draft.comments += line_comments(text, file, trailing=False)
    start = Position(file, 1, 1)
    draft.setting("arches", [one.name for one in machines], start)
    if profile.unrestricted and not profile.faults:
        draft.setting("default_action", "allow", profile.unrestricted)
        draft.setting("bad_arch_action", "allow", profile.unrestricted)
        said = "with @unrestricted snapd installs no filter, whatever else the policy says"
        draft.note(said, profile.unrestricted, Problem.OTHER_FILTER)
        return draft
    _Translation(profile, draft, tables, machines).write()
    return draft


@dataclass
class _TwoFilters:
    """The rules of snapd's two filters on one ABI."""

    allow: AbiRules
    deny: AbiRules
    default: Action

    def combined(self) -> Iterator[CallRule]:
        """Yield rules that give each call the kernel's choice; the first that matches decides."""
        numbers = dict.fromkeys(
            (*self.deny.always, *self.deny.tested, *self.allow.always, *self.allow.tested)
        )
        for number in numbers:
            yield from _reached([*self._denied(number), *_of(self.allow, number)], self.allow)

    def _denied(self, number: int) -> Iterator[CallRule]:
        """Yield the rules for what both is denied and would otherwise be let through."""
        allowed = _of(self.allow, number)
        for deny in _of(self.deny, number):
            if self.default == _LOGGED or number in self.allow.always:
                yield deny
                continue
            for allow in allowed:
                tests = tuple(dict.fromkeys((*deny.tests, *allow.tests)))
                if NOTHING not in self.allow.sets.box(All(tests)):
                    yield replace(deny, tests=tests)


def _of(rules: AbiRules, number: int) -> list[CallRule]:
    always = rules.always.get(number)
    return [always] if always else [*rules.tested.get(number, {}).values()]


def _reached(rules: list[CallRule], of: AbiRules) -> list[CallRule]:
    """Return the rules for one call that some arguments reach."""
    if len(rules) == 1:
        return rules
    made = tuple(
        Rule(one.name, All(one.tests) if one.tests else None, one.action, one.position,
             Origin(one.name, one.position))
        for one in rules
    )  # fmt: skip
    dead = {one.index for one in reach(made, of.table.abi.argument_bits).dead}
    return [one for i, one in enumerate(rules) if i not in dead]


@dataclass
class _Translation:
    """Adds the rules of a policy to ``draft``."""

    profile: SnapdProfile
    draft: Draft
    tables: Tables
    machines: Sequence[Abi]
    faults: list[Diagnostic] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.default = _LOGGED if self.profile.complain else _DEFAULT
        self.known = self.tables.calls.union(*(one.split() for one in MULTIPLEXED.values()))
        self.filters = {
            abi: [_TwoFilters(AbiRules(table), AbiRules(table), self.default)
                  for name in (abi.name, *_MACHINES[abi.name])
                  if (table := self.tables.tables.get(name)) is not None]
            for abi in self.machines
        }  # fmt: skip

    def write(self) -> None:
        for machine in self.machines:
            for rule in self.profile.rules:
                if rule.name in self.known:
                    self._add(rule, machine)
        self._note_unknown()
        self._note_newer()
        self._note_rules()
        faults = [*self.profile.faults, *self.faults]
        if faults:
            raise InputError(*sorted(dict.fromkeys(faults), key=_where))
        self.draft.notes[:] = sorted(dict.fromkeys(self.draft.notes), key=_where)
        self._settings()
        everywhere = [one.allow for filters in self.filters.values() for one in filters]
        own = [
            (one.allow, rule)
            for filters in self.filters.values()
            for one in filters
            for rule in one.combined()
        ]
        self._write_entrances(own, everywhere)
        others = [(abi, rule) for abi, rule in own if rule.name not in MULTIPLEXED]
        self._write(others, everywhere)

    def _add(self, rule: SnapdRule, machine: Abi) -> None:
        """Add a rule to the filter that it is for, on each ABI of a machine."""

        def value(name: str) -> int | None:
            return constant_value(name, machine, self.tables.facts)

        tests = [*tests_of(rule, value, self.faults)]
        for test in tests:
            if test.comparison.op is Op.MASKED_EQ and not test.comparison.mask:
                text = "with a mask of 0 this comparison always holds"
                self.draft.note(text, test.at, Problem.ALWAYS_TRUE)
        entry = rule.at.line - (_LAST if rule.denies else 0)
        comparisons = tuple(one.comparison for one in tests)
        made = CallRule(
            rule.name, comparisons, _DENIED if rule.denies else _ALLOWED, rule.at, entry
        )
        for each in self.filters[machine]:
            (each.deny if rule.denies else each.allow).add(made)

    # --- what is written ---------------------------------------------------------------------

    def _settings(self) -> None:
        start = Position(self.draft.file, 1, 1)
        compat = dict.fromkeys(other for one in self.machines for other in _MACHINES[one.name])
        if compat:
            self.draft.setting("compat_arches", [*compat], start)
        self.draft.setting("default_action", str(self.default), self.profile.complain or start)
        self.draft.setting("bad_arch_action", "kill_thread", start)
        self.draft.setting("flags", ["log"], start)

    def _write_entrances(
        self, own: list[tuple[AbiRules, CallRule]], everywhere: list[AbiRules]
    ) -> None:
        """Write complete rules for socketcall and ipc, so that no other rules apply to them."""
        for name in MULTIPLEXED:
            found: list[tuple[AbiRules, CallRule]] = []
            for abi in everywhere:
                rules = [rule for one, rule in own if one is abi and rule.name == name]
                at = [rule.position for one, rule in own if one is abi and _makes(name, rule)]
                if name in abi.table.numbers and at:
                    rules.append(CallRule(name, (), self.default, max(at), _LAST))
                found += [(abi, rule) for rule in _reached(rules, abi)]
            self._write(found, everywhere)

    def _write(
        self, own: Iterable[tuple[AbiRules, CallRule]], everywhere: Sequence[AbiRules]
    ) -> None:
        for piece, entries in rule_pieces(own, everywhere):
            lacks = any(
                one.name not in each.table.numbers for one in entries for each in everywhere
            )
            more: dict[str, object] = {"optional": True} if lacks else {}
            if piece.arches is not None:
                more = {"arches": [*piece.arches]}
            self.draft.rule(str(piece.action), entries, entries[0].position, **more)

    # --- remarks -----------------------------------------------------------------------------

    def _note_unknown(self) -> None:
        """Add a note on lines whose name snapd ignores; adjacent ones get one note."""
        unknown = [one for one in self.profile.rules if one.name not in self.known]
        runs = groupby(enumerate(unknown), lambda item: item[1].at.line - item[0])
        for count, (_, run) in enumerate(runs):
            rules = [rule for _, rule in run]
            names = [repr(one.name) for one in rules]
            hint = did_you_mean(rules[0].name, self.known) if count < MOST_HINTS else ""
            text = f"snapd ignores {'this line' if len(names) == 1 else 'these lines'}: "
            text += f"no call is named {some(names)}{hint}"
            self.draft.note(text, rules[0].at, Problem.IGNORED_TEXT)

    def _note_rules(self) -> None:
        """Add a note on rules without use, and on those that libseccomp can confuse."""
        each = [one for filters in self.filters.values() for one in filters]
        for rules in (rules for one in each for rules in (one.allow, one.deny)):
            for one in rules.never:
                text = f"this rule for {one.name} never matches"
                self.draft.note(text, one.position, Problem.RULE_SKIPPED)
            for one in rules.doubtful():
                text = f"libseccomp up to 2.6 can answer {one.name} otherwise than its lines say: "
                text += "several compare by order or by !"
                self.draft.note(text, one.position, Problem.CONFLICTING_SETTINGS)

    def _note_newer(self) -> None:
        """Add a note if older releases refuse the policy."""
        newer = {
            name: at
            for rule in reversed(self.profile.rules)
            for word, at in rule.words
            for name in NEWER & {*re.split(r"[|!<>=]", word)}
        }
        if newer:
            text = f"snapd 2.68 and older refuse this policy: they know no {some(sorted(newer))}"
            self.draft.note(text, min(newer.values()), Problem.TOOLS_DIFFER)


def _makes(name: str, rule: CallRule) -> bool:
    """Return True if our language takes a rule for one of the calls that ``name`` makes."""
    through = entrance(rule.name)
    return rule.name == name or (through is not None and through[0] == name)


def _where(one: Diagnostic) -> tuple[Position, str]:
    return one.position or Position(""), one.message
