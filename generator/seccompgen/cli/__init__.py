"""The command line: one module for each command, which only reads, calls and prints."""

from __future__ import annotations

import os
from importlib import import_module

import click

from seccompgen import __version__
from seccompgen.cli.commands import COMMANDS, SECTIONS, epilog
from seccompgen.core.published import documentation
from seccompgen.io.console import Colours, say, use_colours

_WORDS = "seccompgen.words"
"""The key of the typed words in the context's data."""


def _choose_colours(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    del ctx, param
    if value:
        use_colours(Colours(value))


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    del param
    if not value or ctx.resilient_parsing:
        return
    if "--verbose" in ctx.meta[_WORDS]:
        from seccompgen.distribute.versions import versions  # noqa: PLC0415 - reads metadata

        known = {"seccompgen": __version__, **versions()}
        say(*(f"{name}: {version}" for name, version in known.items()))
    else:
        say(f"seccompgen, version {__version__}")
    ctx.exit()


def _need_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    del param
    if value and not ctx.resilient_parsing:
        raise click.UsageError("--verbose says more of --version: seccompgen --version --verbose")


_color_option = click.Option(
    ["--color"],
    type=click.Choice([one.value for one in Colours]),
    expose_value=False,
    is_eager=True,
    callback=_choose_colours,
    help="Show colours; default: auto, on a terminal without NO_COLOR.",
)


def _equipped(command: click.Command, name: str) -> click.Command:
    """Add the option --color, and the end of the help, to a command."""
    if _color_option not in command.params:
        command.params.append(_color_option)
        command.epilog = epilog(name)
    return command


if "_SECCOMPGEN_COMPLETE" in os.environ:  # a completion script of that module is running
    import_module("seccompgen.distribute.shell_scripts")


def _meant(word: str, commands: list[str]) -> str:
    """Return a hint on a word that is no command."""
    from seccompgen.core.errors import did_you_mean  # noqa: PLC0415 - keeps --help fast

    if os.access(word, os.F_OK):
        return f": write the command before the file, as in seccompgen lint {word}"
    return did_you_mean(_OTHER_WORDS.get(word, word), commands) or "."


_OTHER_WORDS = {"compile": "build", "check": "lint", "prove": "verify", "exec": "run"}
"""Words that others use for commands of ours."""


class _Commands(click.Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # --version acts as soon as it is parsed, before later words are.
        ctx.meta[_WORDS] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        known = ctx.resilient_parsing or self.get_command(ctx, word)  # the first: for completion
        if not known and word[:1].isalnum():
            ctx.fail(f"No such command {word!r}{_meant(word, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of the command that is asked for, and no other."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"seccompgen.cli.{COMMANDS[cmd_name].module}")
        found = getattr(module, cmd_name)
        return _equipped(found, cmd_name) if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings, each with its first sentence."""
        width = max(map(len, COMMANDS))
        for heading, names in SECTIONS.items():
            found = {name: self.get_command(ctx, name) for name in names}
            with formatter.section(heading):
                formatter.write_dl(
                    [
                        (name.ljust(width), one.get_short_help_str(limit=200))
                        for name, one in found.items()
                        if one
                    ]
                )


@click.group(
    cls=_Commands,
    params=[_color_option],
    epilog=documentation("docs/tour.md") or "man seccompgen",
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
)
@click.pass_context
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit; with --verbose, also those of the tables and dependencies.",
)
@click.option("--verbose", is_flag=True, hidden=True, expose_value=False, callback=_need_version)
def command(ctx: click.Context) -> None:
    """Seccomp filters at build time.

    Policies and pinned kernel tables in, finished BPF programs as static modules out. Exit
    codes: 0 done, 1 the answer is no, 2 the input is wrong, 3 something outside failed.
    """
    if ctx.invoked_subcommand is None:  # click's own answer differs between its releases
        say(*ctx.get_help().splitlines(), err=True)
        ctx.exit(2)
