"""``seccompgen scan --packages`` and ``--who-calls``: a table of the programs of many packages."""

from __future__ import annotations

import contextlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.errors import AnswerNo, InputError, OutsideError, cannot, did_you_mean
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seccompgen.core.tables import Tables
    from seccompgen.scan import ScanOptions


@dataclass(frozen=True, slots=True)
class Cluster:
    """The address of a scheduler of dask, and the directory that its workers share."""

    scheduler: str
    store: Path


def fill_table(
    place: Path,
    path: Path,
    tables: Tables,
    means: ScanOptions,
    report: Callable[[int, int], None] | None,
    cluster: Cluster | None = None,
) -> None:
    """Scan the packages in ``place``, by a ``cluster`` if given, where the table has gaps."""
    _require_sqlite()
    from seccompgen.scan.call_table import CallTable  # noqa: PLC0415
    from seccompgen.scan.kept import fingerprint  # noqa: PLC0415
    from seccompgen.scan.packages import (  # noqa: PLC0415
        packages_in,
        rows_here,
        scan_packages,
        set_of,
    )
    from seccompgen.scan.scanner import require_disassembler  # noqa: PLC0415

    require_disassembler()
    packages = packages_in(place)
    rows, directory = rows_here(tables, means), None
    if cluster:
        from seccompgen.scan.cluster import rows_by  # noqa: PLC0415

        directory = cluster.store.absolute()
        rows = rows_by(cluster.scheduler, directory, tables)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(cannot("make", directory, error)) from None
    made_of = f"{set_of(packages)} {fingerprint()} {tables.tag} {tables.digest(tables.tables)}"
    with contextlib.closing(CallTable(path, made_of)) as table:
        scan_packages(packages, table, rows, report, directory)
        programs, unknown, problems = table.counts()
    say(f"{path}: {programs} programs of {len(packages)} packages")
    say(f"{unknown} with unknown calls, {problems} that could not be scanned")


def _require_sqlite() -> None:
    """Raise OutsideError if this Python was built without SQLite."""
    if not importlib.util.find_spec("_sqlite3"):
        raise OutsideError("tables of packages need sqlite3, which this Python does not have")


def show_callers(path: Path, call: str, tables: Tables, *, as_json: bool) -> None:
    """Print the programs in the table at ``path`` that can make ``call``."""
    _require_sqlite()
    from seccompgen.scan.call_table import callers  # noqa: PLC0415

    known = {name for table in tables.tables.values() for name in table.numbers}
    if call not in known:
        raise InputError(f"--who-calls: unknown system call {call!r}{did_you_mean(call, known)}")
    found = callers(path, call)
    names = "package", "version", "file"
    if as_json:
        programs, unclear = (
            [dict(zip(names, one, strict=True)) for one in some]
            for some in (found.known, found.unclear)
        )
        print_json({"programs": programs, "unclear": unclear, "finished": found.finished})
    else:
        for package, version, file in found.known:
            say(f"{package} {version} {file}")
        for package, version, file in found.unclear:
            say(f"note: it is unknown if {file} of {package} {version} does", err=True)
        if not found.finished:
            say("note: the scan has not finished: more programs may", err=True)
    if not found.known:
        raise AnswerNo(f"{path} has no program that is known to call {call}")
