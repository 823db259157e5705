"""``seccompgen init``: a policy, a test and the settings for a project that has none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from seccompgen.cli import options
from seccompgen.distribute.scaffold import ATTRIBUTES_NAME, DRIVER, KINDS
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from seccompgen.distribute.scaffold import Scaffold

_HOW = {
    "web_worker": "where a worker starts; with gunicorn, in post_worker_init of gunicorn.conf.py",
    "compute_only": "when all that is needed is imported and open, before the input is touched",
}
_ANY_PROGRAM = "where your program starts"


@click.command()
@click.option(
    "--policy",
    type=click.Choice(KINDS),
    default="no_exec",
    show_default=True,
    help="The stock policy to start from.",
)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    help="The package for the filters; default: 'sandbox', in the project's one package.",
)
@options.as_json
def init(policy: str, output: str | None, *, as_json: bool) -> None:
    """Add a policy, a test and the settings to the project in the current directory.

    Nothing that is there is overwritten: files are kept, and pyproject.toml is added to.
    """
    from seccompgen.distribute.scaffold import plan  # noqa: PLC0415
    from seccompgen.io.outputs import exclusive  # noqa: PLC0415 - keeps --help fast

    root = Path.cwd()
    with exclusive(root):
        scaffold = plan(root, policy, output)
        new = scaffold.stanza and not scaffold.pyproject.exists()
        scaffold.write()
    wrote = [*scaffold.files, *([scaffold.pyproject] if new else [])]
    if as_json:
        print_json(
            {
                "wrote": [str(path) for path in wrote],
                "added_to": [str(scaffold.pyproject)] if scaffold.stanza and not new else [],
                "kept": [str(path) for path in scaffold.kept],
                "package": scaffold.package,
            }
        )
        return
    for path in wrote:
        say(f"wrote {path.relative_to(root)}")
    if scaffold.stanza and not new:
        say(f"added [tool.seccompgen] to {scaffold.pyproject.relative_to(root)}")
    for path in scaffold.kept:
        say(f"kept {path.relative_to(root)}, which is there already")
    _print_next(scaffold, root)


def _print_next(scaffold: Scaffold, root: Path) -> None:
    say(
        "",
        "Next:",
        "1. seccompgen build",
        f"   compiles the policy into {scaffold.output.relative_to(root)}; commit both.",
        f"2. python -m pytest {scaffold.test.relative_to(root)}",
        "   shows the filter at work, in a process of its own.",
        f"3. Confine your program, {_HOW.get(scaffold.policy, _ANY_PROGRAM)}:",
        "",
        f"       from {scaffold.package} import {scaffold.policy}",
        f"       {scaffold.policy}.install()",
    )
    if scaffold.attributes:
        say(
            "4. For git diff and git log -p to show what filters answer, in each clone once:",
            "",
            f"       git config diff.{DRIVER}.textconv 'seccompgen diff --textconv'",
        )
    if scaffold.lacks_attributes:
        say(f"   and add to {ATTRIBUTES_NAME}: {scaffold.attributes}")
