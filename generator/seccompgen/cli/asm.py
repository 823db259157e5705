"""``seccompgen asm``: assembly into raw programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from seccompgen.cli import common, options
from seccompgen.io.console import print_json

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.tables import Tables


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@options.output("DIR", "Where the programs go; default: the current directory.", Path())
@options.only_abi("Only this ABI; needed if FILE does not name one.")
@options.check
@options.tables
@options.as_json
def asm(
    file: Path,
    output: Path,
    only: Abi | None,
    tables: Tables,
    *,
    check: bool,
    as_json: bool,
) -> None:
    """Assemble FILE, which is as 'disasm' shows a filter, into a raw .bpf file for each ABI.

    One instruction per line, which may jump forwards, over any distance, to a line "LABEL:". A line
    "abi NAME" begins the instructions for an ABI. A semicolon starts a comment. A program that
    the kernel would refuse is not written.
    """
    from seccompgen.filters.find.assembly import assemble  # noqa: PLC0415 - keeps --help fast
    from seccompgen.io.outputs import Outputs, exclusive  # noqa: PLC0415
    from seccompgen.io.reading import MAX_FILTER, decode_text, read_input  # noqa: PLC0415
    from seccompgen.pipeline.files import require_writable  # noqa: PLC0415

    text = decode_text(read_input(file, MAX_FILTER, pipes=True), str(file))
    programs = assemble(text, str(file), tables, only)
    require_writable(output)
    outputs = Outputs({output / f"{file.stem}.{p.abi.name}.bpf": p.to_bytes() for p in programs})
    written: list[Path] = []
    if check:
        common.check_outputs(outputs, [], tables)
    else:
        with exclusive(output.absolute().parent):
            written = outputs.write()
    if as_json:
        print_json(
            {
                "programs": {p.abi.name: len(p.instructions) for p in programs},
                "files": [str(path) for path in outputs.files],
                "written": [str(path) for path in written],
            }
        )
    else:
        common.print_written(written)
