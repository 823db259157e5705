"""A directory of entries from earlier runs, each with a hash of its own.

Whoever can write there controls the results of later runs. So the directory must belong to the
user, without write permission for others, and an entry with a wrong hash is ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

KEPT_SECONDS = 30 * 24 * 3600
"""The time after which an unused entry is removed, in seconds."""

_IMPORT = re.compile(
    r"^[ ]*from (?P<module>seccompgen[.\w]*) import (?P<names>\([^)]*\)|[^\n#]+)"
    r"|^[ ]*import (?P<whole>seccompgen[.\w]*)",
    re.MULTILINE,
)


def sha256(data: bytes) -> str:
    """Return the sha256 of ``data``, as hex."""
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[int | None]:
    """Open ``directory``, created if necessary, for the block; give None if it must not be used.

    The descriptor guarantees that the directory that is used is the one that was checked.
    """
    place = None
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, place)
            status = os.fstat(place)
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                place = None
        yield place


def read_entry(place: int, name: str) -> Any:
    """Return the JSON value in entry ``name``; None if there is no entry or it is damaged."""
    try:
        with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=place), "rb") as file:
            digest, _, payload = file.read().partition(b"\n")
        return json.loads(payload) if digest == _digest(name, payload) else None
    except (OSError, ValueError, RecursionError):
        return None


def write_entry(place: int, name: str, payload: bytes) -> float:
    """Write an entry atomically, because other runs may use the directory; return its mtime."""
    temporary = f".{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=place), "wb") as file:
            file.write(_digest(name, payload) + b"\n" + payload)
            file.flush()
            written = os.fstat(file.fileno()).st_mtime
        os.replace(temporary, name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=place)
        raise
    return written


def _digest(name: str, payload: bytes) -> bytes:
    # The hash covers the name as well, so that an entry is invalid under another name.
    return sha256(name.encode() + payload).encode()


def drop_unused(place: int, before: float) -> None:
    """Remove the entries whose mtime is before ``before``."""
    with os.scandir(place) as entries:
        unused = [e.name for e in entries if e.stat(follow_symlinks=False).st_mtime < before]
    for name in unused:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=place)


def deciding_files(package: Path, roots: Iterable[str]) -> list[Path]:
    """Return the source files of the modules ``roots`` and of all modules that they import.

    Imports are found anywhere in the text, including those for type checking only; ``package`` is
    the directory of seccompgen.
    """
    found: set[Path] = set()
    todo = set(roots)
    while todo:
        name = todo.pop()
        place = package.joinpath(*name.split(".")[1:])
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if file in found or not file.is_file():
            continue  # an imported name may be no module
        found.add(file)
        if place == package:
            continue  # it only maps the library's names to modules, and no module uses it
        todo.add(name.rpartition(".")[0] or name)
        todo |= _imported(file.read_text(encoding="utf-8"))
    return sorted(found)


@lru_cache(maxsize=1024)  # builds of one process find the same sources
def _imported(source: str) -> frozenset[str]:
    """Return the modules that a source imports, and each name imported from them as a module."""
    modules: set[str] = set()
    for match in _IMPORT.finditer(source):
        module = match["module"] or match["whole"]
        modules.add(module)
        modules |= {f"{module}.{one}" for one in re.findall(r"\w+", match["names"] or "")}
    return frozenset(modules)


def hashed(package: Path, files: Iterable[Path]) -> list[tuple[str, str]]:
    """Return each of ``files``, by its path below ``package``, with the hash of its content."""
    return [(str(path.relative_to(package)), sha256(path.read_bytes())) for path in files]
