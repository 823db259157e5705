"""The only module that prints; foreign text in its output cannot control a terminal.

A command prints by `say`, line by line. An unprintable character is written as an escape, and a
line stays one line, except that `folded` wraps lines on a terminal. Only a terminal gets colours,
unless `use_colours` says otherwise.
"""

from __future__ import annotations

import os
import re
import sys
from enum import Enum
from typing import TYPE_CHECKING, Any

from seccompgen.core.styled import Styled
from seccompgen.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from seccompgen.core.errors import Diagnostic


class Colours(Enum):
    """The choice to show colours; ``auto``: on a terminal, unless NO_COLOR is set."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


_colours = Colours.AUTO


def use_colours(when: Colours) -> None:
    """Set for this process whether styled lines show colours."""
    global _colours  # noqa: PLW0603 - an option of the process, like the streams themselves
    _colours = when


def say(*lines: object, err: bool = False) -> None:
    """Print ``lines``, by default an empty one, on stdout or stderr, and flush."""
    write_lines(sys.stderr if err else sys.stdout, lines or ("",))


def say_source(line: str) -> None:
    """Print a line of somebody's file like `say`, but with its tabs."""
    sys.stdout.write("\t".join(map(printable, line.split("\t"))) + "\n")


def write_lines(stream: TextIO, lines: Iterable[object]) -> None:
    """Write ``lines`` to ``stream`` in a form that is safe to show on a terminal."""
    show = _coloured if _shows_colours(stream) else _plain
    stream.write("".join(f"{show(line)}\n" for line in lines))
    stream.flush()


def can_redraw() -> bool:
    """Return True if stderr is a terminal on which `redraw` works."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def redraw(line: str) -> None:
    """Show ``line`` on stderr in place of the line that was drawn before; "" erases it.

    It is cut to the width of the terminal, because a wrapped line could not be replaced.
    """
    import shutil  # noqa: PLC0415 - only on a terminal

    width = shutil.get_terminal_size().columns
    sys.stderr.write(f"\r\x1b[K{printable(line)[: width - 1]}")
    sys.stderr.flush()


def folded(line: str, hang: int) -> list[str]:
    """Return ``line`` wrapped to the width of the terminal; all lines but the first are indented.

    It is not wrapped if stdout is no terminal, so that programs get each row as one line.
    """
    import shutil  # noqa: PLC0415 - these two only on a terminal
    import textwrap  # noqa: PLC0415

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    if not width or len(line) <= width:
        return [line]
    # Paths and numbers are not broken, so that they can be copied.
    wrap = textwrap.TextWrapper(
        max(width, hang + 20),
        subsequent_indent=" " * hang,
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrap.wrap(line)


def _shows_colours(stream: TextIO) -> bool:
    if _colours is not Colours.AUTO:
        return _colours is Colours.ALWAYS
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and stream.isatty()


def _plain(line: object) -> str:
    return printable(str(line))


def _coloured(line: object) -> str:
    if not isinstance(line, Styled):
        return _plain(line)
    return "".join(
        f"\x1b[{style.value}m{printable(text)}\x1b[0m" if style and text else printable(text)
        for text, style in line.parts
    )


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON, reproducibly, and safe to show on a terminal."""
    import json  # noqa: PLC0415 - only where it is asked for

    text = json.dumps(value, indent=2, ensure_ascii=False)
    sys.stdout.write(f"{_UNSHOWN.sub(_escape, text)}\n")
    sys.stdout.flush()


def print_json_line(value: Any) -> None:
    """Print ``value`` as one line of JSON, and flush; for a stream of values."""
    import json  # noqa: PLC0415

    sys.stdout.write(f"{_UNSHOWN.sub(_escape, json.dumps(value, ensure_ascii=False))}\n")
    sys.stdout.flush()


# In indented JSON the line feeds are layout; all other matches are inside strings.
_UNSHOWN = re.compile(r"[^\n -~]")


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    import json  # noqa: PLC0415

    return character if character.isprintable() else json.dumps(character)[1:-1]


def error_text(diagnostics: Iterable[Diagnostic]) -> str:
    """Return ``diagnostics`` as text for another program's errors, one on each line."""
    return "\n".join(printable(str(one)) for one in diagnostics)
