"""Debian packages that tests build, and the table that a scan of them makes."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = "package, version, file, build_id, calls, unknown, problem"


def packaged(directory: Path, name: str, files: dict[str, bytes], version: str = "1.0-1") -> None:
    """Build a package of executable files."""
    tree = directory / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    fields = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: nobody\n"
    (tree / "DEBIAN" / "control").write_text(f"{fields}Description: none\n")
    for path, content in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)
        (tree / path).chmod(0o755)
    (directory / "debs").mkdir(exist_ok=True)
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "-z0", "--build"]
    where = [tree, directory / "debs" / f"{name}.deb"]
    subprocess.run([*command, *where], check=True, capture_output=True)
    shutil.rmtree(tree)


def rows(table: Path, query: str = f"SELECT {COLUMNS} FROM programs ORDER BY file") -> list[Any]:
    database = sqlite3.connect(table)
    found = database.execute(query).fetchall()
    database.close()
    return found
