"""A policy as one answer a number, for formats that know nothing else; and why it cannot be.

minijail and seccompiler make programs for one ABI: numbers without a rule get one default action,
also those that no call has and those of x32; calls through other ABIs are killed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, Position
from seccompgen.core.model import FilterFlag, comparisons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    from seccompgen.core.problems import Problem
    from seccompgen.core.tables import Tables

_Test = TypeVar("_Test")

MOST_ALTERNATIVES = 64
"""The most alternatives for one call: nobody could read more."""

NUMBERED_ABIS = ("x86_64", "aarch64", "riscv64")
"""The ABIs for which such files are exact: their programs take arguments whole."""

SAID_ELSEWHERE = FilterFlag.TSYNC | FilterFlag.TSYNC_ESRCH
"""Flags that change nothing of what a filter answers, and are whoever's who installs it."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A call's own name and its rules, the first that matches wins; ``rest`` is for what is left.

    ``rest`` is None where that is the default of the format.
    """

    name: str
    rules: tuple[Rule, ...]
    rest: Action | None


def answered_calls(policy: ResolvedPolicy, abi: Abi, tables: Tables) -> Iterator[Answered]:
    """Yield each call that has another answer than ``unknown_action``, which is the default."""
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
    """Return the actions of a policy for ``abi``, each with the first place where it is said."""
    said = {policy.unknown_action: policy.unknown_origin}
    said.setdefault(policy.default_action, policy.default_origin)
    for rule in policy.rules:
        if rule.applies_to(abi):
            said.setdefault(rule.action, rule.origin)
    return said


@dataclass(frozen=True, slots=True)
class Target:
    """A format: what messages call a file of it, the kind of what it cannot say.

    ``foreign`` is what its programs answer to other ABIs; ``flags`` change nothing of its files.
    """

    form: str
    kind: Problem
    foreign: ActionKind
    flags: FilterFlag = SAID_ELSEWHERE


def settings_problems(
    policy: ResolvedPolicy, abi: Abi, tables: Tables, target: Target
) -> Iterator[Diagnostic]:
    """Yield what a policy says as a whole and no file of ``target`` can."""
    form, kind, foreign = target.form, target.kind, target.foreign.name.lower()
    if policy.bad_arch_action.ret(abi) != target.foreign.value:
        text = (
            f"{form} cannot say {policy.said('bad_arch_action')}: it answers calls through other "
        )
        text += f"ABIs with {foreign}; say `bad_arch_action: {foreign}`"
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
        yield Diagnostic(text, Position(policy.sources[-1][0]), kind)
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
    """Return conjunctions of tests of which one must hold; None for too many.

    ``spell`` gives those of one comparison.
    """
    found: list[tuple[_Test, ...]] = [()]
    for test in comparisons(condition):
        found = [(*one, *more) for one, more in itertools.product(found, spell(test))]
        if len(found) > MOST_ALTERNATIVES:
            return None
    return found
