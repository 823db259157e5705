"""All outputs of a command as one value: checked against the tree, or put into it as one step.

Files are staged without a name (``O_TMPFILE``), so a run that is killed before the commit has
left nothing. The commit itself is a burst of renames, done by a child in a session of its own:
killing the command, or its process group, cannot stop it half-way. What remains is the machine
failing within that burst, a millisecond; running the command again repairs that.
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
"""Less the umask, as for every file that a program makes."""


@dataclass(frozen=True)
class Outputs:
    """The files that a command emits, whole, and the ones to remove."""

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

        ``explain`` says why a file is not what it would be, and what that means; ``heads`` returns
        those of some files that speak for all of them.
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
        """Bring the tree to these outputs; return what changed. Unchanged files stay as they are.

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
    """Wait for other seccompgen runs that write below ``directory``, and hold them off.

    The lock is on that directory, or the nearest existing one around it, so it leaves no file
    behind. Name one that this run does not create, or others would lock another.
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
    """Raise InputError if a directory of ``paths``, below that of all of them, leads elsewhere.

    The common directory may be a link itself, because the user named it. What is in it may have
    come with somebody's project: nothing is written, or removed, where such a link leads.
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
    """Raise OutsideError for an OSError: ``path`` cannot be written."""
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

    Return a path by which the commit can give it its name, valid while ``stack`` is open.
    """
    there = next(place for place in path.parents if place.is_dir())
    try:
        descriptor = os.open(there, os.O_TMPFILE | os.O_RDWR, _MODE)
    except (AttributeError, OSError):
        # Not Linux, or a file system without O_TMPFILE: a named file, removed on the way out.
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
        # All that can fail for want of space or permission comes before the first replacement.
        for number, (path, source) in enumerate(staged):
            with _writing(path):
                if path.is_dir():
                    raise IsADirectoryError(errno.EISDIR, "is a directory")
                made += reversed([place for place in path.parents if not place.exists()])
                path.parent.mkdir(parents=True, exist_ok=True)
                # Not longer than the file's own name needs to be able to be.
                temporary = str(path.parent / f".{token}{number}")
                # Only with a directory descriptor does os.link follow the link in /proc.
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
    """Remove what a Python module leaves behind: its bytecode, and empty directories."""
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
