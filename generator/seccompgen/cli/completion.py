"""``seccompgen completion``: the script by which a shell completes commands."""

from __future__ import annotations

import os
from pathlib import Path

import click

from seccompgen.core.errors import InputError
from seccompgen.io.console import say

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument(
    "shell", type=click.Choice(_SHELLS), required=False, metavar=f"[{'|'.join(_SHELLS)}]"
)
@click.option("--install", is_flag=True, help="Write the script to where the shell loads it from.")
@click.pass_context
def completion(ctx: click.Context, shell: str | None, *, install: bool) -> None:
    """Print the script that has SHELL complete commands, options, ABIs, calls, groups and filters.

    With --install, put it where the shell finds it by itself from its next start on. SHELL is by
    default the one that the variable SHELL names.
    """
    from seccompgen.distribute.shell_scripts import installation, script  # noqa: PLC0415 - heavy

    named = shell or Path(os.environ.get("SHELL", "")).name
    if named not in _SHELLS:
        raise InputError(f"which shell? Name one of {', '.join(_SHELLS)}")
    whole = ctx.find_root().command
    if not install:
        say(*script(named, whole).splitlines())
        return
    plan = installation(named, whole, Path.home())
    wrote = plan.outputs.write()
    for path in wrote:
        say(f"added a line to {path}" if path == plan.settings else f"wrote {path}")
    say(f"start {named} anew to have it" if wrote else "everything is up to date")
