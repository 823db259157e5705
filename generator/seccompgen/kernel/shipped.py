"""The tables of the pinned tag, which are part of seccompgen, and others that it wrote."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.tables import Table, Tables, UpstreamFile
from seccompgen.io.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_NAME = "kernel.lock.toml"
MATRIX_NAME = "syscalls.csv"
SHIPPED = Path(__file__).parent

_FILE = r'\n\[\[files\]\]\npath = "([^"]+)"\nsize = ([0-9]+)\nsha256 = "([0-9a-f]{64})"\n'
_ABI = r'(\w+) = \[\n((?:  "[^"]+",\n)+)\]\n'
_LOCK = re.compile(
    r'(?:#.*\n)*tag = "(?P<tag>[^"]+)"\n\n\[matrix\]\nsha256 = "(?P<sha256>[0-9a-f]{64})"\n'
    rf"(?P<files>(?:{_FILE})+)\n\[abis\]\n(?P<abis>(?:{_ABI})+)"
)


def shipped_tables() -> Tables:
    """Return the tables of the pinned tag, which are part of seccompgen.

    Reads no more of them than is asked for, and believes what it reads, as it believes the code
    beside it; a test compares that with `load_tables`. Files that `lockfile` did not write, or
    that do not fit together, are left to that.
    """
    lock, matrix = _read(SHIPPED)
    match = _LOCK.fullmatch(lock.decode(errors="replace"))
    if match is None or hashlib.sha256(matrix).hexdigest() != match["sha256"]:
        return load_tables(SHIPPED)
    return Tables(match["tag"], _Columns(match, matrix))


def load_tables(directory: Path) -> Tables:
    """Return the tables that ``seccompgen tables -o DIRECTORY`` wrote."""
    from seccompgen.kernel import lockfile  # noqa: PLC0415 - those that are shipped need no TOML

    lock, matrix = _read(directory)
    names = str(directory / LOCK_NAME), str(directory / MATRIX_NAME)
    tables = lockfile.load(lock, matrix, names)
    lockfile.require_complete(tables, names[1])
    return tables


def _read(directory: Path) -> tuple[bytes, bytes]:
    """Return the lock and the matrix."""
    content = []
    for path in (directory / LOCK_NAME, directory / MATRIX_NAME):
        try:
            content.append(read_file(path))
        except OSError as error:
            raise InputError(
                f"cannot read tables: {path}: {error.strerror}; restore it, or write "
                "tables to a directory of yours with: seccompgen tables -o DIR"
            ) from None
    lock, matrix = content
    return lock, matrix


class _Columns(Mapping[str, Table]):
    """The tables of a matrix by ABI, each made when it is asked for."""

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
