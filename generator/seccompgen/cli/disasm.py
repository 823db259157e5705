"""``seccompgen disasm``: show a filter as assembly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seccompgen.cli import common, options
from seccompgen.cli.reading_options import reading_options
from seccompgen.core.deciding import origin_json
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.program import Program
    from seccompgen.core.tables import Tables


@click.command()
@options.filter_argument("filter_word")
@options.only_abi()
@reading_options
@options.tables
@options.as_json
def disasm(
    filter_word: str,
    only: Abi | None,
    tables: Tables,
    reading: Reading,
    *,
    as_json: bool,
) -> None:
    """Show FILTER as assembly.

    FILTER is a policy file, a stock policy's name, a generated module, a directory that has one
    filter, or a raw .bpf file. What is shown comes from the instructions, not from a module's
    comments. For a policy, each line also names the part of the file it comes from. 'asm' makes
    the same bytes of it again.
    """
    from seccompgen.api.programs import programs_of  # noqa: PLC0415 - keeps --help fast
    from seccompgen.render.disassembly import disassembly  # noqa: PLC0415

    programs = programs_of(
        common.one_filter(filter_word), tables, only, common.build_options(cached=True), reading
    )
    if as_json:
        print_json([_as_json(one, tables) for one in programs])
        return
    say(*disassembly(programs, tables).splitlines())


def _as_json(program: Program, tables: Tables) -> dict[str, object]:
    from seccompgen.render.listing import listing  # noqa: PLC0415

    lines = listing(program.instructions, program.abi, tables)
    return {
        "abi": program.abi.name,
        "audit_arch": program.abi.audit_arch,
        "instructions": [
            {
                "code": instruction.code,
                "jt": instruction.jt,
                "jf": instruction.jf,
                "k": instruction.k,
                "label": lines[i].label,
                "text": lines[i].text,
                "origins": list(map(origin_json, program.origins[i] if program.origins else ())),
            }
            for i, instruction in enumerate(program.instructions)
        ],
    }
