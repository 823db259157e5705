"""Store downloaded files by their sha256, so that no file is fetched twice."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.io.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.core.tables import UpstreamFile


def load(cache: Path, files: Iterable[UpstreamFile]) -> dict[str, bytes]:
    """Return, by path, the content of those ``files`` that the cache holds undamaged."""
    found = {}
    for file in files:
        with contextlib.suppress(OSError):
            content = read_file(_place(cache, file.sha256), file.size)
            if hashlib.sha256(content).hexdigest() == file.sha256:
                found[file.path] = content
    return found


def save(cache: Path, contents: Iterable[bytes]) -> None:
    """Add ``contents`` to the cache; ignore a cache that cannot be written."""
    for content in contents:
        place = _place(cache, hashlib.sha256(content).hexdigest())
        with contextlib.suppress(OSError):
            if place.is_file() and read_file(place, len(content)) == content:
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as file:
                temporary = Path(file.name)
                try:
                    file.write(content)
                    file.flush()
                    temporary.replace(place)
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise


def _place(cache: Path, sha256: str) -> Path:
    return cache / "sha256" / sha256[:2] / sha256
