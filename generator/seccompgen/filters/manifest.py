"""The manifest beside vendored filters: what they were made from, how, and every file's hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError, Position, cannot
from seccompgen.core.objective import Optimize  # noqa: TC001 - pydantic evaluates it
from seccompgen.core.problems import Problem
from seccompgen.io.reading import read_file

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST_NAME = "seccomp-manifest.json"
"""In a package; beside a single file ``x.py`` it is ``x.seccomp-manifest.json``."""


def sha256(data: bytes) -> str:
    """Return the hash by which a manifest names ``data``, as hex."""
    return hashlib.sha256(data).hexdigest()


def _file_name(name: str) -> str:
    """Return ``name``; raise ValueError if it could lead out of its directory."""
    parts = name.split("/")
    leads_out = ".." in parts or any(PurePath(part).name != part for part in parts)
    if len(parts) > 2 or "\0" in name or leads_out:
        raise ValueError("must be the name of a file, or its path from a package beside this")
    return name


def _abi_name(name: str) -> str:
    if name not in ABIS:
        raise ValueError("must be an ABI")
    return name


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, AfterValidator(_file_name)]
AbiName = Annotated[str, AfterValidator(_abi_name)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Hashed(_Model):
    """A file by its name, or by its path from the manifest's directory."""

    name: str
    sha256: Sha256


class Vendored(_Model):
    """One filter: the package or the file that holds it, and what that was made from.

    ``policy`` is a path from the manifest's directory, or the name of a stock policy where
    ``stock`` is true; ``sources`` are its files, the main one last. ``linux`` is the tag of the
    tables, ``tables_sha256`` the hash of those of ``abis``.
    """

    file: FileName
    policy: str
    stock: bool
    sources: tuple[Hashed, ...]
    linux: str
    tables_sha256: Sha256
    abis: tuple[AbiName, ...]


class Manifest(_Model):
    """All of it. ``arches`` are the ABIs that were asked for, none if all that the policies have.

    ``optimize``, ``bitmap`` and ``profile`` make the objective (`objective.Objective`). ``files``
    are the hashes of the files beside the manifest, and in the packages there, by path.
    """

    about: Literal[
        "Written by `seccompgen vendor`, for `seccompgen vendor --check`; do not edit."
    ] = "Written by `seccompgen vendor`, for `seccompgen vendor --check`; do not edit."
    format: Literal[1] = 1
    single_file: bool
    arches: tuple[AbiName, ...]
    optimize: Optimize
    bitmap: bool
    profile: Hashed | None
    filters: tuple[Vendored, ...]
    files: dict[FileName, Sha256]


def render_manifest(manifest: Manifest) -> bytes:
    """Return the text of the file: JSON, the same for the same manifest."""
    value = manifest.model_dump(mode="json")
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
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        problem = f"{place}: {first['msg']}" if place else first["msg"]
    else:
        if render_manifest(manifest) == data:
            return manifest
        problem = "it was edited"
    text = (
        f"not a manifest that this seccompgen wrote ({problem}): restore it, or name "
        "all policies again: seccompgen vendor POLICY... DEST --force"
    )
    raise InputError(Diagnostic(text, Position(str(path)), Problem.FOREIGN_MANIFEST))
