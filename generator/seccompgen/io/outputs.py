"""All outputs of a command as one value: checked against the tree, or written in one step.

Files are staged without a name (``O_TMPFILE``), so a run that is killed before the commit leaves
nothing behind. The commit itself is a burst of renames by a child in a session of its own: killing
the command, or its process group, cannot stop it half-way. Only a crash of the machine within that
millisecond can; running the command again repairs it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, OutsideError, Position, cannot
from seccompgen.io.console import say
from seccompgen.io.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

_MODE = 0o666
"""The mode of new files; the kernel applies the umask to it."""


@dataclass(frozen=True)
class Outputs:
    """The files that a command emits, with their contents, and the files to remove."""

    files: Mapping[Path, bytes]
    orphans: frozenset[Path] = field(default_factory=frozenset)

    def changed(self) -> list[Path]:
        """Return the files that are missing or differ, sorted."""
        return sorted(path for path, data in self.files.items() if not _holds(path, data))

    def stale(
        self,
        explain: Callable[[Path, bytes], str] | None = None,
        heads: Callable[[list[Path]], list[Path]] = list,
    ) -> list[Diagnostic]:
        """Return a diagnostic for each change that ``write`` would make.

        ``explain`` returns why a file differs from the given content, and what that means;
        ``heads`` returns those of the given files that are reported, on behalf of all.
        """
        changed, orphans = self.changed(), sorted(self.orphans)
        speaking = heads([*changed, *orphans])
        found = []
        for path in changed:
            if path not in speaking:
                continue
            text = "is stale" if path.exists() else "is missing"
            if explain and path.is_file() and (reason := explain(path, self.files[path])):
                text += f": {reason}"
            found.append(Diagnostic(text, Position(str(path))))
        return found + [
            Diagnostic("is no longer generated", Position(str(path)))
            for path in orphans
            if path in speaking
        ]

    def write(self) -> list[Path]:
        """Write and remove files as needed; return their paths. Unchanged files are not touched.

        Raises OutsideError if the file system refuses, and InputError if a link leads out of the
        common directory of all files, before anything is replaced.
        """
        changed = self.changed()
        orphans = sorted(self.orphans)
        if not changed and not orphans:
            return []
        _require_inside([*self.files, *orphans])
        with contextlib.ExitStack() as stack:
            staged = []
            for path in changed:
                with _writing(path):
                    staged.append((path, _stage(path, self.files[path], stack)))
            _commit(staged, orphans)
        return changed + orphans


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Lock ``directory`` against other seccompgen runs for the block; wait for the lock.

    The lock is on the directory itself, or the nearest existing one above it, so it leaves no file
    behind. ``directory`` must not be one that this run creates, or other runs would lock another
    one.
    """
    there = next(place for place in (directory, *directory.parents) if place.is_dir())
    descriptor = os.open(there, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another seccompgen in {there}", err=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _require_inside(paths: Collection[Path]) -> None:
    """Raise InputError if a link leads a directory of ``paths`` out of their common directory.

    The common directory may be a link itself, because the user named it. Links in it may come from
    an untrusted project: nothing is written or removed where they lead.
    """
    base = os.path.commonpath([os.path.abspath(path.parent) for path in paths])  # noqa: PTH100
    real = os.path.realpath(base)
    strange = {
        path.parent
        for path in paths
        if not Path(os.path.realpath(path.parent)).is_relative_to(real)
    }
    if strange:
        text = f"leads out of {base}, where nothing is written or removed: remove this link"
        raise InputError(*(Diagnostic(text, Position(str(one))) for one in sorted(strange)))


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into the OutsideError that ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise OutsideError(cannot("write", path, error)) from None


def _holds(path: Path, data: bytes) -> bool:
    try:
        return read_file(path, len(data)) == data
    except OSError:
        return False


def _stage(path: Path, data: bytes, stack: contextlib.ExitStack) -> str:
    """Write ``data`` to a file without a name, on the file system of ``path``.

    Return a path from which the commit can link the file; it is valid while ``stack`` is open.
    """
    there = next(place for place in path.parents if place.is_dir())
    try:
        descriptor = os.open(there, os.O_TMPFILE | os.O_RDWR, _MODE)
    except (AttributeError, OSError):
        # Not Linux, or a file system without O_TMPFILE: use a named file, and remove it later.
        source = str(there / f".{os.urandom(8).hex()}")
        descriptor = os.open(source, os.O_CREAT | os.O_EXCL | os.O_RDWR, _MODE)
        stack.callback(lambda: Path(source).unlink(missing_ok=True))
    else:
        source = f"/proc/self/fd/{descriptor}"
    stack.callback(os.close, descriptor)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return source


def _commit(staged: list[tuple[Path, str]], orphans: list[Path]) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            os.close(reader)
            _rename_all(staged, orphans)
            status = 0
        except OutsideError as error:
            os.write(writer, os.fsencode(str(error)))
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        message = os.fsdecode(pipe.read())
    _, status = os.waitpid(child, 0)
    if status:
        raise OutsideError(message or "the commit of the outputs failed")


def _rename_all(staged: list[tuple[Path, str]], orphans: list[Path]) -> None:
    token = os.urandom(8).hex()
    named: list[tuple[str, Path]] = []
    made: list[Path] = []
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Everything that can fail for lack of space or permission precedes the first rename.
        for number, (path, source) in enumerate(staged):
            with _writing(path):
                if path.is_dir():
                    raise IsADirectoryError(errno.EISDIR, "is a directory")
                made += reversed([place for place in path.parents if not place.exists()])
                path.parent.mkdir(parents=True, exist_ok=True)
                # Short, for file systems that limit the length of names.
                temporary = str(path.parent / f".{token}{number}")
                # os.link follows the link in /proc only if it gets a directory descriptor.
                os.link(source, temporary, src_dir_fd=here, follow_symlinks=True)
                named.append((temporary, path))
    except OutsideError:
        for temporary, _ in named:
            Path(temporary).unlink(missing_ok=True)
        for directory in reversed(made):
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise
    for temporary, path in named:
        with _writing(path):
            Path(temporary).replace(path)
    for path in orphans:
        with _writing(path):
            path.unlink(missing_ok=True)
        _leave_nothing_of(path)


def _leave_nothing_of(path: Path) -> None:
    """Remove the bytecode of a removed Python module, and directories that became empty."""
    cache = path.parent / "__pycache__"
    if cache.is_symlink():
        return
    with contextlib.suppress(OSError):
        for bytecode in cache.glob(f"{glob.escape(path.stem)}.*.pyc"):
            bytecode.unlink()
        if path.suffix == ".py":
            for directory in (cache, path.parent):
                if directory.is_dir():
                    directory.rmdir()
