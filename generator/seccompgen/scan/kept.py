"""Cache what scans found: the facts of a library for the next program, and whole results.

An entry's name is a hash of all that determines it: the source of this package and of its imports,
the versions of Python and of the disassembler, and the content of the files. A build-id would not
do, since a patched file keeps it. Damaged entries are ignored and recomputed; nothing here raises
an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seccompgen.core.abis import ABIS
from seccompgen.io.entry_store import (
    KEPT_SECONDS,
    deciding_files,
    drop_unused,
    hashed,
    opened,
    read_entry,
    sha256,
    write_entry,
)
from seccompgen.scan.analysis import Analysis, ObjectFacts
from seccompgen.scan.code import FunctionFacts
from seccompgen.scan.result import Caller, Caveat, ImpliedCall, Scan, Site, Spot, Unknown
from seccompgen.scan.unknown import Why

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seccompgen.core.tables import Tables
    from seccompgen.scan.binary import Binary
    from seccompgen.scan.image import Image

_ROOTS = ("seccompgen.scan.scanner", "seccompgen.scan.kept")
_DAMAGED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class Kept:
    """A cache in ``directory`` of results of scans with ``tables``."""

    def __init__(self, directory: Path, tables: Tables) -> None:
        self._directory = directory
        self._code = fingerprint()
        self._tables = repr((tables.tag, tables.digest(tables.tables)))

    def result(self, binaries: Sequence[Binary], loaded: Iterable[int]) -> Scan | None:
        """Return the cached result of the scan of ``binaries``, None if there is none."""
        data = self._read(self._of_result(binaries, loaded))
        with contextlib.suppress(*_DAMAGED):
            if data is not None:
                return _scan_from(data, binaries)
        return None

    def analysis(self, image: Image) -> Analysis | None:
        """Return the cached analysis of ``image``, None if there is none."""
        data = self._read(self._of_image(image.key))
        with contextlib.suppress(*_DAMAGED):
            if data is not None:
                return _analysis_from(data)
        return None

    def add(
        self,
        made: Iterable[tuple[str, Analysis]],
        result: tuple[Sequence[Binary], Iterable[int], Scan] | None,
    ) -> bool:
        """Store the analyses ``made``, by the key of the image, and a result.

        Returns False if that was impossible. Entries that were not read for 30 days are dropped.
        """
        entries = [(self._of_image(key), _json(analysis)) for key, analysis in made]
        if result:
            binaries, loaded, scan = result
            entries.append((self._of_result(binaries, loaded), _json(_scan_as_json(scan))))
        if not entries:
            return True
        with opened(self._directory) as place, contextlib.suppress(OSError):
            # Somebody may have edited the source after this run loaded it.
            if place is None or not self._code or fingerprint() != self._code:
                return False
            written = [write_entry(place, name, content) for name, content in entries]
            drop_unused(place, before=written[-1] - KEPT_SECONDS)
            return True
        return False

    def _of_image(self, content: str) -> str:
        return sha256(repr((self._code, content)).encode())

    def _of_result(self, binaries: Sequence[Binary], loaded: Iterable[int]) -> str:
        contents = [binary.key for binary in binaries]
        return sha256(repr((self._code, self._tables, contents, sorted(loaded))).encode())

    def _read(self, name: str) -> Any:
        with opened(self._directory) as place, contextlib.suppress(OSError):
            if place is not None and self._code:
                data = read_entry(place, name)
                if data is not None:
                    os.utime(name, dir_fd=place)
                return data
        return None


def fingerprint() -> str:
    """Return a hash of the code and versions that determine results; "" if these are unknown."""
    from importlib import metadata  # noqa: PLC0415 - brings the parser of e-mail along

    package = Path(__file__).parents[1]
    sources = hashed(package, deciding_files(package, _ROOTS))
    try:
        versions = [metadata.version(name) for name in ("capstone", "pyelftools")]
    except metadata.PackageNotFoundError:
        return ""  # the scan will report it
    python = sys.implementation.name, tuple(sys.version_info)
    return sha256(repr((sources, versions, python)).encode()) if sources else ""


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _analysis_from(data: Any) -> Analysis:
    functions, overlays, taken, reached, imported, objects, standing = data
    return Analysis(
        tuple(map(_facts_from, functions)),
        tuple(map(_facts_from, overlays)),
        tuple(taken),
        tuple(reached),
        tuple(imported),
        tuple(ObjectFacts(start, *map(tuple, others)) for start, *others in objects),
        tuple(standing),
    )


def _facts_from(data: Any) -> FunctionFacts:
    facts = FunctionFacts._make(tuple(one) if isinstance(one, list) else one for one in data)
    if not facts.unclear:
        return facts
    return facts._replace(unclear=tuple((at, Why(why), more) for at, why, more in facts.unclear))


def _scan_as_json(scan: Scan) -> dict[str, object]:
    """Return ``scan`` as JSON, without the paths of its files, which differ between machines."""
    number = {path: i for i, (path, _) in enumerate(scan.files)}
    return {
        "go": scan.is_go,
        "sites": [(number[one.path], *astuple(one)[1:]) for one in scan.sites],
        "implied": [astuple(one) for one in scan.implied],
        "unknown": [
            (
                *(number[one.path], one.address, one.function, one.why, one.detail),
                *(number[one.lost.path], *one.lost[1:]),
            )
            for one in scan.unknown
        ],
        "caveats": scan.caveats,
    }


def _scan_from(data: Any, binaries: Sequence[Binary]) -> Scan:
    paths = [binary.path for binary in binaries]
    return Scan(
        path=paths[0],
        abi=ABIS[binaries[0].abi.name],
        is_go=data["go"],
        files=tuple((binary.path, binary.sha256) for binary in binaries),
        sites=tuple(sorted(Site(paths[number], *rest) for number, *rest in data["sites"])),
        implied=tuple(ImpliedCall(name, Caller(origin)) for name, origin in data["implied"]),
        unknown=tuple(
            sorted(
                Unknown(paths[number], at, name, Why(why), more, Spot(paths[lost], *rest))
                for number, at, name, why, more, lost, *rest in data["unknown"]
            )
        ),
        caveats=tuple(map(Caveat, data["caveats"])),
    )
