"""Find files as a program does whose root is a directory: links are followed within it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position, cannot

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_LINKS = 40
"""The limit of the kernel (MAXSYMLINKS)."""
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL})


def located(root: Path, path: str) -> Path | None:
    """Return where the file or directory ``path`` is, without links; None if it is missing.

    Absolute links begin at ``root``. Raises InputError if a link, or ``path``, leaves it.
    """
    waiting = path.split("/")[::-1]
    here: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            if not here:
                raise InputError(Diagnostic("leads out of the root directory", Position(path)))
            here.pop()
            continue
        place = root.joinpath(*here, part)
        mode = _mode(place)
        if mode is None:
            return None
        if not stat.S_ISLNK(mode):
            here.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            return None
        target = str(place.readlink())
        waiting += target.split("/")[::-1]
        if target.startswith("/"):
            here = []
    return root.joinpath(*here)


def _mode(place: Path) -> int | None:
    try:
        return os.lstat(place).st_mode
    except ValueError:  # a NUL in the path
        return None
    except OSError as error:
        if error.errno in _MISSING:
            return None
        raise InputError(cannot("read", place, error)) from None


def file_inside(root: Path, path: str) -> Path | None:
    """Return where the regular file ``path`` is; None if there is none. See `located`."""
    found = located(root, path)
    return found if found and stat.S_ISREG(_mode(found) or 0) else None


def files_below(root: Path) -> Iterator[Path]:
    """Yield the regular files below ``root``, sorted; links are not followed."""
    for directory, names, files in os.walk(root):
        names.sort()
        for name in sorted(files):
            place = Path(directory, name)
            if stat.S_ISREG(_mode(place) or 0):
                yield place
