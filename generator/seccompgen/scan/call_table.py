"""The calls of many programs, in a SQLite file that can be asked while it grows.

Each program is added in one transaction, so a killed scan leaves whole rows. A table belongs to one
set of packages and one scanner; another would mix results that do not compare.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, InputError, Position

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seccompgen.scan.packages import ScannedProgram

_SCHEMA = """
CREATE TABLE about (made_of TEXT NOT NULL, finished INTEGER NOT NULL);
CREATE TABLE programs (
  package TEXT NOT NULL, version TEXT NOT NULL, file TEXT NOT NULL, build_id TEXT NOT NULL,
  calls INTEGER NOT NULL, unknown INTEGER NOT NULL, seconds REAL NOT NULL, problem TEXT NOT NULL,
  PRIMARY KEY (package, file)
);
CREATE TABLE calls (
  call TEXT NOT NULL, package TEXT NOT NULL, file TEXT NOT NULL, PRIMARY KEY (call, package, file)
);
"""


class Callers(NamedTuple):
    """The programs that can make a call: package, version and file of each.

    ``unclear`` are those whose calls are not all known, and that may make it as well. ``finished``
    is False if a scan has still to add programs.
    """

    known: tuple[tuple[str, str, str], ...]
    unclear: tuple[tuple[str, str, str], ...]
    finished: bool


class CallTable:
    """A table that a scan adds to; ``made_of`` identifies the packages and the scanner."""

    def __init__(self, path: Path, made_of: str) -> None:
        self._path = path
        with _errors(path):
            self._database = sqlite3.connect(path)
        try:
            self._begin(made_of)
        except InputError:
            self.close()
            raise

    def _begin(self, made_of: str) -> None:
        with _errors(self._path), self._database:
            if not self._database.execute("SELECT name FROM sqlite_master").fetchone():
                for statement in _SCHEMA.split(";"):
                    self._database.execute(statement)
                self._database.execute("INSERT INTO about VALUES (?, 0)", (made_of,))
            (known,) = self._database.execute("SELECT made_of FROM about").fetchone()
        if known != made_of:
            text = "was made of other packages, or by another release: name a new table"
            raise InputError(Diagnostic(text, Position(str(self._path))))

    def programs(self) -> set[tuple[str, str]]:
        """Return package and file of the programs that the table has."""
        with _errors(self._path):
            return set(self._database.execute("SELECT package, file FROM programs"))

    def add(self, row: ScannedProgram) -> None:
        """Add a program, with all of its calls or not at all."""
        values = (row.package, row.version, row.file, row.build_id, len(row.calls), row.unknown)
        calls = [(call, row.package, row.file) for call in row.calls]
        with _errors(self._path), self._database:
            self._database.execute(
                "INSERT INTO programs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, row.seconds, row.problem),
            )
            self._database.executemany("INSERT INTO calls VALUES (?, ?, ?)", calls)

    def finish(self) -> None:
        """Note that the table has all programs."""
        with _errors(self._path), self._database:
            self._database.execute("UPDATE about SET finished = 1")

    def counts(self) -> tuple[int, int, int]:
        """Return how many programs there are, with unknown calls, and that were not scanned."""
        query = "SELECT count(*), coalesce(sum(unknown > 0), 0), coalesce(sum(problem != ''), 0)"
        with _errors(self._path):
            programs, unknown, problems = self._database.execute(
                f"{query} FROM programs"
            ).fetchone()
        return programs, unknown, problems

    def close(self) -> None:
        """Close the file."""
        self._database.close()


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, TypeError) as error:
        text = f"cannot be used as a table of scans: {error}"
        raise InputError(Diagnostic(text, Position(str(path)))) from None


def callers(path: Path, call: str) -> Callers:
    """Return the programs that can make ``call``, by the table at ``path``."""
    if not path.is_file():
        raise InputError(Diagnostic("there is no such table", Position(str(path))))
    with _errors(path), contextlib.closing(sqlite3.connect(path)) as database:
        (finished,) = database.execute("SELECT finished FROM about").fetchone()
        known = database.execute(
            "SELECT package, version, file FROM calls JOIN programs USING (package, file)"
            " WHERE call = ? ORDER BY package, file",
            (call,),
        ).fetchall()
        unclear = database.execute(
            "SELECT package, version, file FROM programs WHERE (unknown OR problem != '')"
            " AND NOT EXISTS (SELECT 1 FROM calls WHERE call = ? AND calls.package ="
            " programs.package AND calls.file = programs.file) ORDER BY package, file",
            (call,),
        ).fetchall()
    return Callers(tuple(known), tuple(unclear), bool(finished))
