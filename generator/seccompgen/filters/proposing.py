"""Propose the smallest change of a policy that permits a call, and ask lint about it.

A change is text for the policy's own file, at the line where it counts: before the rule that
refuses, or behind all rules. It is proposed only if the policy, changed, lets the call through.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import Position
from seccompgen.core.model import Action, Origin, Rule
from seccompgen.io.reading import read_file
from seccompgen.lint import LintedFilter, lint
from seccompgen.policy.conditions import Lookup, alternatives
from seccompgen.policy.expressions import parse_condition
from seccompgen.render.audit_report import ProposedChange
from seccompgen.verify import meaning

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Predicate, ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.lint import Finding
    from seccompgen.verify.call import Call

_YAML = {".yml", ".yaml"}


@dataclass(frozen=True)
class Wish:
    """Calls to permit: those of ``nr`` through ``abi``, to the program for ``program``.

    ``condition`` narrows it down to some arguments, as ``when`` has it; empty for all. ``examples``
    are some of them.
    """

    program: Abi
    abi: Abi
    name: str
    nr: int
    condition: str
    examples: tuple[Call, ...]


@dataclass(frozen=True)
class _Place:
    file: str
    line: int
    indent: int
    words: str


class Proposer:
    """Proposes changes of one policy."""

    def __init__(self, policy: ResolvedPolicy, tables: Tables) -> None:
        self._policy = policy
        self._tables = tables
        self._found = cache(self._findings)

    def propose(self, wish: Wish) -> ProposedChange | str:
        """Return the change that permits the calls of a wish, or why there is none."""
        policy, file = self._policy, self._policy.sources[-1][0]
        if policy.in_memory or policy.foreign or Path(file).suffix not in _YAML:
            return "write the rule in the policy's own format, or convert it to one of ours first"
        changed, setting = policy, []
        if wish.abi not in {wish.program, *policy.compat_of(wish.program)}:
            compat = (*policy.compat_arches, wish.abi)
            changed = replace(policy, compat_arches=compat)
            setting = [f"compat_arches: [{', '.join(abi.name for abi in compat)}]"]
            if self._permits(changed, wish):
                had = "for compat_arches" if policy.compat_arches else "as a setting"
                return ProposedChange(
                    file, 0, had, tuple(setting), "", self._news(changed, wish.program)
                )
        index, place = self._place(changed, wish)
        rules = self._rules(wish, place)
        changed = replace(changed, rules=(*changed.rules[:index], *rules, *changed.rules[index:]))
        if not self._permits(changed, wish):
            return "no rule that is put there permits it"
        note = "" if wish.condition else self._note(wish)
        lines = _yaml(wish, place.indent)
        if setting:
            note = f"and {setting[0]} as a setting, since the call comes through {wish.abi.name}"
        news = self._news(changed, wish.program)
        return ProposedChange(place.file, place.line, place.words, lines, note, news)

    def _note(self, wish: Wish) -> str:
        prototype = self._tables.facts.prototype(wish.name, wish.abi)
        if prototype is None or not prototype.parameters:
            return ""
        return "it permits all arguments, since records do not tell them: narrow it down by 'when'"

    def _permits(self, policy: ResolvedPolicy, wish: Wish) -> bool:
        means = meaning(policy, wish.program, self._tables)
        allow = Action.ALLOW.kind.value
        return all(means.answer(call) == allow for call in wish.examples)

    def _place(self, policy: ResolvedPolicy, wish: Wish) -> tuple[int, _Place]:
        """Return at which rule the new one goes, and where that is in the file."""
        means = meaning(policy, wish.program, self._tables)
        origins = {means.case(call).origin for call in wish.examples}
        for index, rule in enumerate(policy.rules):
            if rule.origin in origins:
                at = rule.origin.position
                words = f"above {rule.origin.label}"
                return index, _Place(at.file, at.line, max(at.column - 3, 0), words)
        return len(policy.rules), self._end(policy)

    def _end(self, policy: ResolvedPolicy) -> _Place:
        file = policy.sources[-1][0]
        own = [rule.origin.position for rule in policy.rules if rule.origin.position.file == file]
        if not own:
            return _Place(file, 0, 0, "as the last of 'syscalls'")
        last = max(own)
        indent = max(last.column - 3, 0)
        try:
            lines = read_file(Path(file)).decode(errors="replace").splitlines()
        except OSError:
            lines = []
        line = last.line
        for n in range(last.line, len(lines)):
            text = lines[n]
            bare = text.strip()
            if bare and not bare.startswith("#"):
                if len(text) - len(text.lstrip()) <= indent:
                    break
                line = n + 1
        return _Place(file, line + 1, indent, "behind the last rule")

    def _rules(self, wish: Wish, place: _Place) -> Iterable[Rule]:
        at = Position(place.file, place.line, place.indent + 3)
        origin = Origin("the proposed rule", at)
        name = wish.name or str(wish.nr)
        abis = None if wish.name else frozenset({wish.abi.name})
        return tuple(
            Rule(name, condition, Action.ALLOW, at, origin, abis=abis)
            for condition in self._conditions(wish)
        )

    def _conditions(self, wish: Wish) -> Sequence[Predicate | None]:
        if not wish.condition:
            return (None,)
        expression = parse_condition(wish.condition)
        tests = Lookup(self._tables.facts, wish.abi).numbers(expression, wish.name)
        return alternatives(expression, tests) if tests is not None else ()

    def _news(self, changed: ResolvedPolicy, program: Abi) -> tuple[Finding, ...]:
        """Return what lint finds in the changed policy, and not in that as it is."""
        known = {(one.kind, one.message) for one in self._found(program)}
        found = self._lint(changed, program)
        return tuple(one for one in found if (one.kind, one.message) not in known)

    def _findings(self, program: Abi) -> list[Finding]:
        return self._lint(self._policy, program)

    def _lint(self, policy: ResolvedPolicy, program: Abi) -> list[Finding]:
        sides = {program.name: meaning(policy, program, self._tables)}
        file = policy.sources[-1][0]
        return list(lint(LintedFilter(file, sides, policy), self._tables))


def _yaml(wish: Wish, indent: int) -> tuple[str, ...]:
    """Return the rule as lines of a policy file."""
    before = " " * indent
    if wish.condition:
        entry = f"- {{name: {wish.name}, when: {_scalar(wish.condition)}}}"
        return (f"{before}- action: allow", f"{before}  names_with_args:", f"{before}  {entry}")
    lines = [f"{before}- action: allow", f"{before}  names: [{wish.name or wish.nr}]"]
    if not wish.name:
        lines.append(f"{before}  arches: [{wish.abi.name}]")
    return tuple(lines)


def _scalar(text: str) -> str:
    return f"'{text}'" if any(one in text for one in "{}[],#:") else text
