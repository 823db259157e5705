"""The reach of a file's own words: where the files may lie that it names.

Who checks a project may not trust it, and errors quote what they are about, into a log that others
read. So what somebody's file names is read only below the outermost directory above it that is a
git checkout, or a project of ours; and below directories that the command line allows. Where there
is none, the current directory counts if the file lies below it; else the file's own. The user's
home, and what it lies in, is none of these, unless it is a project of ours.
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
    """Return the directory below which ``namer`` may name files, without links in its path.

    What a shell hands over, such as ``/dev/stdin``, is taken to lie in the current directory.
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
    """Return why ``path``, which ``namer`` names, is not to be read; empty if it is.

    Counted is where links lead. ``outside`` are further directories that may be read. Who changes
    a link between this and the reading can do what the user can do who runs this.
    """
    target = Path(os.path.realpath(path))
    reach = reach_of(namer)
    if any(target.is_relative_to(os.path.realpath(one)) for one in (reach, *outside)):
        return ""
    return f"it lies outside of {reach}; '--allow-outside {target.parent}' permits that"


def require_reach(path: Path, namer: Path, outside: Iterable[Path] = ()) -> None:
    """Raise OSError if ``path``, which the policy ``namer`` names, is not to be read; see `beyond`.

    A build may lay out links to all its sources, as Bazel does. So where the policy is a link, what
    that leads to reaches as far as it would by itself: its text is that file's.
    """
    own = reach_of(Path(os.path.realpath(namer)))
    if reason := beyond(path, namer, (own, *outside)):
        raise OSError(errno.EACCES, reason, str(path))


def read_named(path: Path, namer: Path, limit: int, outside: Iterable[Path] = ()) -> bytes:
    """Return the content of a file that another one names; raises OSError as both of these do."""
    require_reach(path, namer, outside)
    return read_file(path, limit)


def _is_project(pyproject: Path) -> bool:
    """Return True if there is a file, and it has a section for us: see `pipeline.project`."""
    try:
        data = parse_toml(decode_text(read_file(pyproject), str(pyproject)), str(pyproject))
    except (OSError, InputError):
        return False
    tool = data.get("tool")
    return isinstance(tool, dict) and isinstance(tool.get("seccompgen"), dict)
