"""``python -m seccompgen``, and the entry point of the command."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seccompgen.errors import SeccompgenError


def main() -> None:
    """Run the command line; end with an exit code of design and a line for every error."""
    from seccompgen.errors import OutsideError  # noqa: PLC0415 - kept off the import of the package
    from seccompgen.streams import finish_streams, take_streams  # noqa: PLC0415

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
    from seccompgen.errors import OutsideError, SeccompgenError  # noqa: PLC0415

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
            error.show()
        return error.exit_code
    except OSError as error:
        named = isinstance(error.filename, (str, bytes)) and error.filename
        where = os.fsdecode(named) if named else "seccompgen"
        return _tell(OutsideError(f"{where}: {error.strerror or error}"))
    return code if isinstance(code, int) else 0


def _tell(error: SeccompgenError) -> int:
    """Print an error, if that is possible; return its exit code."""
    from seccompgen.errors import OutsideError  # noqa: PLC0415 - kept off the import of the package

    with contextlib.suppress(OutsideError):  # the exit code says it, too
        for diagnostic in error.diagnostics:
            print(diagnostic, file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    main()
