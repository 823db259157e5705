"""Profiles of firejail as directives, every word with its position.

A directive is a word and a value; ``#`` begins a comment. ``include`` reads another profile,
``ignore`` takes later lines away, ``?CONDITION:`` makes one depend on the machine or on the command
line. Directives that have no part in a filter are checked by their words alone.

Sources: profile.c of firejail 0.9.74 and later.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import (
    MOST_HINTS,
    Diagnostic,
    InputError,
    Position,
    cannot,
    did_you_mean,
)
from seccompgen.core.problems import Problem
from seccompgen.formats.firejail.words import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.formats.draft import Draft

FILTERING = frozenset(words("directives")["filtering"])
"""The directives that have a part in a filter."""
_ALONE, _VALUED, _GONE = (
    frozenset(words("directives")[kind]) for kind in ("alone", "valued", "gone")
)
"""Directives without a value and with one, and those that later releases refuse."""
_CONDITIONS = frozenset(words("others")["conditions"])
_WITHOUT_FILTERS = frozenset(f"{name}.inc" for name in words("others")["includes"])
"""Files that firejail installs, none of which has a line for a filter in 0.9.66 to 0.9.80."""
_INSTALLED = re.compile(r"(?:\$\{CFG\}|/etc/firejail|(?:\$\{HOME\}|~)/\.config/firejail)/")
"""The directories that firejail searches, as profiles write them."""
_LONGEST_LINE, _MOST_IGNORED, _DEEPEST, _MOST_FILES = 8190, 32, 16, 200
_WIDTH = 90

_LINE = re.compile(r"[ \t]*([^ \t]+)[ \t]*(.*)", re.DOTALL)
_CONDITION = re.compile(r"[ \t]*\?([^: \t]*)[ \t]?:[ \t]*")


class FirejailLine(NamedTuple):
    """A line of a profile: its word, its value or "", and their positions."""

    word: str
    value: str
    position: Position
    value_position: Position

    @property
    def text(self) -> str:
        """The line as firejail compares it, with single blanks."""
        return " ".join([self.word, *re.split(r"[ \t]+", self.value)]).rstrip()


def _remark(lines: Sequence[str], index: int, one: FirejailLine) -> str:
    """Return the comments right above a line, the comment on it, and the line itself."""
    first = index
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    found = [line.strip().lstrip("#").strip() for line in lines[first:index]]
    _, mark, trailing = lines[index].partition("#")
    found += [trailing.strip()] if mark else []
    return "\n".join([*found, *wrap(one.text, _WIDTH, break_on_hyphens=False)])


@dataclass
class ProfileFiles:
    """The directives of a profile and of the files that it includes; collects their errors.

    ``missing`` are files that count as empty, ``remarks`` what a policy says of a line.
    """

    draft: Draft
    faults: list[Diagnostic] = field(default_factory=list)
    missing: dict[str, Position] = field(default_factory=dict)
    remarks: dict[tuple[str, int], str] = field(default_factory=dict)
    _ignored: list[str] = field(default_factory=list)
    _including: tuple[str, ...] = ()
    _files: int = 0

    def directives(self, text: str, file: str) -> Iterator[FirejailLine]:
        """Yield the directives of a file that have a part in a filter, in firejail's order."""
        self._including = (*self._including, file)
        lines = text.split("\n")
        for number, line in enumerate(lines, start=1):
            at = Position(file, number, 1)
            if len(line.encode()) > _LONGEST_LINE:
                self.fault("a line this long is several lines to firejail", at)
                continue
            body = line.partition("#")[0].partition("\r")[0].rstrip(" \t")
            for one in self._line(body, at):
                if one.position.file == file:
                    self.remarks[file, number] = _remark(lines, number - 1, one)
                yield one
        self._including = self._including[:-1]

    def fault(self, text: str, where: Position, kind: Problem = Problem.MALFORMED_FILE) -> None:
        """Add an error."""
        self.faults.append(Diagnostic(text, where, kind))

    def note_missing(self) -> None:
        """Add a note that lists the files that were not found and count as empty."""
        if self.missing:
            text = "not found, and taken for files without a line for a filter: "
            text += f"{', '.join(self.missing)}; next to the profile, or in a directory that "
            text += "--allow-outside names, they are read"
            self.draft.note(text, next(iter(self.missing.values())), Problem.SOURCE_MISSING)

    def _line(self, body: str, at: Position) -> Iterator[FirejailLine]:
        start, condition = 0, None
        if body.lstrip(" \t").startswith("?"):
            match = _CONDITION.match(body)
            condition = match[1] if match else ""
            if match is None or condition not in _CONDITIONS:
                hint = did_you_mean(condition, _CONDITIONS) if condition else ""
                self.fault(f"firejail has no such condition{hint}: write ?HAS_NET: LINE", at)
                return
            start = match.end()
        found = _LINE.fullmatch(body, start)
        if found is None:
            if condition:
                self.fault(f"no directive follows the condition {condition}", at)
            return
        places = [Position(at.file, at.line, found.start(i) + 1) for i in (1, 2)]
        one = FirejailLine(found[1], found[2], *places)
        text = f"{one.text} "
        if any(text.startswith(f"{line} ") for line in self._ignored):
            return
        if condition is None:
            yield from self._directive(one)
        elif self._is_known(one) and self._matters(one):
            text = f"whether {condition} holds is not known here: take the condition away, or the "
            self.fault(f"{text}line", one.position, Problem.WRONG_STATEMENT)

    def _matters(self, one: FirejailLine) -> bool:
        words = (one.word, one.value.partition(" ")[0] if one.word == "ignore" else one.word)
        return any(word in FILTERING or word == "include" for word in words)

    def _is_known(self, one: FirejailLine) -> bool:
        """Return True if firejail has the directive, with this value or none; else add an error."""
        words = _VALUED if one.value else _ALONE
        if one.word in words:
            return True
        if one.word in _GONE:
            text = f"later releases of firejail refuse the directive {one.word!r}; it has no part "
            self.draft.note(f"{text}in a filter", one.position, Problem.TOOLS_DIFFER)
        elif one.word in _VALUED | _ALONE:
            text = f"{one.word} {'takes no' if one.value else 'needs a'} value"
            self.fault(text, one.value_position if one.value else one.position)
        else:
            hint = did_you_mean(one.word, words) if len(self.faults) < MOST_HINTS else ""
            self.fault(f"firejail has no directive {one.word!r}{hint}", one.position)
        return False

    def _directive(self, one: FirejailLine) -> Iterator[FirejailLine]:
        if not self._is_known(one):
            return
        if one.word == "include":
            yield from self._include(one)
        elif one.word == "ignore":
            self._ignored.append(one.text.removeprefix("ignore "))
            if len(self._ignored) > _MOST_IGNORED:
                self.fault(f"firejail takes at most {_MOST_IGNORED} ignores", one.position)
        elif one.word in FILTERING:
            yield one

    # --- included files ----------------------------------------------------------------------

    def _include(self, one: FirejailLine) -> Iterator[FirejailLine]:
        self._files += 1
        if self._files > _MOST_FILES:
            if self._files == _MOST_FILES + 1:
                text = f"more than {_MOST_FILES} files are included"
                self.fault(text, one.position, Problem.DEEP_INCLUDE)
            return
        path = self._path(one)
        if path is None:
            self._not_found(one)
            return
        if len(self._including) > _DEEPEST or str(path) in self._including:
            circular = str(path) in self._including
            kind = Problem.CIRCULAR_INCLUDE if circular else Problem.DEEP_INCLUDE
            text = f"{path} includes itself" if circular else "files are included too deeply"
            self.fault(text, one.position, kind)
            return
        try:
            text = self.draft.read(path)
        except OSError as error:
            text = cannot("read", path, error)
            self.fault(text, one.value_position, Problem.UNREADABLE_FILE)
        except InputError as error:
            self.faults += error.diagnostics
        else:
            yield from self.directives(text, str(path))

    def _not_found(self, one: FirejailLine) -> None:
        """Count a missing file as empty where firejail, or its own file, says so."""
        name = one.value.rpartition("/")[2]
        if name.endswith(".local") or name in _WITHOUT_FILTERS:
            self.missing.setdefault(name, one.position)
            return
        text = f"cannot find {one.value}: put it next to the profile, or name the directory that "
        text += "it is in with --allow-outside, such as /etc/firejail"
        self.fault(text, one.value_position, Problem.UNREADABLE_FILE)

    def _path(self, one: FirejailLine) -> Path | None:
        """Return the file that an include means here; None if there is none.

        firejail searches the user's directory and the system's. Here these are the directory of the
        profile, that of the including file, and those that the command line allows.
        """
        named = _INSTALLED.sub("", one.value)
        own = Path(self._including[-1]).parent
        directories = [own]
        if "/" not in named:
            directories += [Path(self._including[0]).parent, *self.draft.outside]
        paths = [directory / named for directory in directories]
        return next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113 - false for too long a name
