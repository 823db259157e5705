"""Change the settings of a unit in its own text: a word less, or an assignment more.

SystemCallFilter= has no conditions. The only one that another setting has is a socket's family.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import UndecidedError
from seccompgen.core.problems import Problem
from seccompgen.formats.amending import Editor
from seccompgen.formats.systemd.restrictions import WITH_SOCKET
from seccompgen.formats.systemd.unit_file import read_assignments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.formats.amending import Change, ChangedRule
    from seccompgen.formats.systemd.unit_file import Assignment, UnitWord

_FAMILY = re.compile(r"(?:family|domain|arg0)\s*==\s*(AF_\w+)")


def _unnamed(rules: Sequence[ChangedRule]) -> frozenset[str]:
    """Return the ABIs on which systemd restricts no families, if these are meant."""
    return frozenset(ABIS) - WITH_SOCKET if any(rule.when for rule in rules) else frozenset()


def _edits(text: str, policy: ResolvedPolicy, change: Change) -> Iterator[str]:
    """Yield changed texts. Raises UndecidedError for a condition that no setting has."""
    calls = [name for rule in change.rules if not rule.when for name in rule.names]
    families = [_family(rule) for rule in change.rules if rule.when]
    for answer in ("", ":EPERM"):
        for removes in (True, False):
            unit = _Unit.of(text, policy.file)
            unit.change("SystemCallFilter", calls, answer, allows=change.allows, removes=removes)
            unit.change(
                "RestrictAddressFamilies", families, "", allows=change.allows, removes=removes
            )
            yield unit.text


EDITOR = Editor(_edits, unnamed=_unnamed)


def _family(rule: ChangedRule) -> str:
    """Return the address family that a rule is about."""
    found = _FAMILY.fullmatch(rule.when)
    if rule.names == ("socket",) and found:
        return found[1]
    text = "a unit has no conditions on arguments, except for the family of a socket: "
    raise UndecidedError(f"{text}not {rule.when!r}", kind=Problem.NOT_IN_UNIT)


@dataclass
class _Unit:
    """The lines of a unit, and its assignments as they were."""

    lines: list[str]
    assignments: list[Assignment]

    @classmethod
    def of(cls, text: str, file: str) -> _Unit:
        return cls(text.split("\n"), read_assignments(text, file)[0])

    @property
    def text(self) -> str:
        return "\n".join(line for line in self.lines if line is not _GONE)

    def change(
        self, key: str, words: Sequence[str], answer: str, *, allows: bool, removes: bool
    ) -> None:
        """Permit or refuse ``words`` by a setting: take them out of it, or assign them.

        If it ``removes``, words that are there already are taken out.
        """
        own = [one for one in self.assignments if one.key == key]
        left = list(words)
        for one in own if removes else ():
            denies = bool(one.words) and one.words[0].text.startswith("~")
            there = [word for word in one.words if _name(word) in left]
            if there and denies == allows:
                self._take_out(one, there)
                left = [word for word in left if word not in map(_name, there)]
        if left and (own or not allows):
            sign, more = ("", "") if allows else ("~", answer)
            self._assign(key, f"{sign}{' '.join(f'{word}{more}' for word in left)}", own)

    def _take_out(self, one: Assignment, there: Sequence[UnitWord]) -> None:
        if len(there) == len(one.words):
            for at in range(one.position.line - 1, self._end(one)):
                self.lines[at] = _GONE
            return
        for word in reversed(there):
            at, start = word.position.line - 1, word.position.column - 1
            line, end = self.lines[at], start + len(word.text)
            if word.text.startswith("~"):
                start += 1
            head, tail = line[:start], line[end:]
            self.lines[at] = head + tail.lstrip(" \t") if tail.strip() else head.rstrip(" \t")

    def _assign(self, key: str, value: str, own: Sequence[Assignment]) -> None:
        """Put an assignment behind the last one of its key, or behind all others."""
        last = (own or self.assignments)[-1]
        line = self.lines[last.position.line - 1]
        indent = "" if line is _GONE else line[: len(line) - len(line.lstrip())]
        at = self._end(last) - 1
        self.lines[at] = f"{self.lines[at]}\n{indent}{key}={value}".lstrip("\n")

    def _end(self, one: Assignment) -> int:
        """Return the number of the last line of an assignment, from 1."""
        at = one.position.line - 1
        while at + 1 < len(self.lines) and (
            self.lines[at].endswith("\\") or self.lines[at].strip().startswith(("#", ";"))
        ):
            at += 1
        return at + 1


_GONE = "\0"


def _name(word: UnitWord) -> str:
    return word.text.removeprefix("~").partition(":")[0]
