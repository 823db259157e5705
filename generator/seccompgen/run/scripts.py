"""The lines of a script that a thread executes, if its interpreter can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.run.perl_lines import perl_lines
from seccompgen.run.python_lines import python_lines

if TYPE_CHECKING:
    from seccompgen.run.process import Process


_READERS = {"python": python_lines, "perl": perl_lines}
LANGUAGES = (*_READERS,)
"""The languages whose lines can be read."""


class ScriptLines(NamedTuple):
    """The lines, innermost first, and their language; both empty if they cannot be read."""

    language: str = ""
    lines: tuple[str, ...] = ()


def script_lines(process: Process) -> ScriptLines:
    """Return the lines that a waiting thread executes."""
    for language, read in _READERS.items():
        if lines := read(process):
            return ScriptLines(language, lines)
    return ScriptLines()
