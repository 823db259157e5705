"""A directory of foreign policies as one of ours: a file for a file, an include for an include."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.core.errors import AnswerNo, Diagnostic, InputError, Position
from seccompgen.core.foreign import OURS
from seccompgen.core.problems import Problem
from seccompgen.filters.combine.convert import (
    Included,
    convert_all,
    converted,
    foreign_policy,
)
from seccompgen.formats import filter_names
from seccompgen.formats.detect import detect
from seccompgen.io.reading import read_input
from seccompgen.policy.document import MAX_POLICY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables
    from seccompgen.filters.combine.convert import Converted, ForeignPolicy

_MOST_FILES = 5000
"""The most files of a directory that are looked at."""


def convert_tree(directory: Path, tables: Tables, reading: Reading) -> dict[Path, Converted]:
    """Return each foreign policy below ``directory`` as ours, by its path there.

    A file without a sign of another format is left out, as is one that others read but do not
    include as a policy. Raises InputError with all errors of all files.
    """
    return _Tree(directory, tables, reading).converted()


class _Tree:
    """The foreign policies of a directory, by their paths with links resolved."""

    def __init__(self, directory: Path, tables: Tables, reading: Reading) -> None:
        self._directory, self._tables = directory, tables
        self._reading = replace(reading, outside=(*reading.outside, directory))
        self._several: list[Path] = []
        self._policies: dict[str, ForeignPolicy] = {}
        self._done: dict[str, Converted] = {}

    def converted(self) -> dict[Path, Converted]:
        problems = self._read()
        found: dict[Path, Converted] = {}
        for path in self._several:
            try:
                several = convert_all(path, self._tables, self._reading)
                found |= {
                    path.with_suffix("") / f"{name}.yml": one for name, one in several.items()
                }
            except InputError as error:
                problems |= dict.fromkeys(error.diagnostics)
        for real, one in self._policies.items():
            target = one.path.with_suffix(".yml")
            if target in found:
                text = f"{one.path} and another file would both become {target.name}: rename one"
                problems[Diagnostic(text, Position(str(one.path)), Problem.FILE_EXISTS)] = None
            found[target] = self._converted(real)
        if problems:
            raise InputError(*problems)
        if not found:
            text = "has no policy of another format: name a file, or the format with --from"
            where = Position(str(self._directory))
            raise InputError(Diagnostic(text, where, Problem.MALFORMED_FILE))
        return {path.relative_to(self._directory): one for path, one in found.items()}

    def _read(self) -> dict[Diagnostic, None]:
        """Read all policies; return the errors."""
        failed: dict[str, tuple[Diagnostic, ...]] = {}
        for path in self._files():
            content = read_input(path, MAX_POLICY)
            form = detect(content)
            if form == OURS or self._reading.format not in {None, form}:
                continue
            real = os.path.realpath(path)
            try:
                if filter_names(content, str(path), self._reading):
                    self._several.append(path)
                else:
                    self._policies[real] = foreign_policy(path, self._tables, self._reading)
            except InputError as error:
                failed[real] = error.diagnostics
        drafts = [one.draft for one in self._policies.values()]
        read = {os.path.realpath(name) for draft in drafts for name, _ in draft.sources}
        for part in read - {os.path.realpath(name) for draft in drafts for name in draft.includes}:
            failed.pop(part, None)
            self._policies.pop(part, None)
        return dict.fromkeys(text for errors in failed.values() for text in errors)

    def _files(self) -> Iterator[Path]:
        """Yield the files of the directory, without hidden ones and links to directories."""
        count = 0
        for place, directories, names in os.walk(self._directory):
            directories[:] = sorted(one for one in directories if not one.startswith("."))
            for name in sorted(one for one in names if not one.startswith(".")):
                path = self._directory / os.path.relpath(place, self._directory) / name
                count += 1
                if count > _MOST_FILES:
                    text = f"has more than {_MOST_FILES} files: convert parts of it"
                    where = Position(str(self._directory))
                    raise InputError(Diagnostic(text, where, Problem.TOO_LARGE))
                if path.is_file():
                    yield path

    def _converted(self, real: str) -> Converted:
        """Return a policy as ours: with includes or, if these do not mean the same, without."""
        if real not in self._done:
            one = self._policies[real]
            included = self._included(one)
            try:
                found = converted(one, self._tables, included)
            except (AnswerNo, InputError):
                if not included.names:
                    raise
                found = converted(one, self._tables)
            counted = [self._done[key].profile for key in self._keys(one)]
            self._done[real] = replace(found, profile={}) if found.profile in counted else found
        return self._done[real]

    def _keys(self, one: ForeignPolicy) -> list[str]:
        """Return the policies of the directory that ``one`` includes."""
        keys = (os.path.realpath(name) for name in one.draft.includes)
        return [key for key in dict.fromkeys(keys) if key in self._policies]

    def _included(self, one: ForeignPolicy) -> Included:
        names: list[str] = []
        sources: set[str] = set()
        contents: dict[str, bytes] = {}
        settings: dict[str, object] = dict(one.draft.document().data)
        del settings["syscalls"]
        for key in self._keys(one):
            other = self._policies[key]
            text = self._converted(key).text
            inner = self._included(other)
            target = other.path.with_suffix(".yml")
            names.append(os.path.relpath(target, one.path.parent))
            sources |= {key, *inner.sources}
            sources |= {os.path.realpath(name) for name, _ in other.draft.sources}
            contents |= inner.contents
            contents[str(one.path.parent / names[-1])] = text.encode()
            said = other.draft.document().data
            settings = {k: value for k, value in settings.items() if said.get(k) == value}
        return Included(tuple(names), frozenset(sources), settings if names else {}, contents)
