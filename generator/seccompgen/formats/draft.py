"""A policy in our language under construction; each part keeps its position in a foreign file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path as Directory
from typing import TYPE_CHECKING, Any

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.problems import Problem
from seccompgen.io.file_reach import read_named
from seccompgen.io.reading import decode_text
from seccompgen.policy.document import MAX_POLICY, Document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.formats.source_comments import SourceComment
    from seccompgen.policy.document import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """A call that a rule names, its position, and the condition on its arguments or None."""

    name: str | int
    position: Position
    when: str | None = None


@dataclass
class Draft:
    """The translation of ``file``, in the form of our own policy files.

    ``notes`` are remarks, not errors; ``sources`` are the other files that were read, with their
    sha256; ``includes`` are those of them that are policies and that the file includes itself.
    ``profile`` maps calls to how often they are made, if the file states it. ``remarks``
    are comments to write above groups of rules, by the group's index; ``comments`` are those of the
    file itself. ``outside`` lists further directories from which the file may name files.
    """

    file: str
    notes: list[Diagnostic] = field(default_factory=list)
    sources: list[tuple[str, str]] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)
    profile: dict[str, int] = field(default_factory=dict)
    remarks: dict[int, str] = field(default_factory=dict)
    comments: list[SourceComment] = field(default_factory=list)
    outside: tuple[Directory, ...] = ()
    _data: dict[str, Any] = field(default_factory=dict)
    _keys: dict[Path, Position] = field(default_factory=dict)
    _values: dict[Path, Position] = field(default_factory=dict)

    def setting(self, key: str, value: Any, position: Position) -> None:
        """Add a setting of the policy as a whole, such as ``default_action``."""
        self._data[key] = value
        self._keys[key,] = self._values[key,] = position

    def rule(self, action: str, entries: Sequence[Entry], position: Position, **more: Any) -> None:
        """Append a group of rules; the first rule of the policy that matches a call wins.

        ``more`` are further keys of a group: ``arches``, ``multiplexed``, ``optional``.
        """
        groups = self._data.setdefault("syscalls", [])
        path: Path = ("syscalls", len(groups))
        group: dict[str, Any] = {"action": action, **more}
        for one in entries:
            key = "names_with_args" if one.when else "names"
            listed = group.setdefault(key, [])
            self._values[*path, key, len(listed)] = one.position
            listed.append({"name": one.name, "when": one.when} if one.when else one.name)
        groups.append(group)
        self._values[path] = position

    def remark(self, text: str) -> None:
        """Set the comment above the group that was added last."""
        self.remarks[len(self._data["syscalls"]) - 1] = text

    def note(self, text: str, position: Position, kind: Problem) -> None:
        """Add a note about the file, which is no error."""
        self.notes.append(Diagnostic(text, position, kind))

    def abis(self, reading: Reading, why: str) -> list[Abi]:
        """Return the ABIs of ``reading``; without any, x86_64, and add a note that says ``why``."""
        if reading.abis:
            return [ABIS[name] for name in dict.fromkeys(reading.abis)]
        text = f"{why}: read for x86_64, name another ABI with --for"
        self.note(text, Position(self.file), Problem.ABI_NEEDED)
        return [ABIS["x86_64"]]

    def machines(
        self, reading: Reading, known: Mapping[str, Sequence[str]], program: str
    ) -> list[Abi]:
        """Return the machines to read a file of ``program`` for, except those that others serve.

        ``known`` are the ABIs of the program's machines, each with the other ABIs that a filter
        serves there. Raises InputError for another one.
        """
        chosen = self.abis(reading, f"{program} makes a filter for the machine that it runs on")
        strange = [abi.name for abi in chosen if abi.name not in known]
        if strange:
            text = f"--for: {program} runs on no {strange[0]} machine; known: {', '.join(known)}"
            raise InputError(text, kind=Problem.UNKNOWN_ABI)
        served = {other for abi in chosen for other in known[abi.name]}
        return [abi for abi in chosen if abi.name not in served]

    def read(self, path: Directory) -> str:
        """Return the text of another file that this one names, or that lies next to it.

        Raises OSError if the file cannot or may not be read, and InputError if it is not text.
        """
        content = read_named(path, Directory(self.file), MAX_POLICY, self.outside)
        text = decode_text(content, str(path))
        self.sources.append((str(path), hashlib.sha256(content).hexdigest()))
        return text

    def with_entries(self, change: Callable[[Entry], Entry | None]) -> Draft:
        """Return the draft with ``change`` applied to each entry; None removes one."""
        plain = {path: where for path, where in self._values.items() if path[0] != "syscalls"}
        data = {key: value for key, value in self._data.items() if key != "syscalls"}
        found = replace(self, remarks={}, _data=data, _values=plain)
        for i, group in enumerate(self._data.get("syscalls", ())):
            entries: list[Entry] = []
            for key in ("names", "names_with_args"):
                for j, one in enumerate(group.get(key, ())):
                    where = self._values["syscalls", i, key, j]
                    named = one if isinstance(one, dict) else {"name": one}
                    if entry := change(Entry(position=where, **named)):
                        entries.append(entry)
            more = {
                k: v for k, v in group.items() if k not in {"action", "names", "names_with_args"}
            }
            if entries:
                found.rule(group["action"], entries, self._values["syscalls", i], **more)
            if entries and i in self.remarks:
                found.remark(self.remarks[i])
        return found

    @property
    def groups(self) -> Mapping[int, Position]:
        """The position of each group of rules, by its index."""
        return {
            path[1]: where
            for path, where in self._values.items()
            if len(path) == 2 and isinstance(path[1], int)
        }

    def document(self) -> Document:
        """Return the settings and rules so far as a document."""
        start = {(): Position(self.file, 1, 1)}
        data = {"syscalls": [], **self._data}
        return Document(self.file, data, self._keys, start | self._values)


def chosen(names: Sequence[str], wanted: str | None, at: Position) -> str:
    """Return ``wanted`` or, if that is None, the only name. Raises InputError in other cases."""
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is not None and wanted in names:
        return wanted
    listed = ", ".join(names)
    text = "has several filters: name one with --filter, or let convert write all of them with "
    text += f"-o DIR/: {listed}"
    if wanted is not None:
        text = f"has no filter {wanted!r}{did_you_mean(wanted, names)}, but {listed}"
    raise InputError(Diagnostic(text, at, Problem.SEVERAL_FILTERS))
