"""The text of a profile with some entries changed, and new ones in its own layout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from seccompgen.core.errors import UndecidedError
from seccompgen.core.model import ActionKind, Op
from seccompgen.core.problems import Problem
from seccompgen.formats.json_splices import JsonText, Splice, laid_out, spliced
from seccompgen.policy.document import read_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seccompgen.core.model import Action, Comparison
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


def profile_text(text: str, file: str) -> JsonProfile:
    """Return the text of a profile. Raises InputError if it cannot be read."""
    document = read_document(text.replace("\t", " ").encode(), file)
    return JsonProfile(JsonText(text, document), document)


@dataclass
class JsonProfile:
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
            if not self._entries:
                text = "the profile has no rules, next to which others could be put"
                raise UndecidedError(text, kind=Problem.WRONG_VALUE)
            last = len(self._entries) - 1
            new = [self._new_entry(last, one, own=False) for one in added]
            splices.append(self.json.behind(self._path(last), new))
        if whole:
            splices += self.json.without_items(self._list, len(self._entries), whole)
        return spliced(self.json.text, splices)

    def _edited(self, n: int, edit: EntryEdit) -> Iterator[Splice]:
        """Yield the splices of an entry of which something is left."""
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

    # --- the entries of the file -------------------------------------------------------------

    @cached_property
    def _base(self) -> Path:
        data = self.document.data
        if isinstance(data.get("linux"), dict):
            return ("linux", "seccomp")
        return ("spec",) if data.get("kind") == "SeccompProfile" else ()

    @cached_property
    def _list(self) -> Path:
        data = self.document.data
        for key in self._base:
            data = data[key]
        return (*self._base, next((one for one in data if one.lower() == "syscalls"), "syscalls"))

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
        if action is None:
            return {key: json.dumps(self._entries[n][key])}
        fields = {key: f'"SCMP_ACT_{action_name(action.kind)}"'}
        if action.kind in {ActionKind.ERRNO, ActionKind.TRACE} and action.data != _EPERM:
            fields["errnoRet"] = str(action.data)
        return fields

    def _args(self, tests: Tests, indent: str, *, flat: bool = False) -> str:
        """Return comparisons as the first entry that has any lays them out."""
        keys = ((n, self._key(n, "args")) for n in range(len(self._entries)))
        like = next(((*self._path(n), key) for n, key in keys if self._entries[n].get(key)), None)
        return self.json.objects(map(compared, tests), like, indent, self._unit, flat=flat)

    @cached_property
    def _unit(self) -> str:
        return self.json.unit([self._path(n) for n in range(len(self._entries))])


def action_name(kind: ActionKind) -> str:
    """Return the name of an action in profiles, without its prefix."""
    return "NOTIFY" if kind is ActionKind.USER_NOTIF else kind.name


def compared(test: Comparison) -> dict[str, Any]:
    """Return a comparison as the fields of a profile."""
    fields: dict[str, Any] = {"index": test.argument, "value": test.value}
    if test.op is Op.MASKED_EQ:
        fields |= {"value": test.mask, "valueTwo": test.value}
    return {**fields, "op": f"SCMP_CMP_{test.op.name}"}
