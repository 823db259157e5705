"""The reach of a file: where the files may be that it names.

Whoever checks a project may not trust it, and errors quote files, in a log that others read. So a
file may only name files below the outermost directory above it that is a git checkout or a project
of ours, and below directories that the command line allows. Without such a directory, it is the
current directory if the file is below it, else the file's own. The user's home, and its parents,
only count if they are a project of ours.
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

    What a shell hands over, such as ``/dev/stdin``, counts as a file of the current directory.
    """
    named = str(namer)
    directory = Path(os.path.realpath("." if named.startswith(_HANDED_OVER) else namer.parent))
    # Where nobody knows a home, as for a user without a name, this leaves "~", which is none.
    named_home = os.path.expanduser("~")  # noqa: PTH111 - Path.expanduser() raises RuntimeError
    here, home = (Path(os.path.realpath(one)) for one in (".", named_home))
    above = (directory, *directory.parents)
    # A home may be under version control, and people stand in it, but it is no project for that.
    homes = {home, *home.parents}
    # The outermost: a repository of several projects shares policies between them.
    for one in reversed(above):
        own = one not in homes and os.path.lexists(one / ".git")
        if own or _is_project(one / "pyproject.toml"):
            return one
    return here if here in above and here not in homes else directory


def beyond(path: Path, namer: Path, outside: Iterable[Path] = ()) -> str:
    """Return why ``path``, which ``namer`` names, must not be read; empty if it may.

    Links are followed. ``outside`` are further directories that may be read. Whoever can change a
    link between this check and the reading has the rights of the user anyway.
    """
    target = Path(os.path.realpath(path))
    reach = reach_of(namer)
    if any(target.is_relative_to(os.path.realpath(one)) for one in (reach, *outside)):
        return ""
    return f"it lies outside of {reach}; '--allow-outside {target.parent}' permits that"


def require_reach(path: Path, namer: Path, outside: Iterable[Path] = ()) -> None:
    """Raise OSError if ``path``, which the policy ``namer`` names, must not be read; see `beyond`.

    A build may create links to all its sources, as Bazel does. So if the policy is a link, its
    target's reach counts as well: the text is that file's.
    """
    own = reach_of(Path(os.path.realpath(namer)))
    if reason := beyond(path, namer, (own, *outside)):
        raise OSError(errno.EACCES, reason, str(path))


def read_named(path: Path, namer: Path, limit: int, outside: Iterable[Path] = ()) -> bytes:
    """Return the content of a file that another one names; raises OSError as both of these do."""
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
