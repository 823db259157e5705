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
    from seccompgen.core.tables import Tables

_Test = TypeVar("_Test")

MOST_ALTERNATIVES = 64
"""The most alternatives for one call: nobody could read more."""

NUMBERED_ABIS = ("x86_64", "aarch64", "riscv64")
"""The ABIs for which such files are exact: their programs take arguments whole."""

_SAID_ELSEWHERE = FilterFlag.TSYNC | FilterFlag.TSYNC_ESRCH
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


def settings_problems(
    policy: ResolvedPolicy,
    abi: Abi,
    tables: Tables,
    form: str,
    foreign: ActionKind,
    flags: FilterFlag = _SAID_ELSEWHERE,
) -> Iterator[Diagnostic]:
    """Yield what a policy says as a whole and no file of ``form`` can.

    ``foreign`` is what its programs answer to other ABIs; it can say ``flags``.
    """
    if policy.bad_arch_action.ret(abi) != foreign.value:
        yield Diagnostic(
            f"{form} answers calls through other ABIs with {foreign.name.lower()}: say "
            f"`bad_arch_action: {foreign.name.lower()}`, not {policy.bad_arch_action}",
            policy.bad_arch_origin.position,
        )
    x32, others = ABIS["x32"], policy.compat_of(abi)
    if [other for other in others if other is not x32]:
        listed = ", ".join(other.name for other in others if other is not x32)
        yield Diagnostic(
            f"{form} makes programs for one ABI: take {listed} out of compat_arches",
            policy.arches_origin.position,
        )
    default = policy.unknown_action.ret(abi)
    if x32 in others:
        yield from _x32_problems(policy, tables, form)
    elif abi.name == "x86_64" and policy.bad_arch_action.ret(abi) != default:
        yield Diagnostic(
            f"{form} gives x32's calls the default action, {policy.unknown_action}, and this "
            f"policy {policy.bad_arch_action}: say `compat_arches: [x32]`, and of the rules "
            "`arches: [x86_64]`, if that is meant",
            policy.unknown_origin.position,
        )
    if policy.flags & ~(_SAID_ELSEWHERE | flags):
        said = ", ".join((policy.flags & ~(_SAID_ELSEWHERE | flags)).names)
        yield Diagnostic(
            f"{form} has no flags: take {said} out of flags", Position(policy.sources[-1][0])
        )
    yield from _nameless(policy, abi, tables, form)


def _x32_problems(policy: ResolvedPolicy, tables: Tables, form: str) -> Iterator[Diagnostic]:
    x32 = ABIS["x32"]
    if policy.default_action.ret(x32) != policy.unknown_action.ret(x32):
        yield Diagnostic(
            f"{form} gives all of x32's calls one action, and this policy those that it knows "
            f"{policy.default_action}: take x32 out of compat_arches",
            policy.default_origin.position,
        )
    for rule in policy.rules:
        if rule.applies_to(x32) and tables.tables["x32"].number_of(rule.name) is not None:
            text = f"{form} has no rules for x32: say `arches: [x86_64]` of {rule.name}"
            yield Diagnostic(text, rule.position)


def _nameless(policy: ResolvedPolicy, abi: Abi, tables: Tables, form: str) -> Iterator[Diagnostic]:
    table = tables.tables[abi.name]
    for rule in policy.rules:
        number = table.number_of(rule.name) if rule.applies_to(abi) else None
        if number is not None and number not in table.names:
            text = f"{form} names calls, and {rule.name} is a number that none has"
            yield Diagnostic(text, rule.position)


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
