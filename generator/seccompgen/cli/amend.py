"""``seccompgen amend``: refuse or allow calls in a policy file, in its own text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seccompgen.cli import options
from seccompgen.cli.common import print_notes, print_warnings, print_written
from seccompgen.cli.reading_options import reading_options
from seccompgen.core.errors import EXIT_NO, InputError, did_you_mean, for_each
from seccompgen.formats.losses import AMENDED
from seccompgen.io.console import say, say_source

if TYPE_CHECKING:
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables


@click.command()
@options.filter_argument("word", "POLICY")
@click.option("--refuse", multiple=True, metavar="RULE", help="Refuse these calls; repeatable.")
@click.option("--allow", multiple=True, metavar="RULE", help="Allow these calls; repeatable.")
@click.option(
    "--shield",
    "shields",
    multiple=True,
    metavar="CVE|NAME",
    help="Refuse the calls that reach a known hole (docs/shields.md); repeatable.",
)
@click.option(
    "--accept",
    "losses",
    multiple=True,
    type=click.Choice(list(AMENDED)),
    help="Accept what else changes: unnamed_values refuses values above all that have a name, such "
    "as families of sockets, which saves rules; other_errno gives refused calls another errno; "
    "may be repeated.",
)
@options.check
@reading_options
@options.tables
@click.pass_context
def amend(
    ctx: click.Context,
    word: str,
    refuse: tuple[str, ...],
    allow: tuple[str, ...],
    shields: tuple[str, ...],
    losses: tuple[str, ...],
    reading: Reading,
    tables: Tables,
    *,
    check: bool,
) -> None:
    """Refuse or allow some calls in POLICY, in its own text and format.

    A RULE has names of calls and, behind "when", a condition as in our own policies:
    'socket when family == AF_ALG', 'add_key keyctl'. As few lines are changed as possible; all
    others stay as they are. It is proved that on every ABI, and for every combination of
    capabilities that the file distinguishes, these calls changed and no others. The difference is
    printed first, with what the format cannot express, and other ways to make the calls.
    """
    from seccompgen.filters.combine.amend import amend as amended  # noqa: PLC0415 - keeps --help fast
    from seccompgen.formats.amending import ChangedRule  # noqa: PLC0415 - as above
    from seccompgen.io.outputs import Outputs  # noqa: PLC0415 - as above
    from seccompgen.render.findings import finding_diagnostic  # noqa: PLC0415 - as above

    refused = (*refuse, *(rule for name in shields for rule in _shield(name)))
    if bool(refused) == bool(allow):
        raise InputError("say which calls change: with --refuse and --shield, or with --allow")
    rules = for_each(ChangedRule.parse, dict.fromkeys(refused or allow))
    found = amended(word, rules, tables, reading, allows=bool(allow), accepts=frozenset(losses))
    for line in found.diff:
        say_source(line)
    print_notes(found.notes)
    print_warnings(finding_diagnostic(one) for one in found.findings)
    if not found.diff:
        say(f"{found.path}: answers these calls so already")
        return
    ways = f", read in {found.readings} ways" if found.readings > 1 else ""
    abis = f"{len(found.abis)} ABIs" if len(found.abis) > 1 else found.abis[0]
    say(f"{found.path}: proved for {abis}{ways}: these calls changed, and no others")
    if check:
        ctx.exit(EXIT_NO)
    # A link stays one, and a file that others may not read stays so.
    target = found.path.resolve()
    mode = target.stat().st_mode & 0o7777
    print_written(Outputs({target: found.after.encode()}).write())
    target.chmod(mode)


def _shield(name: str) -> tuple[str, ...]:
    """Return the rules of a shield. Raises InputError if there is none of that name."""
    from seccompgen.kernel.shields import find_shield, shield_names  # noqa: PLC0415 - as above

    found = find_shield(name)
    if found is None:
        hint = did_you_mean(name, shield_names()) or ": docs/shields.md lists them"
        raise InputError(f"--shield: no shield is called {name!r}{hint}")
    return found.refuse
