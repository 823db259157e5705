"""The tables of the pinned tag, which are part of seccompgen, and others that it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import InputError
from seccompgen.io.reading import read_file
from seccompgen.kernel import lockfile

if TYPE_CHECKING:
    from seccompgen.core.tables import Tables

LOCK_NAME = "kernel.lock.toml"
MATRIX_NAME = "syscalls.csv"
SHIPPED = Path(__file__).parent


def shipped_tables() -> Tables:
    """Return the tables of the pinned tag, which are part of seccompgen."""
    return load_tables(SHIPPED)


def load_tables(directory: Path) -> Tables:
    """Return the tables that ``seccompgen tables -o DIRECTORY`` wrote."""
    paths = [directory / LOCK_NAME, directory / MATRIX_NAME]
    content = []
    for path in paths:
        try:
            content.append(read_file(path))
        except OSError as error:
            raise InputError(
                f"cannot read tables: {path}: {error.strerror}; restore it, or write "
                "tables to a directory of yours with: seccompgen tables -o DIR"
            ) from None
    lock, matrix = content
    tables = lockfile.load(lock, matrix, (str(paths[0]), str(paths[1])))
    lockfile.require_complete(tables, str(paths[1]))
    return tables
