"""Keep what takes long to make, outside the tree, for every process and later run."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _directory() -> Path:
    named = os.environ.get("SECCOMPGEN_KERNELS_CACHE")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "seccompgen" / "kernels"


# Now: the tests of the generator work with another cache, so that none is read that is not theirs.
_DIRECTORY = _directory()


def directory() -> Path:
    """Return where it is kept. It may be removed at any time that nobody uses it."""
    return _DIRECTORY


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock against every other process and thread that asks for the same name."""
    locks = directory() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def place(name: str, inputs: tuple[str, ...]) -> Path:
    """Return the file that `kept` keeps for these inputs, whether it is there or not."""
    digest = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:16]
    return directory() / f"{name}-{digest}"


def kept(name: str, inputs: tuple[str, ...], make: Callable[[], bytes]) -> Path:
    """Return a file with what ``make`` returned for these inputs, now or long ago.

    ``name`` is for people to read; the inputs must tell everything that the content depends on.
    """
    path = place(name, inputs)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.name):
            if not path.exists():
                write(path, make())
    return path


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; the caller holds the lock."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(content)
    temporary.rename(path)
