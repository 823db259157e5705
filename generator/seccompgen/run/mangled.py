"""A place in a mangled name, for its readers, and an end to what reading it may cost."""

from __future__ import annotations

_MOST_STEPS = 20_000
_DEEPEST = 80
"""Rules within rules; the deepest of libstdc++ have a fourth of that."""


def names_by_code(table: str) -> dict[str, str]:
    """Return a table of ``code=name``, in which words have a ``+`` for each space."""
    pairs = (pair.split("=", 1) for pair in table.split())
    return {code: name.replace("+", " ") if name[0].isalpha() else name for code, name in pairs}


class NotUnderstoodError(Exception):
    """A name is not as it should be, or takes too long."""


class Reader:
    """A mangled name, ``text``, that is read from ``at`` on."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._steps = 0
        self._depth = 0

    def __enter__(self) -> None:
        """Begin a rule of the grammar."""
        self._steps += 1
        self._depth += 1
        if self._steps > _MOST_STEPS or self._depth > _DEEPEST:
            raise NotUnderstoodError

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._depth -= 1

    def peek(self, size: int = 1) -> str:
        """Return what comes next; fewer characters at the end."""
        return self.text[self.at : self.at + size]

    def take(self, size: int = 1) -> str:
        """Return what comes next, and go on behind it."""
        taken = self.peek(size)
        if len(taken) < size:
            raise NotUnderstoodError
        self.at += size
        return taken

    def skip(self, expected: str) -> bool:
        """Go on behind ``expected`` if that comes next; return whether it did."""
        if not self.text.startswith(expected, self.at):
            return False
        self.at += len(expected)
        return True

    def require(self, expected: str) -> None:
        """Go on behind ``expected``, which has to come next."""
        if not self.skip(expected):
            raise NotUnderstoodError

    def digits(self, among: str = "0123456789") -> str:
        """Return the characters that come next for as long as they are ``among`` these."""
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in among:
            self.at += 1
        return self.text[start : self.at]

    def number(self) -> int:
        """Return the decimal number that comes next."""
        digits = "0" if self.skip("0") else self.digits()
        if not digits or len(digits) > 4:
            raise NotUnderstoodError
        return int(digits)
