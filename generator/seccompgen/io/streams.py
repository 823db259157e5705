"""The standard streams of a command: a failed write ends it with exit code 3.

Three things would prevent that. click ends with 1, an answer, when a reader goes away. Python
writes the rest of a buffer once more as it ends, and turns every exit code into 120 if that fails
again. And print() does nothing if a stream is closed.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import TYPE_CHECKING, cast

from seccompgen.core.errors import OutsideError

if TYPE_CHECKING:
    from typing import TextIO

    from typing_extensions import Buffer


def take_streams() -> None:
    """Replace this process's standard streams by those of this module.

    A closed one is opened on /dev/null until a command is executed, or a file of ours would get its
    number. Standard error may be lost: an exit code says it as well. But results must not be: their
    stream is opened for reading only, so that writing fails.
    """
    for name, mode in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            lowest = os.open(os.devnull, mode)
            setattr(sys, name, os.fdopen(lowest, "r" if name == "stdin" else "w", closefd=False))
    for name, called in (("stdout", "standard output"), ("stderr", "standard error")):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.flush()
            with contextlib.suppress(
                io.UnsupportedOperation
            ):  # a program of ours may keep the text
                setattr(sys, name, _text(stream, called))


def finish_streams() -> None:
    """Flush the buffers; raise OutsideError if that fails for standard output.

    Standard error may fail: the exit code says it as well.
    """
    with contextlib.suppress(OutsideError):
        sys.stderr.flush()
    sys.stdout.flush()


def _text(stream: io.TextIOWrapper, name: str) -> TextIO:
    """Return a text stream like ``stream`` that can also print a path that is not UTF-8."""
    return io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(stream.fileno(), name)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,
    )


class _Descriptor(io.FileIO):
    """A descriptor whose first failed write raises OutsideError, and no later one.

    The error has no message if the reader went away: ``| head`` has what it wants.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self._called = name
        self._failed = False
        super().__init__(descriptor, "w", closefd=False)

    def write(self, data: Buffer) -> int:
        """Write some of ``data``, and wait for a reader if the descriptor does not block."""
        if self._failed:
            return memoryview(data).nbytes
        try:
            while (written := cast("int | None", super().write(data))) is None:
                select.select((), (self,), ())
        except OSError as error:
            self._failed = True
            if isinstance(error, BrokenPipeError):
                raise OutsideError from None
            raise OutsideError(f"{self._called}: {error.strerror}") from None
        return written
