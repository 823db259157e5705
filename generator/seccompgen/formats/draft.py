"""A policy in our language in the making, each of its parts with its place in a foreign file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path as Directory
from typing import TYPE_CHECKING, Any

from seccompgen.io.file_reach import read_named
from seccompgen.io.reading import decode_text
from seccompgen.policy.document import MAX_POLICY, Document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seccompgen.core.errors import Diagnostic, Position
    from seccompgen.policy.document import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """A call that a rule names, with its place; ``when`` must hold of its arguments."""

    name: str | int
    position: Position
    when: str | None = None


@dataclass
class Draft:
    """The translation of ``file``: what is said here reads as our own policy file would.

    ``notes`` are worth telling but no errors; ``sources`` are the files that were read besides,
    with their sha256. ``profile`` is how often each call is made, where the file tells.
    ``remarks`` are comments that go above a group of rules, by its index. ``outside`` are
    directories below which the file may name others as well.
    """

    file: str
    notes: list[Diagnostic] = field(default_factory=list)
    sources: list[tuple[str, str]] = field(default_factory=list)
    profile: dict[str, int] = field(default_factory=dict)
    remarks: dict[int, str] = field(default_factory=dict)
    outside: tuple[Directory, ...] = ()
    _data: dict[str, Any] = field(default_factory=dict)
    _keys: dict[Path, Position] = field(default_factory=dict)
    _values: dict[Path, Position] = field(default_factory=dict)

    def setting(self, key: str, value: Any, position: Position) -> None:
        """Say a setting of the policy as a whole, such as ``default_action``."""
        self._data[key] = value
        self._keys[key,] = self._values[key,] = position

    def rule(self, action: str, entries: Sequence[Entry], position: Position, **more: Any) -> None:
        """Add a group of rules, after those that are there: the first that matches wins.

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
        """Say something above the group that was added last."""
        self.remarks[len(self._data["syscalls"]) - 1] = text

    def read(self, path: Directory) -> str:
        """Return the text of another file that this one names, or that lies beside it.

        Raises OSError if it cannot be read, or may not be, and InputError if it is no text.
        """
        content = read_named(path, Directory(self.file), MAX_POLICY, self.outside)
        text = decode_text(content, str(path))
        self.sources.append((str(path), hashlib.sha256(content).hexdigest()))
        return text

    @property
    def groups(self) -> Mapping[int, Position]:
        """The place of each group of rules, by its index."""
        return {
            path[1]: where
            for path, where in self._values.items()
            if len(path) == 2 and isinstance(path[1], int)
        }

    def document(self) -> Document:
        """Return what was said so far, as a document."""
        from seccompgen.core.errors import Position  # noqa: PLC0415

        start = {(): Position(self.file, 1, 1)}
        data = {"syscalls": [], **self._data}
        return Document(self.file, data, self._keys, start | self._values)
