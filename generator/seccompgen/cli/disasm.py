"""``seccompgen disasm``: show a filter as assembly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seccompgen.cli import common, options
from seccompgen.cli.reading_options import reading_options
from seccompgen.core.deciding import origin_json
from seccompgen.core.errors import InputError, did_you_mean
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.program import Program
    from seccompgen.core.ring import RingProgram
    from seccompgen.core.tables import Tables
    from seccompgen.render.listing import ListingLine


@click.command()
@options.filter_argument("filter_word")
@options.only_abi()
@click.option(
    "--context",
    type=click.Choice(["seccomp", "io_uring"]),
    default="seccomp",
    show_default=True,
    help="What the instructions of a raw file read: a system call, or an operation of a ring.",
)
@click.option(
    "--operation",
    metavar="OPERATION",
    help="With --context io_uring: the operation that they are for, such as CONNECT.",
)
@reading_options
@options.tables
@options.as_json
def disasm(
    filter_word: str,
    only: Abi | None,
    context: str,
    operation: str | None,
    tables: Tables,
    reading: Reading,
    *,
    as_json: bool,
) -> None:
    """Show FILTER as assembly.

    FILTER is a policy file, a stock policy's name, a generated module, a directory that has one
    filter, or a raw .bpf file. What is shown comes from the instructions, not from a module's
    comments. For a policy, each line also names the part of the file it comes from. 'asm' makes
    the same bytes of it again. Programs for operations of rings come last, as comments.
    """
    from seccompgen.filters.find.loaded_filter import compile_filter  # noqa: PLC0415 - keeps --help fast
    from seccompgen.filters.find.ring_programs import ring_programs_of  # noqa: PLC0415
    from seccompgen.render.disassembly import disassembly  # noqa: PLC0415
    from seccompgen.render.ring_listing import ring_disassembly  # noqa: PLC0415

    path = common.one_filter(filter_word)
    if context == "io_uring":
        _raw_operation(path, only, operation, as_json=as_json)
        return
    if operation:
        raise InputError("--operation needs --context io_uring")
    loaded = compile_filter(path, tables, only, common.build_options(cached=True), reading)
    programs = loaded.listed
    rings = [one for program in programs for one in ring_programs_of(loaded, program.abi)]
    if as_json:
        print_json([*(_as_json(one, tables) for one in programs), *map(_ring_as_json, rings)])
        return
    say(*disassembly(programs, tables).splitlines())
    if rings:
        say(*ring_disassembly(rings, "; "))


def _raw_operation(path: Path, only: Abi | None, name: str | None, *, as_json: bool) -> None:
    """Print a raw program of an operation of a ring."""
    from seccompgen.core.ring import RingOperation  # noqa: PLC0415 - keeps --help fast
    from seccompgen.filters.find.locate import FilterForm, kind_of  # noqa: PLC0415
    from seccompgen.filters.find.ring_programs import raw_ring_program  # noqa: PLC0415
    from seccompgen.kernel.ring_operations import ring_numbers  # noqa: PLC0415
    from seccompgen.render.ring_listing import ring_disassembly  # noqa: PLC0415

    known = ring_numbers().operations
    if kind_of(path) is not FilterForm.RAW:
        raise InputError(
            f"{path}: --context is for raw instructions; other filters say what is what"
        )
    if only is None:
        raise InputError(f"{path}: say with --arch which ABI these instructions are for")
    if name is None or name not in known:
        hint = did_you_mean(name.upper(), known) if name else ", such as CONNECT"
        text = f"unknown operation {name!r}" if name else "name with --operation what they are for"
        raise InputError(f"{text}{hint}")
    program = raw_ring_program(path, RingOperation(name, known[name].nr), only)
    if as_json:
        print_json([_ring_as_json(program)])
    else:
        say(*ring_disassembly([program]))


def _ring_as_json(program: RingProgram) -> dict[str, object]:
    from seccompgen.render.ring_listing import ring_listing  # noqa: PLC0415 - keeps --help fast

    lines = ring_listing(program.operation.name, program.instructions, program.abi)
    about = {"abi": program.abi.name, "operation": program.operation.name}
    return about | {"instructions": _instructions(program, lines)}


def _as_json(program: Program, tables: Tables) -> dict[str, object]:
    from seccompgen.render.listing import listing  # noqa: PLC0415

    lines = listing(program.instructions, program.abi, tables)
    return {
        "abi": program.abi.name,
        "audit_arch": program.abi.audit_arch,
        "instructions": _instructions(program, lines),
    }


def _instructions(
    program: Program | RingProgram, lines: Sequence[ListingLine]
) -> list[dict[str, object]]:
    return [
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
    ]
