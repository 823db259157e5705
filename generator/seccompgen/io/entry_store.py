"""A directory of entries kept from earlier runs, each behind a hash of its own.

Whoever writes there decides the results of later runs. So the directory must be ours and nobody
else's to write, and an entry that is not exactly what was written under its name is ignored.
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
"""The time that an entry stays though nobody reads it."""

_IMPORT = re.compile(
    r"^[ ]*from (?P<module>seccompgen[.\w]*) import (?P<names>\([^)]*\)|[^\n#]+)"
    r"|^[ ]*import (?P<whole>seccompgen[.\w]*)",
    re.MULTILINE,
)


def sha256(data: bytes) -> str:
    """Return the hash of ``data``, as text."""
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[int | None]:
    """Give a descriptor of ``directory``, created if necessary, or None if it must not be used.

    The descriptor guarantees that what is used is what was checked.
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
    """Return the JSON that entry ``name`` holds, or None if there is none or it is damaged."""
    try:
        with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=place), "rb") as file:
            digest, _, payload = file.read().partition(b"\n")
        return json.loads(payload) if digest == _digest(name, payload) else None
    except (OSError, ValueError, RecursionError):
        return None


def write_entry(place: int, name: str, payload: bytes) -> float:
    """Write an entry atomically, because other runs read and write; return its mtime."""
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
    # The name is hashed as well, or the entry of another name would pass for this one's.
    return sha256(name.encode() + payload).encode()


def drop_unused(place: int, before: float) -> None:
    """Remove the entries that were not used since ``before``."""
    with os.scandir(place) as entries:
        unused = [e.name for e in entries if e.stat(follow_symlinks=False).st_mtime < before]
    for name in unused:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=place)


def deciding_files(package: Path, roots: Iterable[str]) -> list[Path]:
    """Return the source files of the modules ``roots`` and of all that they import.

    Imports are found in the text, wherever they are, including those that only types need;
    ``package`` is the directory of seccompgen.
    """
    found: set[Path] = set()
    todo = set(roots)
    while todo:
        name = todo.pop()
        place = package.joinpath(*name.split(".")[1:])
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if file in found or not file.is_file():
            continue  # a name out of a module is looked for as a module, too
        found.add(file)
        if place == package:
            continue  # it says where the names of the library are, and no module asks it
        todo.add(name.rpartition(".")[0] or name)
        todo |= _imported(file.read_text(encoding="utf-8"))
    return sorted(found)


@lru_cache(maxsize=1024)  # builds of one process find the same sources
def _imported(source: str) -> frozenset[str]:
    """Return the modules that a source imports, and the names out of them as if they were some."""
    modules: set[str] = set()
    for match in _IMPORT.finditer(source):
        module = match["module"] or match["whole"]
        modules.add(module)
        modules |= {f"{module}.{one}" for one in re.findall(r"\w+", match["names"] or "")}
    return frozenset(modules)


def hashed(package: Path, files: Iterable[Path]) -> list[tuple[str, str]]:
    """Return each of ``files`` below ``package`` with the hash of its content."""
    return [(str(path.relative_to(package)), sha256(path.read_bytes())) for path in files]
