"""Policies of minijail and seccompiler, whose compilers know only call numbers and arguments.

Their programs are for one ABI and compare the number alone. A number without a rule gets the
default action, even if no call has it or if it is x32's, with bit 30 set; ``socketcall`` is a call
like any other; calls through other ABIs are killed. Our language distinguishes these cases, so a
translation states what these programs do: x32's calls get the default action, and a call that can
also be made through another gets a rule for its number.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import MOST_HINTS, Diagnostic, Position, did_you_mean
from seccompgen.core.model import comparisons
from seccompgen.core.multiplexed import entrance
from seccompgen.core.problems import Problem
from seccompgen.core.settings import FilterFlag
from seccompgen.formats.draft import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import (
        Action,
        ActionKind,
        Comparison,
        Origin,
        Predicate,
        ResolvedPolicy,
        Rule,
    )
    from seccompgen.core.tables import Tables
    from seccompgen.formats.draft import Draft

_Test = TypeVar("_Test")

MOST_ALTERNATIVES = 64
"""The most alternatives for one call: nobody could read more."""

NUMBERED_ABIS = ("x86_64", "aarch64", "riscv64")
"""The ABIs for which such files are exact: programs compare whole arguments there."""

SAID_ELSEWHERE = FilterFlag.TSYNC | FilterFlag.TSYNC_ESRCH
"""Flags that do not affect a filter's answers; whoever installs the filter chooses them."""


# --- reading ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NumberedCall:
    """A call that a file names; ``abis`` are the ABIs that it is named for, None for all."""

    name: str
    position: Position
    abis: frozenset[str] | None = None

    def concerns(self, abi: Abi) -> bool:
        """Return True if the file names the call for ``abi``."""
        return self.abis is None or abi.name in self.abis


@dataclass(frozen=True, slots=True)
class NumberedRule:
    """The answer to ``calls``; ``when`` is the condition, or returns it for a word size in bits."""

    action: str
    calls: tuple[NumberedCall, ...]
    position: Position
    when: str | Callable[[int], str] | None = None


@dataclass
class NumberedPolicy:
    """A policy in such a format, as it is read: rules in order, the first that matches wins."""

    default: tuple[str, Position]
    bad_arch: str
    rules: list[NumberedRule] = field(default_factory=list)

    def abis(self, chosen: Sequence[str], usual: Sequence[str], tables: Tables) -> list[Abi]:
        """Return the policy's ABIs: those ``chosen`` or, if none, the ``usual`` ones that fit.

        An ABI fits if it has all calls that the policy names for it. If none fits, the result is
        the first usual one.
        """
        if chosen:
            return [ABIS[name] for name in chosen]
        there = [ABIS[name] for name in usual if name in tables.tables]
        return [abi for abi in there if not any(self.lacking(abi, tables))] or there[:1]

    def lacking(self, abi: Abi, tables: Tables) -> Iterable[NumberedCall]:
        """Yield the calls that the policy names for ``abi`` and that the ABI lacks."""
        numbers = tables.tables[abi.name].numbers if abi.name in tables.tables else {}
        for rule in self.rules:
            yield from (
                call for call in rule.calls if call.concerns(abi) and call.name not in numbers
            )

    def unknown_calls(self, abis: Sequence[Abi], tables: Tables) -> list[Diagnostic]:
        """Return an error for each call that an ABI lacks: these compilers reject such calls."""
        found: dict[NumberedCall, list[str]] = {}
        for abi in abis:
            for call in self.lacking(abi, tables):
                found.setdefault(call, []).append(abi.name)
        problems: list[Diagnostic] = []
        for call, names in found.items():
            known = set().union(*(tables.tables[n].numbers for n in names if n in tables.tables))
            hint = did_you_mean(call.name, known) if len(problems) < MOST_HINTS else ""
            text = f"{', '.join(names)} has no call {call.name!r}{hint}"
            if not hint and len(abis) > len(names):
                text += "; say with --for which ABI is meant"
            problems.append(Diagnostic(text, call.position, Problem.UNKNOWN_CALL))
        return problems

    def say(self, draft: Draft, abis: Sequence[Abi], tables: Tables) -> None:
        """Add the settings and rules of the policy to ``draft``."""
        action, where = self.default
        draft.setting("arches", [abi.name for abi in abis], where)
        draft.setting("default_action", action, where)
        draft.setting("bad_arch_action", self.bad_arch, where)
        x32 = action != self.bad_arch and ABIS["x86_64"] in abis
        if x32:
            draft.setting("compat_arches", ["x32"], where)
        for rule in self.rules:
            entries: dict[tuple[str, ...], list[Entry]] = {}
            for call in rule.calls:
                for one, names in _spellings(rule, call, abis, tables).items():
                    entries.setdefault(names, []).append(one)
            everywhere = tuple(abi.name for abi in abis)
            for names, listed in entries.items():
                limit = {} if names == everywhere and not x32 else {"arches": list(names)}
                draft.rule(rule.action, listed, rule.position, **limit)


def _spellings(
    rule: NumberedRule, call: NumberedCall, abis: Sequence[Abi], tables: Tables
) -> dict[Entry, tuple[str, ...]]:
    """Return the entries that a rule becomes for one call, each with the ABIs that it is for."""
    found: dict[Entry, tuple[str, ...]] = {}
    for abi in abis:
        if call.concerns(abi):
            when = rule.when(abi.bits) if callable(rule.when) else rule.when
            numbers, multiplexer = tables.tables[abi.name].numbers, entrance(call.name)
            through = multiplexer is not None and multiplexer[0] in numbers
            entry = Entry(numbers[call.name] if through else call.name, call.position, when)
            found[entry] = (*found.get(entry, ()), abi.name)
    return found


# --- writing ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answered:
    """A call and its rules; the first match wins.

    ``rest`` answers calls that no rule matches; None if that is the format's default action.
    """

    name: str
    rules: tuple[Rule, ...]
    rest: Action | None


def answered_calls(policy: ResolvedPolicy, abi: Abi, tables: Tables) -> Iterator[Answered]:
    """Yield each call with an answer other than ``unknown_action``, the format's default."""
    table, default = tables.tables[abi.name], policy.unknown_action.ret(abi)
    rest = policy.default_action if policy.default_action.ret(abi) != default else None
    rules: dict[int, list[Rule]] = {}
    for rule in policy.rules:
        number = table.number_of(rule.name) if rule.applies_to(abi) else None
        if number is not None:
            rules.setdefault(number, []).append(rule)
    for number, name in sorted(table.names.items()):
        if rest or any(rule.action.ret(abi) != default for rule in rules.get(number, ())):
            yield Answered(name, tuple(rules.get(number, ())), rest)


def said_actions(policy: ResolvedPolicy, abi: Abi) -> dict[Action, Origin]:
    """Return the actions of a policy for ``abi``, each with its first position."""
    said = {policy.unknown_action: policy.unknown_origin}
    said.setdefault(policy.default_action, policy.default_origin)
    for rule in policy.rules:
        if rule.applies_to(abi):
            said.setdefault(rule.action, rule.origin)
    return said


@dataclass(frozen=True, slots=True)
class Target:
    """A target format: ``form`` is a file of it in messages, ``kind`` the kind of its errors.

    ``foreign`` is the answer of its programs to other ABIs; ``flags`` do not affect its files.
    """

    form: str
    kind: Problem
    foreign: ActionKind
    flags: FilterFlag = SAID_ELSEWHERE


def settings_problems(
    policy: ResolvedPolicy, abi: Abi, tables: Tables, target: Target
) -> Iterator[Diagnostic]:
    """Yield an error for each setting of a policy that ``target`` cannot express."""
    form, kind, foreign = target.form, target.kind, target.foreign.name.lower()
    if policy.bad_arch_action.ret(abi) != target.foreign.value:
        text = f"{form} cannot express {policy.said('bad_arch_action')}: it answers calls through "
        text += f"other ABIs with {foreign}; say `bad_arch_action: {foreign}`, or build with "
        text += "`--accept bad_arch_action`"
        yield Diagnostic(text, policy.bad_arch_origin.position, kind)
    others = [other.name for other in policy.compat_of(abi)]
    if {*others} - {"x32"}:
        listed = ", ".join(name for name in others if name != "x32")
        text = f"{form} is for one ABI: take {listed} out of compat_arches"
        yield Diagnostic(text, policy.arches_origin.position, kind)
    default = policy.unknown_action.ret(abi)
    if "x32" in others:
        yield from _x32_problems(policy, tables, target)
    elif abi.name == "x86_64" and policy.bad_arch_action.ret(abi) != default:
        text = f"{form} gives x32's calls its default, here {policy.said('unknown_action')}, and "
        text += f"this policy {policy.bad_arch_action}: say `unknown_action: {foreign}`; or "
        text += "`compat_arches: [x32]`, and `arches: [x86_64]` of the rules, if that is meant"
        yield Diagnostic(text, policy.unknown_origin.position, kind)
    if policy.flags & ~target.flags:
        text = f"{form} has no flags: take {', '.join((policy.flags & ~target.flags).names)} out"
        yield Diagnostic(text, Position(policy.file), kind)
    table = tables.tables[abi.name]
    for rule in policy.rules:
        number = table.number_of(rule.name) if rule.applies_to(abi) else None
        if number is not None and number not in table.names:
            text = f"{form} names calls, and {rule.name} is a number that none has"
            yield Diagnostic(text, rule.position, kind)


def _x32_problems(policy: ResolvedPolicy, tables: Tables, target: Target) -> Iterator[Diagnostic]:
    x32 = ABIS["x32"]
    if policy.default_action.ret(x32) != policy.unknown_action.ret(x32):
        text = f"{target.form} gives all of x32's calls one action, and this policy those that it "
        text += f"knows {policy.default_action}: take x32 out of compat_arches"
        yield Diagnostic(text, policy.default_origin.position, target.kind)
    for rule in policy.rules:
        if rule.applies_to(x32) and tables.tables["x32"].number_of(rule.name) is not None:
            text = f"{target.form} has no rules for x32: say `arches: [x86_64]` of {rule.name}"
            yield Diagnostic(text, rule.position, target.kind)


def conjunctions(
    condition: Predicate | None, spell: Callable[[Comparison], list[tuple[_Test, ...]]]
) -> list[tuple[_Test, ...]] | None:
    """Return a condition as alternative conjunctions of tests; None if there are too many.

    ``spell`` returns those of one comparison.
    """
    found: list[tuple[_Test, ...]] = [()]
    for test in comparisons(condition):
        found = [(*one, *more) for one, more in itertools.product(found, spell(test))]
        if len(found) > MOST_ALTERNATIVES:
            return None
    return found
