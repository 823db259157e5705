"""Change the rules of a filter of seccompiler in its own text.

The conditions of a rule must all hold, and compare 32 bits or 64. So what a change leaves of a rule
is the rule with another condition, or several such rules.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import All
from seccompgen.core.problems import Problem
from seccompgen.core.sets import EVERYTHING
from seccompgen.core.value_conditions import alternatives
from seccompgen.formats.amending import Editor, implied, without
from seccompgen.formats.json_splices import JsonText, Splice, laid_out, spliced
from seccompgen.formats.seccompiler.reader import filter_names, filter_rules
from seccompgen.formats.seccompiler.writer import condition_fields, spelled
from seccompgen.policy.document import read_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.sets import Box
    from seccompgen.formats.amending import Change
    from seccompgen.formats.seccompiler.reader import RuleTests
    from seccompgen.formats.seccompiler.writer import SeccompilerCondition
    from seccompgen.policy.document import Path

_Tests = tuple["SeccompilerCondition", ...]


def _edits(text: str, policy: ResolvedPolicy, change: Change) -> Iterator[str]:
    """Yield the changed text. Raises UndecidedError if the format cannot say the change."""
    name = policy.reading.thread or filter_names(text, policy.file)[0]
    yield _ChangedFilter(text, name, policy, change).text


EDITOR = Editor(_edits, unnamed=lambda _: frozenset({"x32"}))


@dataclass
class _ChangedFilter:
    original: str
    name: str
    policy: ResolvedPolicy
    change: Change

    @property
    def text(self) -> str:
        """The text with the change."""
        # A filter has two actions: of those that change, the other one is the answer.
        adds = self.change.concerns(self.policy.unknown_action.kind)
        return spliced(self.original, self._added() if adds else self._cut())

    @cached_property
    def _json(self) -> JsonText:
        return JsonText(self.original, read_document(self.original.encode(), self.policy.file))

    @cached_property
    def _rules(self) -> list[RuleTests]:
        return filter_rules(self._json.document, self.name)

    @cached_property
    def _list(self) -> Path:
        return (self.name, "filter")

    def _boxes(self, name: str) -> tuple[Box, ...]:
        return self.change.boxes_on(name, self.policy.arches)

    def _said(self, boxes: Sequence[Box]) -> list[_Tests]:
        """Return conditions for boxes: of each list all must hold."""
        sets, found = self.change.sets, []
        for box in boxes:
            for tests in alternatives(sets, box):
                each = spelled(All(tests), sets)
                if each is None:
                    raise UndecidedError("it takes too many rules", kind=Problem.TOO_MANY_CASES)
                found += each
        return found

    # --- what is left of rules ---------------------------------------------------------------

    def _cut(self) -> list[Splice]:
        splices: list[Splice] = []
        gone: list[int] = []
        for n, rule in enumerate(self._rules):
            if rule.syscall not in self.change.names or self._says_nothing(rule):
                continue
            changed = self._boxes(rule.syscall)
            own = self.change.sets.box(All(rule.tests))
            left = without(self.change.sets, [own], changed)
            if left == [own]:
                continue
            if not left:
                gone.append(n)
                continue
            rest = without(self.change.sets, [EVERYTHING], changed)
            splices += self._narrowed(n, self._said(implied(self.change.sets, rest, own)))
        kept = {rule.syscall for n, rule in enumerate(self._rules) if rule.tests and n not in gone}
        gone += [
            n
            for n, rule in enumerate(self._rules)
            if self._says_nothing(rule) and rule.syscall not in kept
        ]
        if len(gone) == len(self._rules):
            raise UndecidedError("no rule would be left", kind=Problem.EMPTY_POLICY)
        if gone:
            splices += self._json.without_items(self._list, len(self._rules), gone)
        return splices

    def _says_nothing(self, rule: RuleTests) -> bool:
        """Return True for a rule without conditions whose call has rules with some."""
        others = (one for one in self._rules if one.syscall == rule.syscall)
        return not rule.tests and any(one.tests for one in others)

    def _narrowed(self, n: int, groups: list[_Tests]) -> Iterator[Splice]:
        """Yield the splices that add conditions to a rule, and further rules behind it."""
        path, added = (*self._list, n), [self._more(n, one) for one in groups]
        if args := self._rules[n].tests:
            last = (*path, "args", len(args) - 1)
            indent = self._json.indent(last)
            values = [condition_fields(one) for one in groups[0]]
            parts = [self._json.object(one, last, indent, self._unit) for one in values]
            yield self._json.behind(last, parts)
        else:
            yield Splice(*self._json.span(path), added[0])
        if len(added) > 1:
            yield self._json.behind(path, added[1:])

    # --- new rules ---------------------------------------------------------------------------

    def _added(self) -> list[Splice]:
        groups = [
            self._rule(name, one)
            for name in self.change.names
            for one in self._said(self._boxes(name))
        ]
        return [self._json.behind((*self._list, len(self._rules) - 1), groups)] if groups else []

    def _more(self, n: int, tests: _Tests) -> str:
        """Return the text of a rule with further conditions."""
        rule: dict[str, Any] = self._json.document.data[self.name]["filter"][n]
        return self._rule_text((*self._list, n), rule, tests)

    def _rule(self, name: str, tests: _Tests) -> str:
        last = (*self._list, len(self._rules) - 1)
        return self._rule_text(last, {"syscall": name}, tests)

    def _rule_text(self, path: Path, rule: dict[str, Any], tests: _Tests) -> str:
        indent, flat = self._json.indent(path), self._json.is_flat(path)
        args = [*(rule.get("args") or ()), *map(condition_fields, tests)]
        fields = {key: json.dumps(value) for key, value in rule.items() if key != "args"}
        if args:
            like = next(
                ((*self._list, n, "args") for n, one in enumerate(self._rules) if one.tests), None
            )
            fields["args"] = self._json.objects(
                args, None if flat else like, f"{indent}{self._unit}", self._unit, flat=flat
            )
        parts = [f"{json.dumps(key)}: {value}" for key, value in fields.items()]
        return laid_out(parts, "{}", indent, self._unit, flat=flat)

    @cached_property
    def _unit(self) -> str:
        return self._json.unit([(*self._list, n) for n in range(len(self._rules))])
