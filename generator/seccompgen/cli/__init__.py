"""The command line: one module a command, each of which only reads, calls and prints."""

from __future__ import annotations

from importlib import import_module

import click

from seccompgen import __version__

_MODULES = {
    "init": "init",
    "tables": "tables",
    "build": "build",
    "convert": "convert",
    "vendor": "vendor",
    "verify": "verify",
    "equiv": "compare",
    "subset": "compare",
    "report": "report",
    "diff": "diff",
    "lint": "lint",
    "intersect": "combine",
    "union": "combine",
    "subtract": "combine",
    "run": "run",
    "disasm": "disasm",
    "asm": "asm",
    "scan": "scan",
    "syscalls": "syscalls",
    "constants": "constants",
    "record": "record",
    "schema": "schema",
}
"""The module of each command. Only the one that is asked for is imported."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*_MODULES, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"seccompgen.cli.{_MODULES[cmd_name]}")
        found = getattr(module, cmd_name)
        return found if isinstance(found, click.Command) else None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="seccompgen")
def command() -> None:
    """Seccomp filters at build time.

    Policies and pinned kernel tables in, finished BPF programs as static modules out. Exit
    codes: 0 done, 1 the answer is no, 2 the input is wrong, 3 something outside failed.
    """
