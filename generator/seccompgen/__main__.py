"""``python -m seccompgen``, and the entry point of the command."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

    import click

    from seccompgen.core.errors import SeccompgenError


_OBJECTS = 300_000
"""Objects to make before a search for garbage: imports make none, and each search takes time."""


def program() -> NoReturn:
    """Run the command line, and end the process.

    That is done at once, for to take the interpreter apart takes as long as to start it.
    """
    from seccompgen.pipeline.numpy_threads import forgo_threads  # noqa: PLC0415 - kept off the import of the package

    forgo_threads()
    try:
        main()
    except SystemExit as end:
        code = end.code
    atexit._run_exitfuncs()
    os._exit(code if isinstance(code, int) else 1)


def main() -> None:
    """Run the command line; end with an exit code of design and a line for every error."""
    from seccompgen.core.errors import OutsideError  # noqa: PLC0415 - kept off the import of the package
    from seccompgen.io.streams import finish_streams, take_streams  # noqa: PLC0415

    gc.set_threshold(_OBJECTS)
    take_streams()
    # Where the parent has it ignored, nobody learns how a child ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = _run()
    try:
        finish_streams()
    except OutsideError as error:
        code = _tell(error)
    sys.exit(code)


def _run() -> int:
    """Run the command line; return the exit code."""
    import click  # noqa: PLC0415 - kept off the import of the package

    from seccompgen.cli import command  # noqa: PLC0415
    from seccompgen.core.errors import OutsideError, SeccompgenError  # noqa: PLC0415
    from seccompgen.io.console import say  # noqa: PLC0415

    try:
        code = command.main(standalone_mode=False)
    except SystemExit as end:
        code = end.code
    except SeccompgenError as error:
        return _tell(error)
    except click.Abort:
        return 130
    except click.ClickException as error:
        with contextlib.suppress(OutsideError):  # the exit code says it, too
            say(*_usage(error), err=True)
        return error.exit_code
    except OSError as error:
        named = isinstance(error.filename, (str, bytes)) and error.filename
        where = os.fsdecode(named) if named else "seccompgen"
        return _tell(OutsideError(f"{where}: {error.strerror or error}"))
    except MemoryError:
        return _tell(OutsideError("seccompgen: out of memory"))
    return code if isinstance(code, int) else 0


def _usage(error: click.ClickException) -> list[str]:
    """Return the lines that click has for an error; what was typed is part of the last alone."""
    import click  # noqa: PLC0415 - kept off the import of the package

    from seccompgen.cli.options import no_such_option  # noqa: PLC0415

    if isinstance(error, click.NoSuchOption):
        error = click.UsageError(no_such_option(error), error.ctx)
    shown = io.StringIO()
    error.show(shown)
    message = error.format_message()
    before = shown.getvalue().rstrip("\n").removesuffix(message)
    return [*before.split("\n")[:-1], before.split("\n")[-1] + message]


def _tell(error: SeccompgenError) -> int:
    """Print an error, if that is possible; return its exit code."""
    from seccompgen.core.errors import OutsideError  # noqa: PLC0415
    from seccompgen.io.console import say  # noqa: PLC0415 - kept off the import of the package

    if error.diagnostics:
        with contextlib.suppress(OutsideError):  # the exit code says it, too
            say(*(one.line() for one in error.diagnostics), err=True)
    return error.exit_code


if __name__ == "__main__":
    program()
