"""``python -m seccompgen``, and the entry point of the command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; end with an exit code of design and a line for every error."""
    import click  # noqa: PLC0415 - kept off the import of the package

    from seccompgen.cli import command  # noqa: PLC0415
    from seccompgen.errors import EXIT_OUTSIDE, SeccompgenError  # noqa: PLC0415

    try:
        command.main(standalone_mode=False)
    except SeccompgenError as error:
        for diagnostic in error.diagnostics:
            print(diagnostic, file=sys.stderr)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader went away; Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_OUTSIDE)
    except OSError as error:
        print(f"{error.filename or 'seccompgen'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(EXIT_OUTSIDE)


if __name__ == "__main__":
    main()
