"""Calls that a policy file is to refuse or allow, and the editors that say so in its text.

A format whose files can be changed in place has a module ``editor`` with an ``EDITOR``. It proposes
texts, those with the fewest changes first; `filters.combine.amend` proves what they mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.argument_families import family_of
from seccompgen.core.errors import Diagnostic, InputError, Position, UndecidedError
from seccompgen.core.model import (
    U32,
    ActionKind,
    All,
    Comparison,
    Op,
    comparisons,
    condition_for,
)
from seccompgen.core.multiplexed import is_multiplexed
from seccompgen.core.problems import Problem
from seccompgen.core.sets import ALL, EVERYTHING, NOTHING, Sets
from seccompgen.formats.draft import Draft, Entry
from seccompgen.policy.resolve import resolve_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.sets import Box
    from seccompgen.core.tables import Tables

_RULE = re.compile(r"\s*(?P<names>.*?)\s*(?:\bwhen\b\s*(?P<when>.*?)\s*)?", re.DOTALL)


class ChangedRule(NamedTuple):
    """Calls to refuse or allow: ``socket when family == AF_ALG``; all if there is no condition."""

    names: tuple[str, ...]
    when: str = ""

    @classmethod
    def parse(cls, text: str) -> ChangedRule:
        """Read a rule as a command line has it. Raises InputError if it names no call."""
        found = _RULE.fullmatch(text)
        names = tuple(filter(None, re.split(r"[\s,]+", found["names"]))) if found else ()
        if not found or not names or found["when"] == "":
            what = f"not a rule: {text!r}; write 'keyctl' or 'socket when family == AF_ALG'"
            raise InputError(Diagnostic(what, kind=Problem.WRONG_VALUE))
        return cls(names, found["when"] or "")


class Counts(Enum):
    """The values for which a change must be exact, if the kernel reads 32 bits of an argument.

    For others a changed file may refuse more than it did, and never permits more.
    """

    ALL_BITS = "all-bits"
    BITS_READ = "bits-read"
    NAMED_VALUES = "named-values"


@dataclass(frozen=True)
class Change:
    """Calls that a policy ``allows`` from now on, or else refuses.

    ``calls`` is a policy with ``rules`` alone, for the ABIs of the policy to change: it answers
    the changed calls as that one should, and all others the opposite way.
    """

    rules: tuple[ChangedRule, ...]
    allows: bool
    calls: ResolvedPolicy
    tables: Tables
    counts: Counts = field(default_factory=lambda: Counts.ALL_BITS)

    @classmethod
    def of(
        cls,
        rules: Sequence[ChangedRule],
        policy: ResolvedPolicy,
        tables: Tables,
        *,
        allows: bool,
        unnamed: frozenset[str] = frozenset(),
    ) -> Change:
        """Return the change of ``policy``, except for the ABIs that are ``unnamed``.

        Raises InputError for unknown calls and names.
        """
        abis = {abi.name for abi in (*policy.arches, *policy.compat_arches)}
        only = sorted(abis - unnamed) if abis & unnamed else None
        calls = _policy_of(rules, policy, tables, only, allows=allows)
        return cls(tuple(rules), allows, calls, tables)

    @cached_property
    def sets(self) -> Sets:
        """The sets that the boxes are in."""
        return Sets()

    @property
    def names(self) -> tuple[str, ...]:
        """The calls that change, each once; also those through which others can be made."""
        return tuple(dict.fromkeys(rule.name for rule in self.calls.rules))

    def concerns(self, kind: ActionKind) -> bool:
        """Return True if the change applies to calls that were answered with ``kind``."""
        return not kind.lets_through if self.allows else not refuses(kind)

    def boxes(self, name: str, abi: Abi) -> tuple[Box, ...]:
        """Return the arguments with which a call changes on an ABI, as disjoint boxes."""
        left: list[Box] = [EVERYTHING]
        found: list[Box] = []
        for rule in self.calls.rules:
            if rule.name == name and rule.applies_to(abi):
                own = self.sets.box(condition_for(rule.condition, abi.argument_bits))
                if rule.action.kind.lets_through == self.allows:
                    common = (self.sets.common(one, own) for one in left)
                    found += [one for one in common if NOTHING not in one]
                left = without(self.sets, left, [own])
        return tuple(found)

    def boxes_on(self, name: str, abis: Sequence[Abi]) -> tuple[Box, ...]:
        """Return the boxes of a call on those of ``abis`` that have it; none if none has.

        Raises UndecidedError if they differ.
        """
        have = [abi for abi in abis if name in self.tables.tables[abi.name].numbers]
        found = {self.boxes(name, abi) for abi in have}
        if len(found) > 1:
            text = f"arguments of {name} differ between {', '.join(abi.name for abi in have)}: say "
            text += "with --for which is meant"
            raise UndecidedError(text, kind=Problem.CONFLICTING_SETTINGS)
        return found.pop() if found else ()

    def most(self, name: str, abi: Abi) -> dict[int, int]:
        """Return the greatest values of arguments that count, where not all do."""
        if self.counts is Counts.ALL_BITS:
            return {}
        narrow = {
            test.argument
            for rule in self.calls.rules
            if rule.name == name
            for test in comparisons(rule.condition)
            if test.width == 32
        }
        found = {n: self._most(name, n, abi) for n in sorted(narrow)}
        return {n: most for n, most in found.items() if most < (1 << abi.argument_bits) - 1}

    def counted(self, name: str, abi: Abi) -> Box:
        """Return the arguments that count, by `most`."""
        tests = (Comparison(n, Op.LE, most) for n, most in self.most(name, abi).items())
        return self.sets.box(All(tuple(tests)))

    def _most(self, name: str, argument: int, abi: Abi) -> int:
        if self.counts is Counts.NAMED_VALUES:
            parameter = self.tables.naming.parameter(name, argument, abi)
            family = family_of(name, parameter.name) if parameter else None
            values = family.on(self.tables.facts, abi).whole if family else ()
            if values:
                return max(values)
        return U32


class Variant(NamedTuple):
    """A reading of a file in which a change is proved; an ``optional`` one may not be possible."""

    reading: Reading
    optional: bool = False


def _own_reading(text: str, policy: ResolvedPolicy, change: Change) -> Iterable[Variant]:
    """Return the reading by which the policy was read."""
    del text, change
    return (Variant(policy.reading),)


class Editor(NamedTuple):
    """The functions that change files of a format.

    ``edits`` yields texts to try, those with the fewest changes first; ``variants`` returns the
    readings of a file that could differ in what a change does. Their arguments are the file's text,
    the policy that it is, and the change. ``edits`` raises UndecidedError if the format cannot
    express the change. ``unnamed`` returns the ABIs whose calls a file cannot name, for some rules.
    ``divides`` says whether a file can refuse a call through socketcall alone.
    """

    edits: Callable[[str, ResolvedPolicy, Change], Iterator[str]]
    variants: Callable[[str, ResolvedPolicy, Change], Iterable[Variant]] = _own_reading
    unnamed: Callable[[Sequence[ChangedRule]], frozenset[str]] = lambda _: frozenset()
    divides: bool = False


def editor(name: str) -> Editor:
    """Return the editor of a format, one of `AMENDABLE`."""
    found: Editor = import_module(f"seccompgen.formats.{name}.editor").EDITOR
    return found


def refuses(kind: ActionKind) -> bool:
    """Return True if nobody but the filter decides about the call, and it is not made."""
    return not kind.lets_through and kind not in {ActionKind.TRACE, ActionKind.USER_NOTIF}


def without(sets: Sets, boxes: Iterable[Box], cuts: Iterable[Box]) -> list[Box]:
    """Return ``boxes`` without ``cuts``, as boxes that are disjoint if the first are."""
    left = list(boxes)
    for cut in cuts:
        left = [part for box in left for part in sets.without(box, cut)]
    return left


def implied(sets: Sets, boxes: Iterable[Box], own: Box) -> list[Box]:
    """Return those of ``boxes`` that meet ``own``, without what holds in all of it."""
    common = ((box, sets.common(box, own)) for box in boxes)
    return [
        tuple(ALL if both == mine else one for one, both, mine in zip(box, parts, own, strict=True))  # type: ignore[misc] # six
        for box, parts in common
        if NOTHING not in parts
    ]


def _policy_of(
    rules: Sequence[ChangedRule],
    policy: ResolvedPolicy,
    tables: Tables,
    only: Sequence[str] | None,
    *,
    allows: bool,
) -> ResolvedPolicy:
    name = "--allow" if allows else "--refuse"
    action, others = ("allow", "errno(EPERM)") if allows else ("errno(EPERM)", "allow")
    draft = Draft(name)
    where = Position(name)
    draft.setting("arches", [abi.name for abi in policy.arches], where)
    if policy.compat_arches:
        draft.setting("compat_arches", [abi.name for abi in policy.compat_arches], where)
    for key in ("default_action", "unknown_action", "bad_arch_action"):
        draft.setting(key, others, where)
    # A condition on what lies in memory is no reason to change other calls of socketcall.
    draft.setting("multiplexed", others, where)
    # A rule for a call behind socketcall answers for that, too, where nothing else does before.
    for rule in sorted(rules, key=lambda one: not any(map(is_multiplexed, one.names))):
        entries = [Entry(one, where, rule.when or None) for one in rule.names]
        draft.rule(action, entries, where, **({"arches": only} if only else {}))
    return resolve_policy(draft.document(), tables)[0]
