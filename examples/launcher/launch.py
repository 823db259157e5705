"""Become another program, confined: ``launch.py COMMAND [ARGUMENT]...``.

Exits as the command does; with 127 or 126 where it cannot be executed, as a shell would, and with
125 where no filter is in force, and nothing has been executed.
"""

import os
import sys


def main():
    """Install the filter, then execute; nothing comes between but the search of PATH."""
    try:
        from sandbox import tool  # noqa: PLC0415 - where it is missing, that is 125, too

        tool.install()
    except (ImportError, OSError) as error:
        print(f"launch.py: not confined: {error}", file=sys.stderr)
        return 125
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        print(f"launch.py: {sys.argv[1]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126


if __name__ == "__main__":
    sys.exit(main())
