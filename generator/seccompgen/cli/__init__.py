"""The command line: one module a command, each of which only reads, calls and prints."""

from __future__ import annotations

import click

from seccompgen import __version__
from seccompgen.cli.build import build
from seccompgen.cli.combine import intersect, subtract, union
from seccompgen.cli.disasm import disasm
from seccompgen.cli.init import init
from seccompgen.cli.record import record
from seccompgen.cli.run import run
from seccompgen.cli.scan import scan
from seccompgen.cli.syscalls import syscalls
from seccompgen.cli.tables import tables
from seccompgen.cli.vendor import vendor
from seccompgen.cli.verify import equiv, verify


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="seccompgen")
def command() -> None:
    """Seccomp filters at build time.

    Policies and pinned kernel tables in, finished BPF programs as static modules out. Exit
    codes: 0 done, 1 the answer is no, 2 the input is wrong, 3 something outside failed.
    """


for _one in (
    init,
    tables,
    build,
    vendor,
    verify,
    equiv,
    intersect,
    union,
    subtract,
    run,
    disasm,
    scan,
    syscalls,
    record,
):
    command.add_command(_one)
