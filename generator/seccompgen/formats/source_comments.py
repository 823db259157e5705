"""Comments of foreign files, each with its place; readers add them to their `Draft`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Position

if TYPE_CHECKING:
    from collections.abc import Iterator


class SourceComment(NamedTuple):
    """A line of comment about what follows it or, if ``trailing``, about what precedes it.

    ``text`` is None for a blank line, after which a new paragraph begins.
    """

    position: Position
    text: str | None
    trailing: bool = False


def line_comments(text: str, file: str, *, trailing: bool) -> Iterator[SourceComment]:
    """Yield the comments that begin with ``#`` and end with their line, and the blank lines.

    With ``trailing``, a comment may follow something else and a blank on its line.
    """
    continued = False
    for number, whole in enumerate(text.split("\n"), 1):
        line = whole.strip()
        before, found, after = line.partition("#")
        where = Position(file, number, whole.find("#") + 1 if found else 1)
        comment = after.lstrip("#").removeprefix(" ").rstrip()
        if not line and not continued:
            yield SourceComment(where, None)
        elif found and (not before or (trailing and before[-1].isspace())):
            yield SourceComment(where, comment, trailing=bool(before))
        continued = line.endswith("\\")
