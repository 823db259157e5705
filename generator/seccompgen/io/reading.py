"""Input files: read up to a limit, as bytes, text or TOML; no failure is a traceback.

An input may be malicious: a device without an end, a pipe that nobody writes to, a number of a
million digits.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING, Any

from seccompgen.core.errors import Diagnostic, InputError, Position, cannot
from seccompgen.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_TEXT = 8 << 20
"""The default limit for text files, in bytes; the longest of ours has 200 KiB."""

MAX_FILTER = 16 << 20
"""The limit for filter files, in bytes: a module may have 27 programs of 4096 lines of 75 bytes."""

_CHUNK = 1 << 20
_DESCRIPTOR = re.compile(r"/dev/stdin|(/dev/fd|/proc/self/fd)/[0-9]+")
"""Paths of descriptors that a shell passes: standard input, or a process substitution
``<(...)``."""


def read_file(path: Path, limit: int = MAX_TEXT, *, pipes: bool = False) -> bytes:
    """Return the content of the regular file at ``path``, of at most ``limit`` bytes.

    With ``pipes``, ``path`` may also name a descriptor from a shell, such as ``/dev/stdin`` or
    ``/dev/fd/63``, of any kind. Raises OSError, always with a reason in ``strerror``, if the file
    cannot be read, is not regular, or is larger than ``limit``. Never waits for a pipe in place of
    a file.
    """
    content = _read(path, limit + 1, pipes=pipes)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {_size(limit)}", str(path))
    return content


def read_input(path: Path, limit: int = MAX_TEXT, *, pipes: bool = False) -> bytes:
    """Return the content of ``path`` like `read_file`, with InputError in place of OSError."""
    try:
        return read_file(path, limit, pipes=pipes)
    except OSError as error:
        raise InputError(cannot("read", path, error), kind=Problem.UNREADABLE_FILE) from None


def read_start(path: Path, length: int) -> bytes:
    """Return the first ``length`` bytes of a regular file, or all of it; see `read_file`."""
    return _read(path, length, pipes=False)


def _read(path: Path, most: int, *, pipes: bool) -> bytes:
    name = str(path)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY
    try:
        handed_over = pipes and _DESCRIPTOR.fullmatch(name) is not None
        # Checked before opening as well: opening a device may already have an effect.
        if not handed_over:
            _require_regular(os.stat(path).st_mode, name)  # noqa: PTH116 - as os.open and os.read
            flags |= os.O_NONBLOCK
        descriptor = os.open(path, flags)
    except ValueError as error:  # a NUL in the path
        raise OSError(errno.EINVAL, str(error), name) from None
    try:
        if not handed_over:
            _require_regular(os.fstat(descriptor).st_mode, name)
        chunks = []
        while most and (chunk := os.read(descriptor, min(most, _CHUNK))):
            chunks.append(chunk)
            most -= len(chunk)
        return b"".join(chunks)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    finally:
        os.close(descriptor)


def read_lines(path: Path | None) -> Iterator[bytes]:
    """Yield the lines of a regular file or a shell's descriptor, each as soon as it is complete.

    A ``path`` of None is standard input. Longer lines are cut after a megabyte. Raises OSError as
    `read_file` does.
    """
    name = str(path or "/dev/stdin")
    handed_over = _DESCRIPTOR.fullmatch(name) is not None
    if not handed_over:
        _require_regular(os.stat(name).st_mode, name)  # noqa: PTH116 - as os.open and os.read
    descriptor = 0 if path is None else os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        rest = b""
        while chunk := os.read(descriptor, _CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line[:_CHUNK] for line in lines)
            # Drop the rest of a line beyond the limit, but still find the end of the line.
            rest = rest[: _CHUNK + 1]
        if rest:
            yield rest[:_CHUNK]
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    finally:
        if path is not None:
            os.close(descriptor)


def _require_regular(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", name)


def _size(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit >> 20 else f"{limit >> 10} KiB"


def decode_text(content: bytes, file: str, *, bom: bool = True) -> str:
    """Return ``content`` as text; with ``bom``, remove a byte order mark.

    Raises InputError, with the position, if it is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig" if bom else "utf-8")
    except UnicodeDecodeError as error:
        where = undecodable(error, file)
        raise InputError(Diagnostic("not UTF-8 text", where, Problem.MALFORMED_FILE)) from None


def undecodable(error: UnicodeDecodeError, file: str) -> Position:
    """Return the position of the first byte that is not UTF-8."""
    return Position.after(file, error.object[: error.start].decode())


_PLACE = re.compile(r"(?P<what>.*) \(at (line (?P<line>\d+), column (?P<column>\d+)|end.*)\)", re.S)
_KEY = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
# tomllib needs time quadratic in the number of a key's parts: 50 s for 64 KiB.
_LONG_KEY = re.compile(rf"(?<![\w\"'-]){_KEY}(?:[ \t]*\.[ \t]*{_KEY}){{32}}", re.ASCII)
# int() accepts fewer digits, and its error has no position.
_LONG_NUMBER = re.compile(r"(?<![\w.])[+-]?[0-9_]{4300}", re.ASCII)


def parse_toml(text: str, file: str) -> dict[str, Any]:
    """Return the content of a TOML text; raise InputError, with a position, if it is invalid."""
    if key := _LONG_KEY.search(text):
        raise InputError(_at(text, key.start(), file, "a key of more than 32 parts"))
    import tomllib  # noqa: PLC0415 - most files are something else

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InputError(_at(text, 0, file, "nested too deeply")) from None
    except ValueError as error:  # also raised by int() and datetime() for impossible values
        if match := _PLACE.fullmatch(str(error)):
            at = match["line"] and Position(file, int(match["line"]), int(match["column"]))
            position = at or Position.after(file, text)
            message = f"not TOML: {match['what']}"
            raise InputError(Diagnostic(message, position, Problem.MALFORMED_FILE)) from None
        number = _LONG_NUMBER.search(text)
        what = "a number of too many digits" if number else str(error)
        raise InputError(_at(text, number.start() if number else 0, file, what)) from None


def _at(text: str, at: int, file: str, what: str) -> Diagnostic:
    position = Position.after(file, text[:at])
    return Diagnostic(f"not TOML: {what}", position, Problem.MALFORMED_FILE)
