"""Rules of formats whose compilers know nothing but a call's number and its arguments' words.

minijail and seccompiler make programs for one ABI. Such a program compares the number alone: x32's
calls, with bit 30 set, are numbers without a rule to it, and ``socketcall`` is a call like any
other. Our language knows better, so a translation says what these programs do: x32's calls get the
default action, and where a call can be made through another, its rule is for its number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import MOST_HINTS, Diagnostic, did_you_mean
from seccompgen.core.multiplexed import entrance
from seccompgen.core.problems import Problem
from seccompgen.formats.draft import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.tables import Tables
    from seccompgen.formats.draft import Draft


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a file names, at its place; ``abis`` are those it is named for, None for all."""

    name: str
    position: Position
    abis: frozenset[str] | None = None

    def concerns(self, abi: Abi) -> bool:
        """Return True if the file names the call for ``abi``."""
        return self.abis is None or abi.name in self.abis


@dataclass(frozen=True, slots=True)
class NumberedRule:
    """The answer to ``calls``; ``when`` gives the condition where a word has so many bits."""

    action: str
    calls: tuple[Call, ...]
    position: Position
    when: Callable[[int], str] | None = None


@dataclass
class NumberedPolicy:
    """A policy in such a format, as it is read: rules in order, the first that matches wins."""

    default: tuple[str, Position]
    bad_arch: str
    rules: list[NumberedRule] = field(default_factory=list)

    def abis(self, chosen: Sequence[str], usual: Sequence[str], tables: Tables) -> list[Abi]:
        """Return the ABIs that it is for: those ``chosen``, or of the ``usual`` ones what fits.

        An ABI fits if it has all calls that are named for it. The first of the usual ones is taken
        where none does.
        """
        if chosen:
            return [ABIS[name] for name in chosen]
        there = [ABIS[name] for name in usual if name in tables.tables]
        return [abi for abi in there if not any(self.lacking(abi, tables))] or there[:1]

    def lacking(self, abi: Abi, tables: Tables) -> Iterable[Call]:
        """Yield what it names and ``abi`` lacks."""
        numbers = tables.tables[abi.name].numbers if abi.name in tables.tables else {}
        for rule in self.rules:
            yield from (
                call for call in rule.calls if call.concerns(abi) and call.name not in numbers
            )

    def unknown_calls(self, abis: Sequence[Abi], tables: Tables) -> list[Diagnostic]:
        """Return an error for each call that an ABI lacks: these compilers take none."""
        found: dict[Call, list[str]] = {}
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
        """Say all of it in our language."""
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
    rule: NumberedRule, call: Call, abis: Sequence[Abi], tables: Tables
) -> dict[Entry, tuple[str, ...]]:
    """Return the entries that a rule becomes for one call, each with the ABIs that it is for."""
    found: dict[Entry, tuple[str, ...]] = {}
    for abi in abis:
        if call.concerns(abi):
            when = rule.when(abi.bits) if rule.when else None
            numbers, way = tables.tables[abi.name].numbers, entrance(call.name)
            through = way is not None and way[0] in numbers
            entry = Entry(numbers[call.name] if through else call.name, call.position, when)
            found[entry] = (*found.get(entry, ()), abi.name)
    return found
