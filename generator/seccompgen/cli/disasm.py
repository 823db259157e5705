"""``seccompgen disasm``: show a filter as assembly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seccompgen.cli.common import (
    json_option,
    means,
    one_filter,
    read_tables,
    require_abi,
    tables_option,
)
from seccompgen.core.abis import ABIS
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.tables import Tables
    from seccompgen.filters.load import LoadedFilter


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
    from seccompgen.filters.load import compile_filter  # noqa: PLC0415 - keeps --help fast

    tables = read_tables(tables_directory)
    only = require_abi(arch) if arch else None
    loaded = compile_filter(one_filter(filter_word), tables, only, means(cached=True))
    if as_json:
        print_json([_as_json(loaded, name, tables) for name in loaded.programs])
        return
    for i, name in enumerate(loaded.programs):
        if i:
            say()
        _show(loaded, name, tables)


def _show(loaded: LoadedFilter, name: str, tables: Tables) -> None:
    from seccompgen.render import listing  # noqa: PLC0415

    instructions, origins_of = loaded.programs[name].instructions, loaded.origins.get(name)
    if len(loaded.programs) > 1:
        say(f"# {name}: {len(instructions)} instructions")
    for i, line in enumerate(listing(instructions, ABIS[name], tables)):
        if line.label:
            say(f"{line.label}:")
        origins = origins_of[i] if origins_of else ()
        first = f"{origins[0].label}, {origins[0].position}" if origins else ""
        more = f" and {len(origins) - 1} more" if len(origins) > 1 else ""
        say(f"{i:5}  {line.text:52} {first}{more}".rstrip())


def _as_json(loaded: LoadedFilter, name: str, tables: Tables) -> dict[str, object]:
    from seccompgen.render import listing  # noqa: PLC0415

    instructions, origins_of = loaded.programs[name].instructions, loaded.origins.get(name)
    lines = listing(instructions, ABIS[name], tables)
    return {
        "abi": name,
        "audit_arch": ABIS[name].audit_arch,
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
                    for origin in (origins_of[i] if origins_of else ())
                ],
            }
            for i, instruction in enumerate(instructions)
        ],
    }
