"""The command line: one module a command, each of which only reads, calls and prints."""

from __future__ import annotations

import os
from importlib import import_module

import click

from seccompgen import __version__
from seccompgen.cli.examples import MORE, PAGES
from seccompgen.io.console import Colours, use_colours

_MODULES = {
    "init": "init",
    "tables": "tables",
    "build": "build",
    "convert": "convert",
    "vendor": "vendor",
    "verify": "verify",
    "explain": "explain",
    "equiv": "compare",
    "subset": "compare",
    "report": "report",
    "diff": "diff",
    "lint": "lint",
    "drift": "drift",
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
    "completion": "completion",
}
"""The module of each command. Only the one that is asked for is imported."""


def _choose_colours(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    del ctx, param
    if value:
        use_colours(Colours(value))


_color_option = click.Option(
    ["--color"],
    type=click.Choice([one.value for one in Colours]),
    expose_value=False,
    is_eager=True,
    callback=_choose_colours,
    help="Show colours; default: auto, on a terminal without NO_COLOR.",
)


def _equipped(command: click.Command, name: str) -> click.Command:
    """Give a command what all have: the option --color, and the end of its help."""
    if _color_option not in command.params:
        command.params.append(_color_option)
        command.epilog = MORE[name].text()
    return command


if "_SECCOMPGEN_COMPLETE" in os.environ:  # a shell asks by a script of that module
    import_module("seccompgen.distribute.completion")


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*_MODULES, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"seccompgen.cli.{_MODULES[cmd_name]}")
        found = getattr(module, cmd_name)
        return _equipped(found, cmd_name) if isinstance(found, click.Command) else None


@click.group(
    cls=_Commands,
    params=[_color_option],
    epilog=f"{PAGES}/README.md",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="seccompgen")
def command() -> None:
    """Seccomp filters at build time.

    Policies and pinned kernel tables in, finished BPF programs as static modules out. Exit
    codes: 0 done, 1 the answer is no, 2 the input is wrong, 3 something outside failed.
    """
