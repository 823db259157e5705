"""Edits of a policy's YAML text: insert a rule, remove a name, change a setting.

All other lines stay unchanged, including comments. The result may be no valid policy: callers must
read it again.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from seccompgen.policy.document import read_document

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.core.errors import Position
    from seccompgen.policy.document import Document, Path

_WORD = r"""(?:"[^"]*"|'[^']*'|[^\s,\[\]{}#]+)"""


class PolicyText:
    """The text of one policy file, as lines without line ends.

    ``read`` returns the document in such a text, and the path to the mapping with the rules.
    """

    def __init__(
        self,
        file: str,
        lines: Sequence[str],
        read: Callable[[bytes, str], tuple[Document, Path]] | None = None,
    ) -> None:
        self.file = file
        self.lines = list(lines)
        self._read = read or _read_own

    @property
    def content(self) -> bytes:
        """The text as bytes."""
        return "".join(f"{line}\n" for line in self.lines).encode()

    def with_rule(self, rule: Sequence[str], before: Position | None) -> PolicyText | None:
        """Return the text with a rule above the group at ``before``, or at the end for None.

        ``rule`` are its lines. Returns None if the text has no list with each group on lines of its
        own.
        """
        groups = self._groups
        if not groups:
            return None
        if before is None:
            at = self._end(groups[-1])
            indent = groups[-1].column - 3
        else:
            group = self._group_of(before)
            if group is None:
                return None
            at, indent = self._above_comments(group), group.column - 3
        if indent < 0:
            return None
        put = [f"{' ' * indent}{line}" for line in rule]
        return self._with([*self.lines[:at], *put, *self.lines[at:]])

    def with_rule_first(self, rule: Sequence[str]) -> PolicyText | None:
        """Return the text with a rule above all others; see `with_rule`."""
        return self.with_rule(rule, self._groups[0]) if self._groups else None

    def without_name(self, name: Position) -> PolicyText | None:
        """Return the text without the name at a position, or without its entry.

        A group without other names is removed as a whole. Returns None if the text has another
        form.
        """
        group = self._group_of(name)
        if group is None or group.column < 3 or not 0 < name.line <= len(self.lines):
            return None
        line = self.lines[name.line - 1]
        head, tail = line[: name.column - 1], line[name.column - 1 :]
        token = re.match(_WORD, tail)
        if not token:
            return None
        rest = tail[token.end() :]
        if re.search(r"(?:^|[-{,\s])name:\s*$", head):
            return self._without_entry(name.line, group)
        if re.fullmatch(r"\s*-\s*", head):
            return self._without_lines(name.line - 1, name.line)
        if after := re.match(r"\s*,\s*", rest):
            return self._with_line(name.line, head + rest[after.end() :])
        if before := re.search(r"\s*,\s*$", head):
            return self._with_line(name.line, head[: before.start()] + rest)
        if re.search(r"\[\s*$", head) and re.match(r"\s*\]", rest):
            return self._without_group(group)
        if not head.strip():  # the last of a list over several lines; the comma before it may stay
            return self._with_line(name.line, head + rest.lstrip())
        return None

    def without_rule(self, rule: Position) -> PolicyText | None:
        """Return the text without the rule at a position; None if the text has another form."""
        group = self._group_of(rule)
        return self._without_group(group) if group and group.column >= 3 else None

    def with_setting(self, key: str, value: str) -> PolicyText | None:
        """Return the text with a setting: its line is replaced, or inserted above the rules.

        Returns None if the text has another form.
        """
        own = self._document.keys.get((*self._base, key))
        if own:
            indent = " " * (own.column - 1)
            if not re.fullmatch(rf"\s*{key}:\s*\[[^\]]*\]\s*(#.*)?", self.lines[own.line - 1]):
                return None
            return self._with_line(own.line, f"{indent}{key}: {value}")
        rules = self._document.keys.get((*self._base, "syscalls"))
        if rules is None or self.lines[rules.line - 1][: rules.column - 1].strip():
            return None
        at, indent = rules.line - 1, " " * (rules.column - 1)
        return self._with([*self.lines[:at], f"{indent}{key}: {value}", *self.lines[at:]])

    # --- places ----------------------------------------------------------------------------------

    @cached_property
    def _parsed(self) -> tuple[Document, Path]:
        return self._read(self.content, self.file)

    @property
    def _document(self) -> Document:
        return self._parsed[0]

    @property
    def _base(self) -> Path:
        return self._parsed[1]

    @cached_property
    def _groups(self) -> list[Position]:
        data = self._document.data
        for key in self._base:
            data = data[key]
        rules = data.get("syscalls") if isinstance(data, dict) else None
        count = len(rules) if isinstance(rules, list) else 0
        found = [self._document.position((*self._base, "syscalls", n)) for n in range(count)]
        return found if all(map(self._is_item, found)) else []

    def _is_item(self, group: Position) -> bool:
        """Return True if a group begins its own line, after the dash of a list item."""
        before = self.lines[group.line - 1][: group.column - 1]
        return re.fullmatch(r" *- ", before) is not None

    def _group_of(self, place: Position) -> Position | None:
        before = [
            one for one in self._groups if (one.line, one.column) <= (place.line, place.column)
        ]
        return before[-1] if before else None

    def _above_comments(self, group: Position) -> int:
        """Return the index of a group's first line, or of the comment directly above it."""
        at = group.line - 1
        comment = f"{' ' * (group.column - 3)}#"
        while at and self.lines[at - 1].startswith(comment):
            at -= 1
        return at

    def _end(self, group: Position) -> int:
        """Return the number of the last line of a group, from 1."""
        indent = group.column - 3
        end = group.line
        for n in range(group.line, len(self.lines)):
            text = self.lines[n].strip()
            if text and not text.startswith("#"):
                if len(self.lines[n]) - len(self.lines[n].lstrip()) <= indent:
                    break
                end = n + 1
        return end

    def _with(self, lines: Sequence[str]) -> PolicyText:
        return PolicyText(self.file, lines, self._read)

    # --- lines -----------------------------------------------------------------------------------

    def _with_line(self, line: int, text: str) -> PolicyText:
        return self._with([*self.lines[: line - 1], text, *self.lines[line:]])

    def _without_lines(self, first: int, end: int) -> PolicyText:
        return self._with([*self.lines[:first], *self.lines[end:]])

    def _without_group(self, group: Position) -> PolicyText:
        text = self._without_lines(group.line - 1, self._end(group))
        rules = self._document.keys.get((*self._base, "syscalls"))
        if len(self._groups) == 1 and rules:
            empty = f"{self.lines[rules.line - 1].rstrip()} []"
            return text._with_line(rules.line, empty)
        return text

    def _without_entry(self, line: int, group: Position) -> PolicyText | None:
        """Return the text without the entry of ``names_with_args`` whose name is on ``line``."""
        own = self.lines[line - 1]
        match = re.match(r"( *)- ", own)
        if not match:
            return None
        indent = len(match[1])
        end = line
        while end < len(self.lines) and self.lines[end].strip():
            if len(self.lines[end]) - len(self.lines[end].lstrip()) <= indent:
                break
            end += 1
        above = self.lines[line - 2].strip() if line > 1 else ""
        below = self.lines[end] if end < len(self.lines) else ""
        if above == "names_with_args:" and not re.match(rf" {{{indent}}}- ", below):
            names = any(
                re.match(r"\s*(- )?names:", one)
                for one in self.lines[group.line - 1 : self._end(group)]
            )
            if not names:
                return self._without_group(group)
            return self._without_lines(line - 2, end)
        return self._without_lines(line - 1, end)


def _read_own(content: bytes, file: str) -> tuple[Document, Path]:
    document = read_document(content, file)
    data = document.data
    nested = isinstance(data, dict) and isinstance(data.get("seccomp"), dict)
    return document, ("seccomp",) if nested else ()


def scalar(text: str) -> str:
    """Return ``text`` as a value in a mapping on one line, quoted where YAML needs that."""
    return f"'{text}'" if any(one in text for one in "{}[],#:&") else text
