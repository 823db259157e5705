"""Rules of a foreign policy as its author would write them in our language.

Calls that the file has together, with one answer, become one rule; comments stay at what they are
about; conditions get names (`named_conditions`). A rule only moves past rules for other calls or
with the same action, so no answer changes. Whoever writes the file proves that.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from seccompgen.core.errnos import errno_name
from seccompgen.core.model import Action, ActionKind
from seccompgen.core.multiplexed import MULTIPLEXED
from seccompgen.filters.combine.named_conditions import named_condition
from seccompgen.policy.expressions import parse_condition

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.tables import Tables
    from seccompgen.formats.draft import Draft
    from seccompgen.formats.source_comments import SourceComment
    from seccompgen.policy.document import Path
    from seccompgen.policy.expressions import Expression

_DENSE = 3
"""A list has a line for each name if one name of so many has a comment."""


_LIKE = ("action", "arches", "multiplexed", "when")
"""The keys that groups of one rule share."""


class Tidied(NamedTuple):
    """The data of a policy file, and comments of its parts, by path.

    The comment at ``()`` is the head of the file; that at the index after the last rule is its end.
    """

    data: dict[str, Any]
    comments: Mapping[Path, Sequence[str]]


def tidied(
    draft: Draft,
    policy: ResolvedPolicy,
    tables: Tables,
    included: Collection[str] = (),
) -> Tidied:
    """Return ``draft``, which ``policy`` was resolved from, as its author would write it.

    The rules from the files ``included``, paths with links resolved, are left out.
    """
    here = _files(draft) - set(included)
    calls = [call for call in _in_order(_calls(draft)) if _real(call.position.file) in here]
    comments = [one for one in draft.comments if _real(one.position.file) in here]
    head, end = _with_comments(calls, draft.file, comments)
    rules = _RuleWriter(list(dict.fromkeys((*policy.arches, *policy.compat_arches))), tables)
    for paragraph, calls_of_it in groupby(calls, key=lambda one: one.paragraph):
        heading = paragraph.heading()
        for run in _by_action(calls_of_it):
            rules.write(run, heading)
            heading = []
    if head:
        rules.comments[()] = _joined(head)
    if end:
        rules.comments["syscalls", len(rules.groups)] = _joined(end)
    data = {k: rules.named(v) for k, v in draft.document().data.items() if v != []}
    return Tidied({**data, "syscalls": rules.groups}, rules.comments)


_real = lru_cache(os.path.realpath)


def _files(draft: Draft) -> set[str]:
    """Return the files that a draft is made from, links resolved."""
    return {_real(file) for file in (draft.file, *(name for name, _ in draft.sources))}


# --- calls and their comments ----------------------------------------------------------------


@dataclass(eq=False)
class _Paragraph:
    """Calls that the file has together: ``above`` is the comment above them.

    ``free`` are comments before that, in blocks; they are written once.
    """

    above: list[str] = field(default_factory=list)
    free: list[list[str]] = field(default_factory=list)

    def heading(self) -> list[str]:
        """Return the comment to write above the calls, or above more of them elsewhere."""
        blocks, self.free = [*self.free, *([self.above] if self.above else [])], []
        return _joined(blocks)


@dataclass
class _Call:
    """A call that a rule names. ``keys`` are what its group says besides, such as ``optional``.

    ``own`` is the comment on the call alone. ``remarked`` is True below a remark of the reader.
    """

    name: str | int
    when: str | None
    action: str
    keys: Mapping[str, Any]
    position: Position
    paragraph: _Paragraph
    remarked: bool = False
    own: list[str] = field(default_factory=list)

    def take(self, pending: Sequence[str | None], before: _Paragraph | None) -> None:
        """Take the comments and blank lines (None) between the call and a paragraph ``before``."""
        blocks = _blocks(pending)
        above = blocks.pop() if pending and pending[-1] is not None else []
        if before is None or None in pending:
            self.paragraph = _Paragraph(above, blocks)
        else:
            self.paragraph, self.own = before, [*above, *self.own]


def _calls(draft: Draft) -> Iterator[_Call]:
    """Yield the calls of a draft; remarks begin paragraphs."""
    document = draft.document()
    plain = _Paragraph()
    remarks = {text: _Paragraph(text.split("\n")) for text in draft.remarks.values()}
    for i, group in enumerate(document.data["syscalls"]):
        keys = {k: v for k, v in group.items() if k not in {"action", "names", "names_with_args"}}
        remark = remarks.get(draft.remarks.get(i, ""))
        for key in ("names", "names_with_args"):
            for j, one in enumerate(group.get(key, ())):
                where = document.position(("syscalls", i, key, j))
                name, when = (one["name"], one["when"]) if isinstance(one, dict) else (one, None)
                yield _Call(
                    *(name, when, group["action"], keys, where),
                    remark or plain,
                    remarked=remark is not None,
                )


def _in_order(calls: Iterable[_Call]) -> list[_Call]:
    """Return the calls, those of one action that follow each other in the order of the file.

    Rules for a multiplexed call stay before those of calls that can be made through it.
    """
    found: list[_Call] = []
    files: dict[str, int] = {}
    for _, run in groupby(calls, key=lambda one: one.action):
        listed = list(run)
        for one in listed:
            files.setdefault(one.position.file, len(files))
        found += sorted(
            listed,
            key=lambda one: (
                one.name not in MULTIPLEXED,
                files[one.position.file],
                one.position,
            ),
        )
    return found


def _with_comments(
    calls: Sequence[_Call], main: str, comments: Sequence[SourceComment]
) -> tuple[list[list[str]], list[list[str]]]:
    """Give each call its comments; return the blocks at the head of ``main``, and at the end."""
    listed: dict[str, list[_Call]] = defaultdict(list)
    for call in sorted(calls, key=lambda one: one.position):
        if not call.remarked:
            listed[call.position.file].append(call)
    head: list[list[str]] = []
    end: list[list[str]] = []
    for file in dict.fromkeys((main, *(one.position.file for one in comments))):
        waiting = listed[file][::-1]
        pending: list[str | None] = []
        last: _Call | None = None
        for one in sorted(
            (one for one in comments if one.position.file == file),
            key=lambda one: one.position,
        ):
            while waiting and (waiting[-1].position, 0) < (one.position, one.trailing):
                call = waiting.pop()
                call.take(pending, last.paragraph if last else None)
                pending = []
                if last is None or call.position != last.position:
                    last = call
            if one.trailing and last and one.text is not None:
                last.own.append(one.text)
            else:
                pending.append(one.text)
        for call in waiting[::-1]:
            call.take(pending, last.paragraph if last else None)
            last, pending = call, []
        (end if last else head).extend(_blocks(pending))
        if file == main and listed[file]:
            first = listed[file][0].paragraph
            head, first.free = first.free, []
    return head, end


def _blocks(lines: Iterable[str | None]) -> list[list[str]]:
    """Return the lines between blank ones, which are None, in blocks without empty ends."""
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line or (line is not None and blocks[-1]):
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    for block in blocks:
        while block and not block[-1]:
            block.pop()
    return [block for block in blocks if block]


def _joined(blocks: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of blocks with empty ones between."""
    lines = [line for block in blocks for line in (*block, "")]
    return lines[:-1]


def _by_action(calls: Iterable[_Call]) -> list[list[_Call]]:
    """Return calls in lists of one action; two rules for one call keep their order."""
    lists: list[list[_Call]] = []
    for call in calls:
        at = len(lists)
        while at and not any(_meet(call, other) for other in lists[at - 1]):
            at -= 1
        same = [one for one in lists[max(at - 1, 0) :] if one[0].action == call.action]
        if same:
            same[0].append(call)
        else:
            lists.append([call])
    return lists


def _meet(a: _Call, b: _Call) -> bool:
    """Return True if the rules of two calls may match one call."""
    wide = (isinstance(one.name, int) or one.name in MULTIPLEXED for one in (a, b))
    return a.name == b.name or any(wide)


# --- rules -----------------------------------------------------------------------------------


@dataclass
class _Cell:
    """The conditions of a rule for the call ``first``, by ABI; none means always."""

    first: _Call
    abis: dict[Abi, list[Expression]]


@dataclass
class _RuleWriter:
    """Collects ``groups`` of rules for ``abis``, and their comments by path."""

    abis: Sequence[Abi]
    tables: Tables
    groups: list[dict[str, Any]] = field(default_factory=list)
    comments: dict[Path, Sequence[str]] = field(default_factory=dict)

    def write(self, calls: Sequence[_Call], heading: Sequence[str]) -> None:
        """Add the rules for calls of one action, below a heading."""
        for call in calls:
            call.own = [line for line in call.own if not self._is_said(line, call)]
        plain = [call for call in calls if call.when is None]
        dense = sum(_DENSE for call in plain if call.own) >= len(plain)
        segments: list[list[_Call]] = [[]]
        for call in calls:
            alone = not dense and bool(call.own) and call.when is None
            if alone or (segments[-1] and _is_alone(segments[-1], dense=dense)):
                segments.append([])
            segments[-1].append(call)
        for segment in filter(None, segments):
            own = segment[0].own if _is_alone(segment, dense=dense) else []
            if own:
                segment[0].own = []
            self._write_segment(segment, [*heading, *own])
            heading = []

    def _is_said(self, comment: str, call: _Call) -> bool:
        """Return True if a comment only has the names of constants that the condition has."""
        if call.when is None:
            return False
        words = set(re.findall(r"\w+", comment)) - {"libc"}
        condition = [parse_condition(call.when)]
        texts = (
            named_condition(condition, str(call.name), abi, self.tables) for abi in self._abis(call)
        )
        return all(words <= set(re.findall(r"\w+", text)) for text in texts)

    def _write_segment(self, calls: Sequence[_Call], heading: Sequence[str]) -> None:
        """Add calls of one action, as one group for the same ABIs; the first has the heading.

        Calls with the same condition become a group with that.
        """
        entries = [
            (cell.first, *one) for cell in self._cells(calls) for one in self._conditions(cell)
        ]
        alike = Counter((when, arches) for call, when, arches, _ in entries if not call.own)
        start = len(self.groups)
        for call, when, arches, optional in entries:
            shared = when if alike[when, arches] > 1 and not call.own else None
            group = self._group(call, arches, shared, start)
            if optional:
                group["optional"] = True
            kind = "names_with_args" if when and not shared else "names"
            listed = group.setdefault(kind, [])
            if kind == "names" and not call.own and call.name in listed:
                continue
            place = "syscalls", self.groups.index(group), kind, len(listed)
            listed.append({"name": call.name, "when": when} if when != shared else call.name)
            if call.own:
                self.comments[place] = call.own
        if heading:
            self.comments["syscalls", start] = heading
        for i in range(start, len(self.groups)):
            self._shorten(i)

    def _shorten(self, index: int) -> None:
        """Let a group with one entry and nothing else have the condition itself."""
        group = self.groups[index]
        entries = group.get("names_with_args", ())
        if len(entries) != 1 or "names" in group:
            return
        del group["names_with_args"]
        group |= {"names": [entries[0]["name"]], "when": entries[0]["when"]}
        own = self.comments.pop(("syscalls", index, "names_with_args", 0), ())
        if own:
            above = self.comments.get(("syscalls", index), ())
            self.comments["syscalls", index] = [*above, *own]

    def _group(
        self, call: _Call, arches: tuple[str, ...] | None, when: str | None, start: int
    ) -> dict[str, Any]:
        """Return the group from ``start`` on for calls like ``call``; add one if there is none."""
        like: dict[str, Any] = {"action": self.named(call.action, arches)}
        if arches:
            like["arches"] = list(arches)
        if "multiplexed" in call.keys:
            like["multiplexed"] = self.named(call.keys["multiplexed"], arches)
        if when:
            like["when"] = when
        for group in self.groups[start:]:
            if {key: group.get(key) for key in _LIKE} == {key: like.get(key) for key in _LIKE}:
                return group
        self.groups.append(like)
        return like

    def named(self, value: Any, arches: Iterable[str] | None = None) -> Any:
        """Return an action with the name of its errno, if that is the same on all ABIs."""
        abis = [abi for abi in self.abis if arches is None or abi.name in arches]
        try:
            action = Action.parse(value)
        except ValueError:
            return value
        names = {errno_name(action.data, abi) for abi in abis}
        if action.kind is not ActionKind.ERRNO or action.errno_name or len(names) > 1:
            return value
        return f"errno({names.pop() or action.data})"

    def _cells(self, calls: Iterable[_Call]) -> list[_Cell]:
        """Return a cell for each call; those that say nothing apart from another's share it."""
        cells: list[_Cell] = []
        shared: dict[tuple[object, ...], _Cell] = {}
        for call in calls:
            key = call.name, call.when is None, str(call.keys.get("multiplexed"))
            cell = shared.get(key)
            alone = cell is not None and (call.own or cell.first.own)
            if cell is None or (alone and call.position != cell.first.position):
                cell = shared[key] = _Cell(call, {})
                cells.append(cell)
            for abi in self._abis(call):
                listed = cell.abis.setdefault(abi, [])
                if call.when is not None:
                    listed.append(parse_condition(call.when))
        return cells

    def _abis(self, call: _Call) -> list[Abi]:
        """Return the ABIs that a rule is for; without ``arches``, those that have the call."""
        if arches := call.keys.get("arches"):
            return [abi for abi in self.abis if abi.name in arches]
        return self._having(call)

    def _having(self, call: _Call) -> list[Abi]:
        tables, name = self.tables.tables, call.name
        return [
            abi
            for abi in self.abis
            if isinstance(name, int) or tables[abi.name].number_of(name) is not None
        ]

    def _conditions(self, cell: _Cell) -> Iterator[tuple[str | None, tuple[str, ...] | None, bool]]:
        """Yield each condition of a cell as text, its ABIs (None for all), and ``optional``."""
        call = cell.first
        texts: dict[str | None, list[Abi]] = defaultdict(list)
        for abi, conditions in cell.abis.items():
            text = None
            if conditions:
                text = named_condition(conditions, str(call.name), abi, self.tables)
            texts[text].append(abi)
        having = self._having(call)
        limited = "arches" in call.keys
        optional = (limited or bool(call.keys.get("optional"))) and having != list(self.abis)
        for text, abis in texts.items():
            if set(abis) >= set(having) and not (limited and isinstance(call.name, int)):
                yield text, None, optional
            else:
                yield text, tuple(abi.name for abi in abis), False


def _is_alone(segment: Sequence[_Call], *, dense: bool) -> bool:
    """Return True for a call with a comment of its own that is not one of many."""
    call = segment[0]
    return len(segment) == 1 and bool(call.own) and call.when is None and not dense
