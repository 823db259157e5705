"""Read upstream files from a kernel checkout or a release tarball.

A symbolic link is read as its target's path, as from a web server of git.
"""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, OutsideError, Position
from seccompgen.io.git_files import files_at_tag, has_tag, is_repository
from seccompgen.io.reading import read_start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

MAX_FILE = 4 << 20
"""The limit for one file, in bytes; the largest that any tag needs has under 100 KiB."""
MAX_TARBALL = 16 << 30
"""The limit for all members, unpacked, in bytes; a release has about 1.6 GB."""

_MAKEFILE = "Makefile"


def read_tag(
    root: Path,
    tag: str,
    paths: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, bytes]:
    """Return those of ``paths`` that the git repository ``root`` has at ``tag``.

    The result is empty if ``root`` is no repository, lacks the tag, or has that release checked
    out; then the work tree is used. Raises OutsideError if git fails.
    """
    top = root.resolve()
    makefile = top / _MAKEFILE
    try:
        here = read_start(makefile, MAX_FILE) if makefile.is_file() else None
    except OSError:
        return {}  # `read_directory` reports the error
    if here is not None and _release_of(here.decode(errors="replace")) in {tag, ""}:
        return {}
    if not is_repository(top) or not has_tag(tag, top):
        return {}
    found = files_at_tag(tag, top, paths, MAX_FILE)
    if progress:
        progress(len(paths), len(paths))
    return {path: found[path] for path in paths if path in found}


def read_directory(
    root: Path,
    tag: str,
    paths: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, bytes]:
    """Return those of ``paths`` that ``root`` has; the content of a symbolic link is its target.

    Raises InputError if ``root`` is no kernel tree, or that of another release than ``tag``, and
    OutsideError for files that cannot be read.
    """
    found: dict[str, bytes] = {}
    top = root.resolve()
    for done, path in enumerate((_MAKEFILE, *paths)):
        place = top / path
        try:
            if not place.parent.resolve().is_relative_to(top):
                continue
            if place.is_symlink():
                found[path] = str(place.readlink()).encode()
            elif place.is_file():
                found[path] = _limited(path, read_start(place, MAX_FILE + 1))
        except OSError as error:
            raise OutsideError(
                Diagnostic(f"cannot be read: {error.strerror}", Position(str(place)))
            ) from None
        if progress and done:
            progress(done, len(paths))
    hint = f", and its repository has no tag {tag}: fetch that" if is_repository(top) else ""
    return _checked(found, root, tag, paths, hint)


def read_tarball(
    archive: Path,
    tag: str,
    paths: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, bytes]:
    """Return those of ``paths`` that ``archive`` has below its top directory, in one pass.

    Raises InputError if ``archive`` is damaged, no kernel tree, or that of another release than
    ``tag``, and OutsideError if it cannot be read.
    """
    wanted = {_MAKEFILE, *paths}
    found: dict[str, bytes] = {}
    unpacked = 0
    try:
        read_start(archive, 1)  # refuses pipes and devices, which could block
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                unpacked += member.size
                if unpacked > MAX_TARBALL:
                    raise InputError(
                        Diagnostic("unpacks to more than 16 GiB", Position(str(archive)))
                    )
                top, _, path = member.name.removeprefix("./").partition("/")
                if not top or path not in wanted:
                    continue
                if member.issym():
                    found[path] = member.linkname.encode()
                elif member.isfile():
                    stream = tar.extractfile(member)
                    content = stream.read(MAX_FILE + 1) if stream else b""
                    if len(content) < min(member.size, MAX_FILE + 1):
                        raise EOFError
                    found[path] = _limited(path, content)
                if progress:
                    progress(len(found.keys() - {_MAKEFILE}), len(paths))
            # An archive ends in two empty blocks. If it is cut off between two members, tarfile
            # reports no error, and tables would be missing silently.
            if not (tar.fileobj and tar.fileobj.read(1)):
                raise EOFError
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError) as error:
        reason = str(error) or "it ends too soon"
        raise InputError(
            Diagnostic(f"not a readable tarball: {reason}", Position(str(archive)))
        ) from None
    except OSError as error:
        raise OutsideError(
            Diagnostic(f"cannot be read: {error.strerror or error}", Position(str(archive)))
        ) from None
    return _checked(found, archive, tag, paths)


def _limited(path: str, content: bytes) -> bytes:
    if len(content) > MAX_FILE:
        raise InputError(Diagnostic("larger than 4 MiB, which no source file is", Position(path)))
    return content


def _checked(
    found: Mapping[str, bytes], root: Path, tag: str, paths: Sequence[str], hint: str = ""
) -> dict[str, bytes]:
    """Return the files without the Makefile; raise InputError unless it is that of ``tag``."""
    result = {path: found[path] for path in paths if path in found}
    actual = _release_of(found.get(_MAKEFILE, b"").decode("utf-8", "replace"))
    if actual and actual != tag:
        raise InputError(f"{str(root)!r} is Linux {actual}, not {tag}{hint}")
    if not result:
        raise InputError(f"{str(root)!r} has no file of a kernel tree{hint}")
    return result


def _release_of(makefile: str) -> str:
    """Return the tag that a kernel's Makefile states, or an empty string."""
    fields = dict(
        re.findall(
            r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(\S*)[ \t\r]*$",
            makefile,
            re.MULTILINE,
        )
    )
    if not fields.get("VERSION") or not fields.get("PATCHLEVEL"):
        return ""
    sublevel = fields.get("SUBLEVEL", "")
    patch = f".{sublevel}" if sublevel not in {"", "0"} else ""
    return f"v{fields['VERSION']}.{fields['PATCHLEVEL']}{patch}{fields.get('EXTRAVERSION', '')}"
