"""``python -m seccompgen``, and the entry point of the command."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click


def main() -> None:
    """Run the command line; end with an exit code of design and a line for every error."""
    import click  # noqa: PLC0415 - kept off the import of the package

    from seccompgen.cli import command  # noqa: PLC0415
    from seccompgen.console import say  # noqa: PLC0415
    from seccompgen.errors import EXIT_OUTSIDE, SeccompgenError  # noqa: PLC0415

    _take_no_surprises()
    try:
        command.main(standalone_mode=False)
    except SeccompgenError as error:
        with contextlib.suppress(OSError):  # the exit code says it, too
            say(*error.diagnostics, err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            say(*_usage(error), err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader went away; Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_OUTSIDE)
    except OSError as error:
        with contextlib.suppress(OSError):
            say(f"{error.filename or 'seccompgen'}: {error.strerror or error}", err=True)
        sys.exit(EXIT_OUTSIDE)
    except MemoryError:
        with contextlib.suppress(OSError):
            say("seccompgen: out of memory", err=True)
        sys.exit(EXIT_OUTSIDE)


def _usage(error: click.ClickException) -> list[str]:
    """Return the lines that click has for an error; what was typed is part of the last alone."""
    shown = io.StringIO()
    error.show(shown)
    message = error.format_message()
    before = shown.getvalue().rstrip("\n").removesuffix(message)
    return [*before.split("\n")[:-1], before.split("\n")[-1] + message]


def _take_no_surprises() -> None:
    """Undo what the parent may have left us that nothing here reckons with.

    Where a standard stream is closed, a file of ours would get its number: /dev/null takes that,
    until a command is executed. A path that is no UTF-8 could not be printed. Where SIGCHLD is
    ignored, nobody learns how a child ended.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            lowest = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(lowest, "r" if name == "stdin" else "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


if __name__ == "__main__":
    main()
