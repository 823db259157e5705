"""``seccompgen drift``: say which filters newer libraries and a newer kernel tag would break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seccompgen.cli import common, options
from seccompgen.cli.reading_options import based_reading_options
from seccompgen.core.errors import EXIT_NO, InputError, for_each
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables


@click.command()
@options.filters_argument("words", "[FILTER...]")
@click.option("--tag", metavar="TAG", help="The newer Linux release; default: the shipped tables'.")
@click.option(
    "--source",
    metavar="SOURCE",
    help="Sources of that release (with --tag): a checkout, a tarball, a URL of {tag} and {path}.",
)
@options.form(["text", "markdown"], "For a terminal, or for an issue and the summary of a job.")
@options.only_abi("Only this ABI.")
@based_reading_options
@options.tables
@options.as_json
@click.pass_context
def drift(
    ctx: click.Context,
    words: tuple[str, ...],
    tag: str | None,
    source: str | None,
    form: str,
    only: Abi | None,
    tables: Tables,
    reading: Reading,
    from_base: str | None,
    to_base: str | None,
    *,
    as_json: bool,
) -> None:
    """Say which FILTERs, by default the project's policies, time would break.

    Looks at what newer C libraries, Pythons and others call, up to the newest that is known, and
    at the tables of a newer kernel tag: those of --tag, or else the shipped ones, where --tables
    has the older ones that a project is built with. Exits with 1 if anything would break.
    """
    from seccompgen.filters.tell.drifting import drift_of  # noqa: PLC0415 - keeps --help fast
    from seccompgen.lint.upgrade import upgrade_of  # noqa: PLC0415
    from seccompgen.render.drift_report import drift_json, drift_markdown, drift_text  # noqa: PLC0415

    if source and not tag:
        raise InputError("--source needs --tag, the release to read")
    newer = _newer(tag, source, tables)
    upgrade = upgrade_of(from_base, to_base or "newest")
    paths = common.all_filters(words) if words else common.project_policies(reading)
    found = for_each(lambda path: drift_of(path, tables, newer, upgrade, only, reading), paths)
    about = f"{upgrade.label}, Linux {newer.tag}"
    if as_json:
        meant = {"from": from_base, "to": upgrade.to_name, "before": tables.tag, "after": newer.tag}
        print_json(drift_json(found, meant, newer))
    elif form == "markdown":
        say(*drift_markdown(found, about, newer))
    else:
        say(*drift_text(found, about, newer, common.text_width()))
    if any(one.breaks for one in found):
        ctx.exit(EXIT_NO)


def _newer(tag: str | None, source: str | None, tables: Tables) -> Tables:
    """Return the tables of ``tag``, or else the shipped ones."""
    from seccompgen.core.tables import release  # noqa: PLC0415
    from seccompgen.pipeline.tag_tables import resolve_tables  # noqa: PLC0415

    shipped = options.read_tables(None)
    if tag is None:
        return max(tables, shipped, key=lambda one: release(one.tag))
    release(tag)
    known = next((one for one in (tables, shipped) if one.tag == tag), None)
    with common.progress(f"reading Linux {tag}") as report:
        return resolve_tables(tag, source, known, report)
