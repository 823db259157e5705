"""The manifest of vendored filters: their sources, how they were made, and every file's hash."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError, Position, cannot
from seccompgen.core.objective import Optimize
from seccompgen.core.problems import Problem
from seccompgen.io.reading import read_file
from seccompgen.policy.form import (
    boolean,
    key,
    list_of,
    mapping_of,
    maybe,
    parsed,
    section,
    text,
    with_keys,
)

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.policy.form import Fault

MANIFEST_NAME = "seccomp-manifest.json"
"""In a package; for a single file ``x.py`` it is ``x.seccomp-manifest.json``."""
_ABOUT = "Written by `seccompgen vendor`, for `seccompgen vendor --check`; do not edit."
_SHA256 = re.compile("[0-9a-f]{64}")


def sha256(data: bytes) -> str:
    """Return the hash by which a manifest names ``data``, as hex."""
    return hashlib.sha256(data).hexdigest()


def _file_name(name: object) -> object:
    """Return ``name``; raise ValueError if it could lead out of its directory."""
    if not isinstance(name, str) or "\0" in name or _leads_out(name.split("/")):
        raise ValueError("must be the name of a file, or its path in a package of this directory")
    return name


def _leads_out(parts: list[str]) -> bool:
    return len(parts) > 2 or ".." in parts or any(PurePath(part).name != part for part in parts)


def _abi_name(name: object) -> object:
    if not isinstance(name, str) or name not in ABIS:
        raise ValueError("must be an ABI")
    return name


def _hash(value: object) -> object:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError("must be a sha256, 64 hexadecimal digits")
    return value


def _only(expected: object) -> Any:
    """Return a field that is the same in every manifest."""

    def parse(value: object) -> object:
        if value != expected:
            raise ValueError(f"must be {expected!r}")
        return expected

    return key(parsed(parse), default=expected)


_file = parsed(_file_name, then=text)
_abis = list_of(parsed(_abi_name))
_sha256 = parsed(_hash)


@with_keys
class Hashed:
    """A file by its name, or by its path from the manifest's directory."""

    name: str = key(text)
    sha256: str = key(_sha256)


_hashed = section(Hashed)


@with_keys
class Vendored:
    """One filter: the package or the file that holds it, and its sources.

    ``policy`` is a path from the manifest's directory, or the name of a stock policy where
    ``stock`` is true; ``sources`` are its files, the main one last. ``linux`` is the tag of the
    tables, ``tables_sha256`` the hash of those of ``abis``.
    """

    file: str = key(_file)
    policy: str = key(text)
    stock: bool = key(boolean)
    sources: tuple[Hashed, ...] = key(list_of(_hashed))
    linux: str = key(text)
    tables_sha256: str = key(_sha256)
    abis: tuple[str, ...] = key(_abis)


@with_keys
class Manifest:
    """The whole manifest.

    ``arches`` are the ABIs that were asked for, empty for all that the policies have.

    ``optimize``, ``bitmap`` and ``profile`` make the objective (`objective.Objective`). With
    ``report_only`` the filters refuse nothing (`core.report_only`); others have no such key.
    ``files`` are the hashes of the files in the manifest's directory, and in the packages there, by
    path.
    """

    about: str = _only(_ABOUT)
    format: int = _only(1)
    single_file: bool = key(boolean)
    report_only: bool = key(boolean, default=False)
    arches: tuple[str, ...] = key(_abis)
    optimize: Optimize = key(parsed(Optimize))
    bitmap: bool = key(boolean)
    profile: Hashed | None = key(maybe(_hashed))
    filters: tuple[Vendored, ...] = key(list_of(section(Vendored)))
    files: dict[str, str] = key(mapping_of(_file_name, _sha256))


_manifest = section(Manifest)


def render_manifest(manifest: Manifest) -> bytes:
    """Return the text of the file: JSON, the same for the same manifest."""
    value = {**asdict(manifest), "optimize": manifest.optimize.value}
    if not manifest.report_only:
        del value["report_only"]
    return f"{json.dumps(value, indent=2, ensure_ascii=False)}\n".encode()


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest in ``path``, None if there is no such file.

    Raises InputError if it is not one, or not as `render_manifest` writes it.
    """
    try:
        data = read_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(cannot("read", path, error), kind=Problem.UNREADABLE_FILE) from None
    faults: list[Fault] = []
    problem = "it was edited"
    try:
        manifest: Manifest | None = _manifest.check(json.loads(data), (), faults)
        if manifest and render_manifest(manifest) == data:
            return manifest
    except (ValueError, RecursionError):
        problem = "Invalid JSON"
    if faults:
        place = ".".join(map(str, faults[0].path))
        problem = f"{place}: {faults[0].text}" if place else faults[0].text
    message = (
        f"not a manifest that this seccompgen wrote ({problem}): restore it, or name "
        "all policies again: seccompgen vendor POLICY... DEST --force"
    )
    raise InputError(Diagnostic(message, Position(str(path)), Problem.FOREIGN_MANIFEST))
