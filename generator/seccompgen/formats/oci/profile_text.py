"""The text of a profile with some entries changed, and new ones in its own layout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import ActionKind, Op
from seccompgen.core.problems import Problem
from seccompgen.formats.draft import Draft
from seccompgen.formats.json_splices import JsonText, Splice, laid_out, spliced
from seccompgen.formats.oci.kubernetes import one_profile
from seccompgen.policy.document import read_document
from seccompgen.policy.editing import PolicyText

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.core.model import Action, Comparison, ResolvedPolicy
    from seccompgen.core.value_conditions import Tests
    from seccompgen.policy.document import Document, Path

_EPERM = 1


class NewEntry(NamedTuple):
    """An entry for one call; its action is that of the entry that it comes from if it is None."""

    name: str
    tests: Tests
    action: Action | None = None


class EntryEdit(NamedTuple):
    """The names that leave an entry, by their index, and the entries that replace them."""

    gone: tuple[int, ...]
    entries: tuple[NewEntry, ...]


def profile_text(text: str, policy: ResolvedPolicy) -> JsonProfile | YamlProfile:
    """Return the text of a profile. Raises InputError if it cannot be read."""
    thread = policy.reading.thread
    document, plain = _document(text, policy.file, thread)
    if plain.lstrip().startswith("{"):
        return JsonProfile(JsonText(text, document), document)
    return YamlProfile(text, policy.file, thread, document)


def _document(text: str, file: str, thread: str | None) -> tuple[Document, str]:
    """Return the profile called ``thread`` at its lines in the file, and its text there."""
    plain = one_profile(text, thread, Draft(file)).replace("\t", " ")
    return read_document(plain.encode(), file), plain


class _Entries:
    """The entries of a profile as ``document`` has them."""

    document: Document

    @cached_property
    def base(self) -> Path:
        """The path to the profile."""
        data = self.document.data
        if isinstance(data.get("linux"), dict):
            return ("linux", "seccomp")
        return ("spec",) if data.get("kind") == "SeccompProfile" else ()

    @cached_property
    def _list(self) -> Path:
        data = self.document.data
        for key in self.base:
            data = data[key]
        return (*self.base, next((one for one in data if one.lower() == "syscalls"), "syscalls"))

    @cached_property
    def _entries(self) -> list[dict[str, Any]]:
        data = self.document.data
        for key in self._list:
            data = data.get(key) if isinstance(data, dict) else None
        return data if isinstance(data, list) else []

    def _path(self, n: int) -> Path:
        return (*self._list, n)

    def _key(self, n: int, field: str) -> str:
        """Return the key of a field as an entry spells it."""
        return next((one for one in self._entries[n] if one.lower() == field), field)

    def _calls(self, n: int) -> int:
        return len(self._entries[n].get(self._key(n, "names")) or ("name",))

    def _require_entries(self) -> None:
        if not self._entries:
            text = "the profile has no rules, next to which others could be put"
            raise UndecidedError(text, kind=Problem.WRONG_VALUE)


@dataclass
class JsonProfile(_Entries):
    """A profile in JSON."""

    json: JsonText
    document: Document

    def changed(self, edits: Mapping[int, EntryEdit], added: Sequence[NewEntry]) -> str:
        """Return the text with changed entries, by their index, and new ones behind the last.

        Raises UndecidedError if there is no entry.
        """
        whole = [
            n for n, one in edits.items() if len(one.gone) == self._calls(n) and not one.entries
        ]
        splices = [
            splice for n, one in edits.items() if n not in whole for splice in self._edited(n, one)
        ]
        if added or len(whole) == len(self._entries):
            self._require_entries()
            last = len(self._entries) - 1
            new = [self._new_entry(last, one, own=False) for one in added]
            splices.append(self.json.behind(self._path(last), new))
        if whole:
            splices += self.json.without_items(self._list, len(self._entries), whole)
        return spliced(self.json.text, splices)

    def _edited(self, n: int, edit: EntryEdit) -> Iterator[Splice]:
        """Yield the splices of an entry that keeps something."""
        behind = edit.entries
        if len(edit.gone) == self._calls(n):
            yield self._in_place(n, behind[0])
            behind = behind[1:]
        else:
            yield from self.json.without_items(
                (*self._path(n), self._key(n, "names")), self._calls(n), edit.gone
            )
        if behind:
            new = [self._new_entry(n, one) for one in behind]
            yield self.json.behind(self._path(n), new)

    def _in_place(self, n: int, new: NewEntry) -> Splice:
        """Return the splice that makes an entry ``new``, which is for one of its calls."""
        key = self._key(n, "args")
        path = (*self._path(n), key)
        if self._entries[n].get(key) and new.action is None and self._calls(n) == 1:
            return Splice(*self.json.span(path), self._args(new.tests, self.json.indent(path)))
        return Splice(*self.json.span(self._path(n)), self._new_entry(n, new))

    # --- new text ----------------------------------------------------------------------------

    def _new_entry(self, n: int, new: NewEntry, *, own: bool = True) -> str:
        """Return the text of ``new`` like the entry at ``n``; with its other fields if ``own``."""
        entry, path = self._entries[n], self._path(n)
        indent, unit = self.json.indent(path), self._unit
        flat = self.json.is_flat(path)
        fields: dict[str, str] = {}
        for key in entry:
            match key.lower():
                case "name":
                    fields[key] = json.dumps(new.name)
                case "names":
                    fields[key] = self._names((*path, key), new.name, f"{indent}{unit}")
                case "action":
                    fields |= self._answer(n, key, new.action)
                    if new.tests:
                        fields["args"] = self._args(new.tests, f"{indent}{unit}", flat=flat)
                case "args":
                    pass
                case "errnoret" | "errno" if new.action is not None:
                    pass
                case _ if own:
                    fields[key] = self.json.source((*path, key))
        parts = [f"{json.dumps(key)}: {value}" for key, value in fields.items()]
        return laid_out(parts, "{}", indent, unit, flat=flat)

    def _names(self, path: Path, name: str, indent: str) -> str:
        return laid_out([json.dumps(name)], "[]", indent, self._unit, flat=self.json.is_flat(path))

    def _answer(self, n: int, key: str, action: Action | None) -> dict[str, str]:
        said = {key: self._entries[n][key]} if action is None else answer_fields(key, action)
        return {name: json.dumps(value) for name, value in said.items()}

    def _args(self, tests: Tests, indent: str, *, flat: bool = False) -> str:
        """Return comparisons as the first entry that has any lays them out."""
        keys = ((n, self._key(n, "args")) for n in range(len(self._entries)))
        like = next(((*self._path(n), key) for n, key in keys if self._entries[n].get(key)), None)
        return self.json.objects(map(compared, tests), like, indent, self._unit, flat=flat)

    @cached_property
    def _unit(self) -> str:
        return self.json.unit([self._path(n) for n in range(len(self._entries))])


@dataclass
class YamlProfile(_Entries):
    """A profile in YAML, such as an object of Security Profiles Operator."""

    text: str
    file: str
    thread: str | None
    document: Document

    def changed(self, edits: Mapping[int, EntryEdit], added: Sequence[NewEntry]) -> str:
        """Return the text with changed entries; see `JsonProfile.changed`."""
        self._require_entries()
        text: PolicyText | None = PolicyText(self.file, self.text.split("\n"), self._parse)
        # From the last one, so that earlier positions stay valid.
        for new in reversed(added):
            text = text and text.with_rule(self._lines(0, new, own=False), None)
        for n in sorted(edits, reverse=True):
            gone, entries = edits[n]
            more = n + 1 < len(self._entries)
            behind = self.document.position(self._path(n + 1)) if more else None
            for new in reversed(entries):
                text = text and text.with_rule(self._lines(n, new), behind)
            text = text and self._without(text, n, gone)
        if text is None:
            what = "the rules are not on lines of their own, one below the other"
            raise UndecidedError(what, kind=Problem.WRONG_VALUE)
        return "\n".join(text.lines)

    def _without(self, text: PolicyText, n: int, gone: Sequence[int]) -> PolicyText | None:
        if len(gone) == self._calls(n):
            return text.without_rule(self.document.position(self._path(n)))
        path = (*self._path(n), self._key(n, "names"))
        found: PolicyText | None = text
        for place in sorted(gone, reverse=True):
            found = found and found.without_name(self.document.position((*path, place)))
        return found

    def _parse(self, content: bytes, file: str) -> tuple[Document, Path]:
        return _document(content.decode(), file, self.thread)[0], self.base

    def _lines(self, n: int, new: NewEntry, *, own: bool = True) -> list[str]:
        """Return the lines of ``new`` like the entry at ``n``; with its other fields if ``own``."""
        entry, lines = self._entries[n], list[str]()
        inner = " " * self._inner(n)
        for key, value in entry.items():
            match key.lower():
                case "name":
                    lines.append(f"{key}: {new.name}")
                case "names" if self._inner(n) < 0:
                    lines.append(f"{key}: [{new.name}]")
                case "names":
                    lines += [f"{key}:", f"{inner}- {new.name}"]
                case "action":
                    said = {key: value} if new.action is None else answer_fields(key, new.action)
                    lines += [f"{name}: {one}" for name, one in said.items()]
                    lines += ["args:"] if new.tests else []
                    for test in new.tests:
                        first, *rest = (f"{k}: {v}" for k, v in compared(test).items())
                        lines += [f"{inner}- {first}", *(f"{inner}  {one}" for one in rest)]
                case "args":
                    pass
                case "errnoret" | "errno" if new.action is not None:
                    pass
                case _ if own:
                    lines.append(f"{key}: {json.dumps(value)}")
        return [f"{'  ' if at else '- '}{line}" for at, line in enumerate(lines)]

    def _inner(self, n: int) -> int:
        """Return how far the names of an entry are further in than their key; -1 on one line."""
        path = (*self._path(n), self._key(n, "names"))
        key, first = self.document.key_position(path), self.document.position((*path, 0))
        return first.column - 2 - key.column if first.line > key.line else -1


def answer_fields(key: str, action: Action) -> dict[str, Any]:
    """Return an action as the fields of an entry."""
    name = "NOTIFY" if action.kind is ActionKind.USER_NOTIF else action.kind.name
    fields: dict[str, Any] = {key: f"SCMP_ACT_{name}"}
    if action.kind in {ActionKind.ERRNO, ActionKind.TRACE} and action.data != _EPERM:
        fields["errnoRet"] = action.data
    return fields


def compared(test: Comparison) -> dict[str, Any]:
    """Return a comparison as the fields of a profile."""
    fields: dict[str, Any] = {"index": test.argument, "value": test.value}
    if test.op is Op.MASKED_EQ:
        fields |= {"value": test.mask, "valueTwo": test.value}
    return {**fields, "op": f"SCMP_CMP_{test.op.name}"}
