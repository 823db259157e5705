"""Unpack archives of container images, which may be malicious, into a directory of our own.

Nothing is written outside: names with ``..`` are refused, links in the directories of a name are
followed within the directory, and files are made anew. Devices, owners and times are left out. An
archive may not unpack to more than fixed limits.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import shutil
import stat
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.scan.inside import located

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MOST_BYTES = 32 << 30
MOST_MEMBERS = 2_000_000
_LONGEST_HEADER = 1 << 20
"""The longest name, or list of attributes, of a member; tarfile reads it whole."""
_LARGEST = 1 << 30
"""The largest file that is kept; `scan` reads no larger ones."""
_SMALL = 4096
_CHUNK = 1 << 20
_OPAQUE = ".wh..wh..opq"
_WHITEOUT = ".wh."
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"
_LONG_TYPES = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


class UnpackBudget:
    """The bytes and members that an image may still unpack to."""

    def __init__(self) -> None:
        self.bytes, self.members = MOST_BYTES, MOST_MEMBERS

    def spend(self, size: int, members: int = 0) -> None:
        """Raise ValueError if the image unpacks to more than the limits."""
        self.bytes -= size
        self.members -= members
        if self.bytes < 0:
            raise ValueError(f"it unpacks to more than {MOST_BYTES >> 30} GiB")
        if self.members < 0:
            raise ValueError(f"it has more than {MOST_MEMBERS} members")


class _Counted(io.RawIOBase):
    """A file from which no more is read than a budget allows."""

    def __init__(self, file: BinaryIO, budget: UnpackBudget) -> None:
        self._file = file
        self._budget = budget

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._budget.spend(len(content))
        return content


class _Member(tarfile.TarInfo):
    """A member whose header, which tarfile reads into memory, has a limit."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in _LONG_TYPES and not 0 <= self.size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]  # tarfile's entry for subclasses


def unpack(archive: Path, root: Path, budget: UnpackBudget, *, whole: bool) -> None:
    """Unpack ``archive``, plain or by gzip, over what ``root`` has, as a layer of an image.

    Unless ``whole``, the content of large files that are no programs or scripts is left out.
    Raises InputError, with one line, for an archive that is broken, malicious or too large.
    """
    with _broken_is_refused(archive.name), archive.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start == _ZSTD:
            raise ValueError("it is compressed by zstd, which is not read: use gzip, or none")
        plain = gzip.GzipFile(fileobj=file) if start[:2] == _GZIP else file
        _unpack(cast("BinaryIO", plain), _Destination(root, budget, whole=whole))


def unpack_package(file: BinaryIO, name: str, root: Path, budget: UnpackBudget) -> frozenset[Path]:
    """Unpack the plain archive of a package over what ``root`` has, as dpkg does; return its files.

    Links to directories stay where the package has a directory. Raises InputError as `unpack`.
    """
    with _broken_is_refused(name):
        return _unpack(file, _Destination(root, budget, whole=False, keeps_links=True))


@contextlib.contextmanager
def _broken_is_refused(name: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # gzip and tarfile raise anything
        reason = str(error).split("\n")[0] or type(error).__name__
        raise InputError(Diagnostic(f"cannot be unpacked: {reason}", Position(name))) from None


@dataclass(frozen=True, slots=True)
class _Destination:
    """Where an archive is unpacked to; with ``keeps_links``, links to directories stay."""

    root: Path
    budget: UnpackBudget
    whole: bool
    keeps_links: bool = False


def _unpack(file: BinaryIO, target: _Destination) -> frozenset[Path]:
    counted = cast("BinaryIO", _Counted(file, target.budget))
    with tarfile.open(fileobj=counted, mode="r|", tarinfo=_Member) as members:
        return _Layer(members, target).unpack()


class _Layer:
    def __init__(self, members: tarfile.TarFile, target: _Destination) -> None:
        self._members = members
        self._target = target
        self._root = target.root
        self._budget = target.budget
        self._fresh: set[Path] = set()
        """The paths of this layer, and their directories, which its whiteouts leave alone."""

    def unpack(self) -> frozenset[Path]:
        """Unpack all members, and return what is there now."""
        for member in self._members:
            self._budget.spend(0, members=1)
            parts = _parts(member.name)
            if parts:
                self._unpack(member, parts)
        return frozenset(self._fresh)

    def _unpack(self, member: tarfile.TarInfo, parts: Sequence[str]) -> None:
        directory = self._directory(parts[:-1])
        name = parts[-1]
        if name == _OPAQUE:
            self._hide_others(directory)
        elif name.startswith(_WHITEOUT):
            hidden = name.removeprefix(_WHITEOUT)
            if hidden in {"", ".", ".."}:
                raise ValueError(f"its member {member.name} hides a directory that contains it")
            _remove(directory / hidden)
        elif member.isdir():
            self._directory_at(directory / name)
        else:
            self._file(member, directory / name)

    def _file(self, member: tarfile.TarInfo, place: Path) -> None:
        if member.islnk():
            source = located(self._root, "/".join(_parts(member.linkname)))
            if source is None or not stat.S_ISREG(os.lstat(source).st_mode):
                raise ValueError(f"{member.name} is a link to {member.linkname}, which is no file")
            if source != place:
                _remove(place)
                os.link(source, place, follow_symlinks=False)
        elif member.issym():
            _remove(place)
            place.symlink_to(member.linkname)
        elif member.isreg():
            _remove(place)
            self._write(member, place)
        else:
            return  # a device or a pipe
        self._note(place)

    def _write(self, member: tarfile.TarInfo, place: Path) -> None:
        content = self._members.extractfile(member)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(place, flags, 0o600 | (member.mode & 0o111))
        with os.fdopen(descriptor, "wb") as file:
            chunk = content.read(_SMALL) if content else b""
            is_program = chunk.startswith((b"\x7fELF", b"#!"))
            if is_program and member.size > _LARGEST:
                raise ValueError(f"{member.name} is larger than {_LARGEST >> 30} GiB")
            wanted = self._target.whole or is_program or member.size <= _SMALL
            while content and chunk and wanted:
                self._budget.spend(len(chunk))
                file.write(chunk)
                chunk = content.read(_CHUNK)

    def _directory(self, parts: Sequence[str]) -> Path:
        """Return the directory ``parts``, where links in it lead; make what is missing."""
        here = self._root
        for part in parts:
            found = located(self._root, "/".join((*here.relative_to(self._root).parts, part)))
            here = found if found and found.is_dir() else self._directory_at(here / part)
        return here

    def _directory_at(self, place: Path) -> Path:
        if self._target.keeps_links and place.is_symlink():
            found = located(self._root, str(place.relative_to(self._root)))
            if found and found.is_dir():
                return found
        if place.is_symlink() or not place.is_dir():
            _remove(place)
            place.mkdir(mode=0o700)
        self._note(place)
        return place

    def _note(self, place: Path) -> None:
        while place not in self._fresh and place != self._root:
            self._fresh.add(place)
            place = place.parent

    def _hide_others(self, directory: Path) -> None:
        """Remove what lower layers have in ``directory``."""
        for child in list(directory.iterdir()):
            if child not in self._fresh:
                _remove(child)
            elif child.is_dir() and not child.is_symlink():
                self._hide_others(child)


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise ValueError(f"its member {name} leads out of it")
    return parts


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
