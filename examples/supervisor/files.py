"""Files of the directories that are granted: opened and changed for a process that cannot.

A path is resolved once, by the kernel, for this process. What comes of it is a descriptor, which
nobody else can change; its place decides, and all that follows is done to it. So it does not matter
if the caller renames, or puts a link in the way, meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_TMPFILE & ~os.O_DIRECTORY
_AT_REMOVEDIR = 0x200


class Files:
    """Directories and files that may be read, and those that may be changed as well."""

    def __init__(self, readable: list[str], writable: list[str]) -> None:
        self._writable = [_root(one) for one in writable]
        self._readable = [_root(one) for one in readable]

    def open(self, at: int, path: bytes, flags: int, mode: int, resolve: int) -> int:
        """Return a descriptor as openat2 does."""
        if not flags & os.O_CREAT:
            return self._existing(at, path, flags, mode, resolve)
        created = self._create(at, path, flags, mode, resolve)
        if created is not None:
            return created
        try:
            return self._existing(at, path, flags & ~os.O_CREAT, mode, resolve)
        except FileNotFoundError:
            raise PermissionError(errno.EACCES, "not to be made there") from None

    def _existing(self, at: int, path: bytes, flags: int, mode: int, resolve: int) -> int:
        if not path:
            raise FileNotFoundError(errno.ENOENT, "no path")
        shape = flags & (os.O_NOFOLLOW | os.O_DIRECTORY)
        with self._granted(at, path, shape, resolve, writes=bool(flags & _WRITES)) as it:
            if stat.S_ISLNK(os.fstat(it).st_mode):
                raise OSError(errno.ELOOP, "a symbolic link")
            # No descriptor of O_PATH can be put into a process; one for reading serves as well.
            again = flags & ~(os.O_EXCL | os.O_NOFOLLOW | os.O_PATH)
            return os.open(_door(it), again | os.O_CLOEXEC | os.O_NOCTTY, mode)

    def _create(self, at: int, path: bytes, flags: int, mode: int, resolve: int) -> int | None:
        """Make or open a file of a directory that may be changed; None if it is elsewhere."""
        try:
            with self._parent(at, path, resolve) as (directory, name):
                straight = kernel.NO_SYMLINKS | kernel.BENEATH
                return kernel.openat2(directory, name, flags, straight, mode & 0o7777)
        except OSError as error:
            # Not ours to make, or a link: whatever exists is judged by where it is.
            if flags & os.O_EXCL or error.errno not in (errno.EACCES, errno.ELOOP):
                raise
            return None

    def change(self, name: str, at: int, path: bytes, mode: int, target: bytes) -> None:
        """Make or remove what a path names, by the call of that name."""
        try:
            with self._parent(at, path) as (directory, last):
                if name.startswith("mkdir"):
                    os.mkdir(last, mode, dir_fd=directory)
                elif name.startswith("mknod"):
                    os.mkfifo(last, mode & 0o7777, dir_fd=directory)
                elif name.startswith("symlink"):
                    os.symlink(target, last, dir_fd=directory)
                elif name == "rmdir" or (name == "unlinkat" and mode & _AT_REMOVEDIR):
                    os.rmdir(last, dir_fd=directory)
                else:
                    os.unlink(last, dir_fd=directory)
        except PermissionError:
            if name.startswith("mkdir"):
                # Programs make directories that are there, to be sure of them.
                with suppress(FileNotFoundError):
                    os.close(kernel.openat2(at, path, os.O_PATH, kernel.NO_MAGIC))
                    raise FileExistsError(errno.EEXIST, "it exists") from None
            raise

    def rename(self, at: int, path: bytes, into: int, new: bytes) -> None:
        """Rename a file, from and to directories that may be changed."""
        with self._parent(at, path) as (old, last), self._parent(into, new) as (directory, name):
            os.rename(last, name, src_dir_fd=old, dst_dir_fd=directory)

    def link(self, at: int, path: bytes, into: int, new: bytes) -> None:
        """Give a file of a directory that may be changed another name there.

        Not what a symbolic link leads to, which is elsewhere, and would be granted from then on.
        """
        with self._parent(at, path) as (old, last), self._parent(into, new) as (directory, name):
            os.link(last, name, src_dir_fd=old, dst_dir_fd=directory, follow_symlinks=False)

    def chmod(self, at: int, path: bytes, mode: int, *, follow: bool) -> None:
        """Change the mode of a file that may be changed."""
        with self._granted(at, path, 0 if follow else os.O_NOFOLLOW, writes=True) as it:
            os.chmod(_door(it), mode & 0o7777)  # noqa: PTH101 - a descriptor

    @contextmanager
    def _granted(
        self, at: int, path: bytes, shape: int = 0, resolve: int = 0, *, writes: bool
    ) -> Iterator[int]:
        """Pin what a path leads to, or ``at`` itself without one, if it may be read, or changed."""
        resolve |= kernel.NO_MAGIC
        it = kernel.openat2(at, path, os.O_PATH | shape, resolve) if path else os.dup(at)
        try:
            place = os.fsencode(os.readlink(_door(it)))  # noqa: PTH115 - a descriptor
            roots = self._writable if writes else self._writable + self._readable
            if not any(place == root or place.startswith(root + b"/") for root in roots):
                raise PermissionError(errno.EACCES, "not granted")
            yield it
        finally:
            os.close(it)

    @contextmanager
    def _parent(self, at: int, path: bytes, resolve: int = 0) -> Iterator[tuple[int, bytes]]:
        """Pin the directory of a path, if it may be changed; yield it with the last name."""
        head, slash, name = path.rstrip(b"/").rpartition(b"/")
        if name in (b"", b".", b".."):
            raise OSError(errno.EEXIST if slash or name else errno.ENOENT, "no name in a directory")
        above = head + slash or b"."
        with self._granted(at, above, os.O_DIRECTORY, resolve, writes=True) as directory:
            yield directory, name


def _root(path: str) -> bytes:
    place = Path(path).resolve()
    if place == Path("/") or (place.is_dir() and place.parts[1] == "proc"):
        sys.exit(f"{path}: /proc/self is in there, which would be the supervisor itself")
    return os.fsencode(place)


def _door(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"
