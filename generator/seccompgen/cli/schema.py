"""``seccompgen schema``: the JSON Schema of the policy language."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seccompgen.cli import options
from seccompgen.cli.common import print_written
from seccompgen.io.console import say

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.tables import Tables


@click.command()
@options.output("FILE", "Write it there; default: print it.")
@options.tables
def schema(output: Path | None, tables: Tables) -> None:
    """Print the JSON Schema of the policy language, for editors.

    It knows the calls, arguments and constants of the tables. A policy that begins with the line
    '# yaml-language-server: $schema=FILE' is completed and checked by it as you type.
    """
    from seccompgen.io.outputs import Outputs  # noqa: PLC0415 - keeps --help fast
    from seccompgen.policy.json_schema import schema_text  # noqa: PLC0415

    text = schema_text(tables)
    if output:
        print_written(Outputs({output: text.encode()}).write())
    else:
        say(*text.splitlines())
