"""Files of facts, read row by row: what is wrong with any row is an error at its place."""

from __future__ import annotations

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.io.reading import decode_text

_MOST_ERRORS = 100


def rows_of(content: bytes, name: str, header: str | None = None) -> list[str]:
    """Return the lines of a file, without its ``header``; raise InputError without that.

    A file whose last line does not end is refused, too: it is cut off.
    """
    text = decode_text(content, name, bom=False)
    *lines, rest = text.split("\n")
    if rest or not lines:
        raise InputError(Diagnostic("the last line is cut off", Position.after(name, text)))
    if header is None:
        return lines
    if lines[0] != header:
        message = f"the first line should be {header!r}"
        raise InputError(Diagnostic(message, Position(name, 1, 1)))
    return lines[1:]


class RowReader:
    """The base of what reads rows: it keeps what is wrong with them, up to a hundred errors."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._errors: list[Diagnostic] = []

    def fail(self, line: int, message: str, column: int = 1) -> None:
        """Keep an error; raise InputError with all if they are too many."""
        self._errors.append(Diagnostic(message, Position(self._file, line, column)))
        if len(self._errors) >= _MOST_ERRORS:
            self.require_right()

    def require_right(self) -> None:
        """Raise InputError with all errors, if there are any."""
        if self._errors:
            raise InputError(*self._errors)
