"""``seccompgen schema``: the JSON Schema of the policy language."""

from __future__ import annotations

from pathlib import Path

import click

from seccompgen.cli.common import print_written, read_tables, tables_option
from seccompgen.io.console import say


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it there; default: print it.",
)
@tables_option
def schema(output: Path | None, tables_directory: Path | None) -> None:
    """Print the JSON Schema of the policy language, for editors.

    It knows the calls, arguments and constants of the tables. A policy that begins with the line
    '# yaml-language-server: $schema=FILE' is completed and checked by it as you type.
    """
    from seccompgen.io.outputs import Outputs  # noqa: PLC0415 - keeps --help fast
    from seccompgen.policy.json_schema import schema_text  # noqa: PLC0415

    text = schema_text(read_tables(tables_directory))
    if output:
        print_written(Outputs({output: text.encode()}).write())
    else:
        say(*text.splitlines())
