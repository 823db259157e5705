"""Read the frequencies of a program's system calls: strace's summary, or a file of counts.

Two forms, recognised by the content:

- the output of ``strace -c``: tables with a line of titles, in the order that ``-U`` sets;
  several tables (``strace -f`` of two ABIs, files put together) add up;
- lines ``name: count``, with ``#`` comments: minijail's ``@frequency`` files, and our own.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from seccompgen.core.errors import MOST_HINTS, Diagnostic, InputError, Position, did_you_mean
from seccompgen.core.objective import Profile
from seccompgen.core.problems import Problem
from seccompgen.io.reading import decode_text, read_input

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.tables import Tables

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COUNT = re.compile(r"0|[1-9][0-9]{0,18}")
_RULE = re.compile(r"-+( -+)*")
# Titles from strace's count.c; "% time" is one title of two words.
_TITLES = frozenset(
    {"%time", "seconds", "shortest", "longest", "usecs/call", "calls", "errors", "syscall"}
)
# Lines that strace writes between and around its tables, into the same file.
_CHATTER = re.compile(r"System call usage summary for .* mode:|strace: Process \d+ (at|de)tached")


def read_profile(path: Path) -> Profile:
    """Return the counts in the file at ``path``.

    Raises InputError with every error of the file and its position: a count that is no whole
    number, a line of neither form, a name that is counted twice, or no counts at all.
    """
    file = str(path)
    if not file.isprintable():
        # The name goes into a comment of generated code.
        message = f"unprintable characters in {file!r}: rename the profile"
        raise InputError(message, kind=Problem.UNPRINTABLE_NAME)
    content = read_input(path, pipes=True)
    text = decode_text(content, file)
    reader = _ProfileReader(file)
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if any(map(_titles, lines)):
        reader.read_tables(lines)
    else:
        reader.read_counts(lines)
    return reader.profile(hashlib.sha256(content).hexdigest())


def unknown_calls(profile: Profile, tables: Tables) -> tuple[Diagnostic, ...]:
    """Return a note for each name in ``profile`` that no ABI of ``tables`` has, in file order.

    That is no error: programs are traced on kernels newer than the tables, and on ABIs with other
    names of a call.
    """
    known = tables.calls
    unknown = [name for name in profile.counts if name not in known]
    notes = []
    for i, name in enumerate(unknown):
        # Each hint compares with every known name, so their number is limited.
        hint = did_you_mean(name, known) if i < MOST_HINTS else ""
        message = f"no ABI of Linux {tables.tag} has {name!r}{hint}: its count is not used"
        notes.append(
            Diagnostic(
                message,
                profile.positions.get(name, Position(profile.file)),
                Problem.UNKNOWN_PROFILED_CALL,
            )
        )
    return tuple(notes)


def _titles(line: str) -> list[str] | None:
    """Return the titles in ``line`` if it is the first line of a table from strace; else None."""
    words = line.replace("% time", "%time").split()
    return words if "syscall" in words and _TITLES.issuperset(words) else None


class _ProfileReader:
    """Counts and errors so far; lines and columns count from 1."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._counts: dict[str, int] = {}
        self._positions: dict[str, Position] = {}
        self._errors: list[Diagnostic] = []

    def profile(self, sha256: str) -> Profile:
        """Return the profile; raise InputError if there was any error."""
        if not self._errors and not any(self._counts.values()):
            message = "no calls are counted here: write lines 'name: count', or trace the program"
            self._fail(f"{message} with strace -c -f -o FILE", 1, 1)
        if self._errors:
            raise InputError(*self._errors)
        return Profile(self._counts, self._file, sha256, self._positions)

    def read_counts(self, lines: list[str]) -> None:
        """Read lines ``name: count``."""
        for number, line in enumerate(lines, 1):
            content = line.partition("#")[0].rstrip()
            if not content:
                continue
            before, colon, after = content.partition(":")
            name, count = before.strip(), after.strip()
            if not colon:
                column = len(content) - len(content.lstrip()) + 1
                self._fail("not a line 'name: count'", number, column)
                continue
            first = self._positions.get(name)
            if first:
                message = f"{name!r} is counted twice, first on line {first.line}: add the two up"
                self._fail(message, number, line.index(name) + 1)
                continue
            self._add(name, count, number, len(before) - len(before.lstrip()), content.rfind(count))

    def read_tables(self, lines: list[str]) -> None:
        """Read strace's tables; a row has a word per title, but may leave out 'errors'."""
        titles: list[str] | None = None
        rules = 0
        foreign = -1
        for number, line in enumerate(lines, 1):
            words = line.split()
            found = _titles(line)
            if found:
                titles, rules = found, 0
                if "calls" not in titles:
                    self._fail("the table has no column 'calls': add it to strace's -U", number, 1)
            elif not words or _CHATTER.fullmatch(line):
                continue
            elif titles is None:
                # A program's own output or a whole trace: one error covers all its lines.
                if foreign != number - 1:
                    message = "no part of a table of strace -c: remove it, or write the table"
                    self._fail(f"{message} to a file of its own with strace -o", number, 1)
                foreign = number
            elif _RULE.fullmatch(line.strip()):
                rules += 1
            elif rules == 2 and "total" in words:
                titles = None
            else:
                self._read_row(titles, line, number)

    def _read_row(self, titles: list[str], line: str, number: int) -> None:
        words = [(match[0], match.start()) for match in re.finditer(r"\S+", line)]
        if len(words) == len(titles) - 1 and "errors" in titles:
            words.insert(titles.index("errors"), ("0", 0))
        if len(words) != len(titles):
            message = f"{len(words)} words under {len(titles)} titles: the line is cut off or long"
            self._fail(message, number, 1)
        elif "calls" in titles:
            name, name_at = words[titles.index("syscall")]
            count, count_at = words[titles.index("calls")]
            self._add(name, count, number, name_at, count_at)

    def _add(self, name: str, count: str, line: int, name_at: int, count_at: int) -> None:
        """Add ``count``; ``name_at`` and ``count_at`` are their columns in the line, from 0."""
        if not _NAME.fullmatch(name):
            self._fail(f"{name[:40]!r} is not the name of a system call", line, name_at + 1)
            return
        self._positions.setdefault(name, Position(self._file, line, name_at + 1))
        if not _COUNT.fullmatch(count):
            message = f"{count[:40]!r} is no count: write a whole number from 0 on"
            self._fail(f"{message}, of at most 19 digits", line, count_at + 1)
            return
        self._counts[name] = self._counts.get(name, 0) + int(count)

    def _fail(self, message: str, line: int, column: int) -> None:
        self._errors.append(
            Diagnostic(message, Position(self._file, line, column), Problem.WRONG_PROFILE)
        )
