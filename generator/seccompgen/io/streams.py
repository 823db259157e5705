"""The standard streams of a command: a failed write ends the command with exit code 3.

By default three things prevent that. If the reader of a pipe exits, click ends with 1, which means
no. As Python exits, it writes the rest of a buffer again, and if that fails, replaces the exit code
by 120. And print() does nothing if a stream is closed.
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
    """Replace this process's standard streams by streams of this module.

    A closed stream is opened on /dev/null, or a file of ours would get its descriptor number;
    programs that we execute do not inherit it. Output to standard error may be lost, because the
    exit code reports failures as well. Results must not be lost: standard output is opened for
    reading only, so that writing fails.
    """
    for name, mode in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            lowest = os.open(os.devnull, mode)
            setattr(sys, name, os.fdopen(lowest, "r" if name == "stdin" else "w", closefd=False))
    for name, called in (("stdout", "standard output"), ("stderr", "standard error")):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.flush()
            with contextlib.suppress(io.UnsupportedOperation):  # a caller may capture the text
                setattr(sys, name, _text(stream, called))


def finish_streams() -> None:
    """Flush the buffers; raise OutsideError if that fails for standard output.

    A failure for standard error is ignored: the exit code reports errors as well.
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
    """A descriptor whose first failed write raises OutsideError; later ones do not raise.

    The error has no message if the reader has exited, as ``| head`` does on purpose.
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
