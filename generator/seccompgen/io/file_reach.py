"""The reach of a file: the directory that must contain the files that it names.

Whoever checks a project may not trust it, and error messages quote files in logs that others read.
So a file may only name files below the outermost directory above it that is a git checkout or has
our section in pyproject.toml, and below directories that the command line allows. If no directory
above it is either, the reach is the current directory if the file is below it, else the file's own
directory. The user's home and its parents count only with our section.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import InputError
from seccompgen.io.reading import decode_text, parse_toml, read_file

if TYPE_CHECKING:
    from collections.abc import Iterable

_HANDED_OVER = ("/dev/", "/proc/")


def reach_of(namer: Path) -> Path:
    """Return the directory below which ``namer`` may name files, with links resolved.

    A descriptor that a shell passes, such as ``/dev/stdin``, counts as a file of the current
    directory.
    """
    named = str(namer)
    directory = Path(os.path.realpath("." if named.startswith(_HANDED_OVER) else namer.parent))
    # If the home is unknown, as for a user without a name, this stays "~", which does not exist.
    named_home = os.path.expanduser("~")  # noqa: PTH111 - Path.expanduser() raises RuntimeError
    here, home = (Path(os.path.realpath(one)) for one in (".", named_home))
    above = (directory, *directory.parents)
    # A home may be a git checkout or the current directory; neither makes it a project.
    homes = {home, *home.parents}
    # The outermost: a repository of several projects shares policies between them.
    for one in reversed(above):
        own = one not in homes and os.path.lexists(one / ".git")
        if own or _is_project(one / "pyproject.toml"):
            return one
    return here if here in above and here not in homes else directory


def beyond(path: Path, namer: Path, outside: Iterable[Path] = ()) -> str:
    """Return why ``path``, which ``namer`` names, must not be read; empty if it may be read.

    Links are followed. ``outside`` are additional directories that may be read. Whoever can change
    a link between this check and the read has the user's permissions anyway.
    """
    target = Path(os.path.realpath(path))
    reach = reach_of(namer)
    if any(target.is_relative_to(os.path.realpath(one)) for one in (reach, *outside)):
        return ""
    return f"it lies outside of {reach}; '--allow-outside {target.parent}' permits that"


def require_reach(path: Path, namer: Path, outside: Iterable[Path] = ()) -> None:
    """Raise OSError if ``path``, which the policy ``namer`` names, must not be read; see `beyond`.

    A build may create links to all its sources, as Bazel does. So if the policy is a link, its
    target's reach is permitted as well: the text is that of the target.
    """
    own = reach_of(Path(os.path.realpath(namer)))
    if reason := beyond(path, namer, (own, *outside)):
        raise OSError(errno.EACCES, reason, str(path))


def read_named(path: Path, namer: Path, limit: int, outside: Iterable[Path] = ()) -> bytes:
    """Return the content of ``path``; raise OSError like `require_reach` and `read_file`."""
    require_reach(path, namer, outside)
    return read_file(path, limit)


def _is_project(pyproject: Path) -> bool:
    """Return True if the file exists and has our section: see `pipeline.project`."""
    try:
        data = parse_toml(decode_text(read_file(pyproject), str(pyproject)), str(pyproject))
    except (OSError, InputError):
        return False
    tool = data.get("tool")
    return isinstance(tool, dict) and isinstance(tool.get("seccompgen"), dict)
