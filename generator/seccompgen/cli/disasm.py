"""``seccompgen disasm``: show a filter as assembly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seccompgen.cli.common import (
    json_option,
    means,
    one_filter,
    read_tables,
    tables_option,
)
from seccompgen.core.abis import require_abi
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.tables import Tables
    from seccompgen.filters.module import Filter


@click.command()
@click.argument("filter_word", metavar="FILTER", type=click.Path())
@click.option("--arch", metavar="ABI", help="Only this ABI; needed for a raw .bpf file.")
@tables_option
@json_option
def disasm(
    filter_word: str, arch: str | None, tables_directory: Path | None, *, as_json: bool
) -> None:
    """Show FILTER as assembly.

    FILTER is a policy file, a stock policy's name, a generated module, a directory that has one
    filter, or a raw .bpf file. What is shown comes from the instructions, not from a module's
    comments. For a policy, each line also tells which part of which file it comes from.
    """
    from seccompgen.filters.module import read_filters  # noqa: PLC0415 - keeps --help fast

    tables = read_tables(tables_directory)
    only = require_abi(arch) if arch else None
    filters = read_filters(one_filter(filter_word), tables, only, means(cached=True))
    if as_json:
        print_json([_as_json(one, tables) for one in filters])
        return
    for i, one in enumerate(filters):
        if i:
            say()
        _show(one, tables, heading=len(filters) > 1)


def _show(one: Filter, tables: Tables, *, heading: bool) -> None:
    from seccompgen.render import listing  # noqa: PLC0415

    if heading:
        say(f"# {one.abi.name}: {len(one.instructions)} instructions")
    for i, line in enumerate(listing(one.instructions, one.abi, tables)):
        if line.label:
            say(f"{line.label}:")
        origins = one.origins[i] if one.origins else ()
        first = f"{origins[0].label}, {origins[0].position}" if origins else ""
        more = f" and {len(origins) - 1} more" if len(origins) > 1 else ""
        say(f"{i:5}  {line.text:52} {first}{more}".rstrip())


def _as_json(one: Filter, tables: Tables) -> dict[str, object]:
    from seccompgen.render import listing  # noqa: PLC0415

    lines = listing(one.instructions, one.abi, tables)
    return {
        "abi": one.abi.name,
        "audit_arch": one.abi.audit_arch,
        "instructions": [
            {
                "code": instruction.code,
                "jt": instruction.jt,
                "jf": instruction.jf,
                "k": instruction.k,
                "label": lines[i].label,
                "text": lines[i].text,
                "origins": [
                    {
                        "label": origin.label,
                        "file": origin.position.file,
                        "line": origin.position.line,
                        "column": origin.position.column,
                    }
                    for origin in (one.origins[i] if one.origins else ())
                ],
            }
            for i, instruction in enumerate(one.instructions)
        ],
    }
