"""The one place that prints: what others chose is shown, and never obeyed by a terminal.

A command says what it has to say by `say`, line by line. A character that does not show is written
as an escape, and a line that was handed over stays one line.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from seccompgen.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from seccompgen.core.errors import Diagnostic


def say(*lines: object, err: bool = False) -> None:
    """Print ``lines`` on stdout, or on stderr, at once; by default an empty one."""
    write_lines(sys.stderr if err else sys.stdout, lines or ("",))


def write_lines(stream: TextIO, lines: Iterable[object]) -> None:
    """Write ``lines`` to ``stream``, which may be a terminal, or be shown on one later."""
    stream.write("".join(f"{printable(str(line))}\n" for line in lines))
    stream.flush()


def print_json(value: Any) -> None:
    """Print ``value`` as JSON that is the same for the same value, and as safe to show."""
    import json  # noqa: PLC0415 - only where it is asked for

    text = json.dumps(value, indent=2, ensure_ascii=False)
    sys.stdout.write(f"{_UNSHOWN.sub(_escape, text)}\n")
    sys.stdout.flush()


def print_json_line(value: Any) -> None:
    """Print ``value`` as JSON in one line, at once: for a stream of values."""
    import json  # noqa: PLC0415

    sys.stdout.write(f"{_UNSHOWN.sub(_escape, json.dumps(value, ensure_ascii=False))}\n")
    sys.stdout.flush()


# Of JSON with indentation the line feeds are its own; all else of this kind is in a string.
_UNSHOWN = re.compile(r"[^\n -~]")


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    import json  # noqa: PLC0415

    return character if character.isprintable() else json.dumps(character)[1:-1]


def told(diagnostics: Iterable[Diagnostic]) -> str:
    """Return ``diagnostics`` as text for another program's way of telling errors, a line each."""
    return "\n".join(printable(str(one)) for one in diagnostics)
