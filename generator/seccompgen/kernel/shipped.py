"""The tables of the pinned tag, which are part of seccompgen, and tables in other directories."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import AnswerNo, Diagnostic, InputError, Position
from seccompgen.core.facts import NO_FACTS, Facts
from seccompgen.core.tables import Table, Tables, UpstreamFile
from seccompgen.io.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seccompgen.core.releases import Introduced

LOCK_NAME = "kernel.lock.toml"
MATRIX_NAME = "syscalls.csv"
SINCE_NAME = "since.csv"
SHIPPED = Path(__file__).parent

_FILE = r'\n\[\[files\]\]\npath = "([^"]+)"\nsize = ([0-9]+)\nsha256 = "([0-9a-f]{64})"\n'
_ABI = r'(\w+) = \[\n((?:  "[^"]+",\n)+)\]\n'
_FACT_FILE = _FILE.replace("files", r"facts\.files")
_LOCK = re.compile(
    r'(?:#.*\n)*tag = "(?P<tag>[^"]+)"\n\n\[matrix\]\nsha256 = "(?P<sha256>[0-9a-f]{64})"\n'
    rf"(?P<files>(?:{_FILE})+)\n\[abis\]\n(?P<abis>(?:{_ABI})+)"
    r'(?:\n\[facts\]\n(?P<facts>(?:\w+ = "[0-9a-f]{64}"\n)+)'
    r"(?P<fact_files>(?:\n\[\[facts\.files\]\]\n(?:[^\n\[].*\n)+)*))?"
)


def shipped_tables() -> Tables:
    """Return the tables of the pinned tag, which are part of seccompgen.

    This parses only the parts that are used, and trusts the files like the code next to them; a
    test compares the result with `load_tables`. If `lockfile` did not write the files, or they do
    not belong together, `load_tables` reads them.
    """
    return _believed(SHIPPED, *_read(SHIPPED)) or load_tables(SHIPPED)


@lru_cache(maxsize=1)
def _believed(directory: Path, lock: bytes, matrix: bytes) -> Tables | None:
    """Return the tables of a lock and its matrix; None if the two do not belong together.

    Repeated calls in a process return the same object, with the parts that are parsed already.
    """
    match = _LOCK.fullmatch(lock.decode(errors="replace"))
    if match is None or hashlib.sha256(matrix).hexdigest() != match["sha256"]:
        return None
    return Tables(match["tag"], _Columns(match, matrix), _facts(directory, match))


def kept_since() -> Mapping[str, Mapping[str, Introduced]]:
    """Return the first releases that are part of seccompgen, even if there is no lock."""
    from seccompgen.kernel import since_file  # noqa: PLC0415 - few commands need it

    path = SHIPPED / SINCE_NAME
    return since_file.read(_content(path), str(path), ()) if path.exists() else {}


def _facts(directory: Path, lock: re.Match[str]) -> Facts:
    """Return the facts that the lock names; each part is read on first access."""
    if not lock["facts"]:
        return NO_FACTS
    abis = re.findall(r"^(\w+) = \[$", lock["abis"], re.MULTILINE)
    parts = {
        part: _Later(partial(_fact_file, directory, part, sha256, abis))
        for part, sha256 in re.findall(r'(\w+) = "(\w+)"', lock["facts"])
    }
    return Facts(**parts, inputs=_Later(partial(_fact_inputs, lock["fact_files"])))


def _fact_file(directory: Path, part: str, sha256: str, abis: list[str]) -> Mapping[str, Any]:
    from seccompgen.kernel.fact_files import FACT_FILES  # noqa: PLC0415 - few commands need facts

    one = next(one for one in FACT_FILES if one.part == part)
    name, content = _read_fact_file(directory, one.name)
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        message = f"the content is not what {directory / LOCK_NAME} says: "
        message += f"expected sha256 {sha256}, got {actual}"
        raise AnswerNo(Diagnostic(message, Position(name)))
    return one.read_written(content, name, abis)


def _fact_inputs(text: str) -> dict[str, UpstreamFile]:
    files = (UpstreamFile(m[1], int(m[2]), m[3]) for m in re.finditer(_FACT_FILE, text))
    return {file.path: file for file in files}


def load_tables(directory: Path) -> Tables:
    """Return the tables that ``seccompgen tables -o DIRECTORY`` wrote."""
    from seccompgen.kernel import lockfile  # noqa: PLC0415 - the shipped tables need no TOML

    lock, matrix = _read(directory)
    names = str(directory / LOCK_NAME), str(directory / MATRIX_NAME)
    tables = lockfile.load(lock, matrix, names, partial(_read_fact_file, directory))
    lockfile.require_complete(tables, names[1])
    if not tables.facts.since:
        # An older seccompgen wrote the lock; first releases do not depend on the tag.
        tables = replace(tables, facts=replace(tables.facts, since=_Later(kept_since)))
    return tables


def _read(directory: Path) -> tuple[bytes, bytes]:
    """Return the lock and the matrix."""
    return _content(directory / LOCK_NAME), _content(directory / MATRIX_NAME)


def _read_fact_file(directory: Path, name: str) -> tuple[str, bytes]:
    """Return the path of a file of facts, for messages, and its content."""
    return str(directory / name), _content(directory / name)


def _content(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise InputError(
            f"cannot read tables: {path}: {error.strerror}; restore it, or write "
            "tables to a directory of yours with: seccompgen tables -o DIR"
        ) from None


class _Later(Mapping[str, Any]):
    """A mapping that is loaded on first access."""

    def __init__(self, load: Callable[[], Mapping[str, Any]]) -> None:
        self._load = load

    @cached_property
    def _loaded(self) -> Mapping[str, Any]:
        return self._load()

    def __getitem__(self, key: str) -> Any:
        return self._loaded[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)

    def __reduce__(self) -> tuple[type[_Later], tuple[Callable[[], Mapping[str, Any]]]]:
        """Pickle how to load the mapping, not its content."""
        return (_Later, (self._load,))


class _Columns(Mapping[str, Table]):
    """The tables of a matrix by ABI, each created on first access."""

    def __init__(self, lock: re.Match[str], matrix: bytes) -> None:
        self._tag = lock["tag"]
        files = [UpstreamFile(m[1], int(m[2]), m[3]) for m in re.finditer(_FILE, lock["files"])]
        self._files = {file.path: file for file in files}
        self._inputs = {m[1]: m[2] for m in re.finditer(_ABI, lock["abis"])}
        (_, *self._abis), *self._rows = (row.split(",") for row in matrix.decode().splitlines())
        self._made: dict[str, Table] = {}

    def __getitem__(self, name: str) -> Table:
        if name not in self._made:
            if name not in self._inputs:
                raise KeyError(name)
            column = 1 + self._abis.index(name)
            numbers = sorted((int(row[column]), row[0]) for row in self._rows if row[column])
            inputs = tuple(self._files[path] for path in self._inputs[name].split('"')[1::2])
            by_name = {call: number for number, call in numbers}
            self._made[name] = Table(ABIS[name], self._tag, by_name, inputs)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._abis)

    def __len__(self) -> int:
        return len(self._abis)
