"""Files of facts, read row by row; each error has the position of its row."""

from __future__ import annotations

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.io.reading import decode_text

_MOST_ERRORS = 100


def rows_of(content: bytes, name: str, header: str | None = None) -> list[str]:
    """Return the lines of a file after its ``header``.

    Raises InputError if the header differs, or if the last line does not end: the file is cut off.
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
    """The base of readers of rows; it collects up to a hundred errors."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._errors: list[Diagnostic] = []

    def fail(self, line: int, message: str, column: int = 1) -> None:
        """Add an error; raise InputError with all errors if they are too many."""
        self._errors.append(Diagnostic(message, Position(self._file, line, column)))
        if len(self._errors) >= _MOST_ERRORS:
            self.require_right()

    def require_right(self) -> None:
        """Raise InputError with all errors, if there are any."""
        if self._errors:
            raise InputError(*self._errors)
