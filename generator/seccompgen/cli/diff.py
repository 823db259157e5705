"""``seccompgen diff``: two filters, or those of two revisions, compared by what they answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from seccompgen.cli import options
from seccompgen.cli.common import all_filters, one_filter, text_width
from seccompgen.cli.reading_options import readings_options
from seccompgen.core.errors import EXIT_NO, InputError, UndecidedError
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.cli.reading_options import Readings
    from seccompgen.core.abis import Abi
    from seccompgen.core.filter_changes import FilterChange, FilterDiff, TablesDiff
    from seccompgen.core.foreign import Reading
    from seccompgen.core.tables import Tables


@click.command()
@options.filters_argument("words", "[FILTER FILTER | PATH...]")
@click.option(
    "--git",
    "revision",
    metavar="REV",
    help="The filters at PATHs, by default the project's, as they were in REV; or REV1..REV2.",
)
@click.option(
    "--tables-before",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Each FILTER, by default the project's policies, with the tables in DIR and with today's.",
)
@options.form(["text", "markdown"], "For a terminal, or for a comment on a pull request.")
@click.option(
    "--textconv",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="For git's textconv: print the answers of the filter in FILE. See docs/diff.md.",
)
@options.only_abi()
@readings_options
@options.tables
@options.as_json
@click.pass_context
def diff(
    ctx: click.Context,
    words: tuple[str, ...],
    revision: str | None,
    tables_before: Path | None,
    form: str,
    textconv: Path | None,
    only: Abi | None,
    tables: Tables,
    readings: Readings,
    *,
    as_json: bool,
) -> None:
    """Show how two FILTERs differ by what they answer, not by their text.

    Lists every call whose answer changed, with its condition: what is newly permitted first, then
    what is newly refused, then other changes; each with the rules before and after, and a call to
    try. Exits with 1 if anything differs. A FILTER is a policy, a stock policy's name, a generated
    module or a raw .bpf file.
    """
    if textconv:
        from seccompgen.filters.compare.textconv import textconv as converted  # noqa: PLC0415

        say(*converted(textconv, tables))
        return
    form = "json" if as_json else form
    if revision is not None:
        found = _between_revisions(revision, words, tables, only, readings.for_all())
        _print_trees(found, form, tables)
        if any(one.differs for one in found):
            ctx.exit(EXIT_NO)
        return
    if tables_before:
        old = options.read_tables(tables_before)
        under = _under_tables(words, old, tables, only, readings.for_all())
        _print_tables(under, form, tables)
        if any(one.diff.differs for one in under):
            ctx.exit(EXIT_NO)
        return
    if len(words) != 2:
        raise InputError(f"name two FILTERs, not {len(words)}; or a revision, as --git main")
    one = _of_two(words[0], words[1], tables, only, readings.of(2))
    _print_two(one, form, tables)
    if one.differs:
        ctx.exit(EXIT_NO)
    if one.undecided:
        raise UndecidedError(*(f"{lack.abi}: {lack.reason}" for lack in one.unlisted))


def _of_two(
    before: str, after: str, tables: Tables, only: Abi | None, readings: Sequence[Reading]
) -> FilterDiff:
    from seccompgen.filters.compare.meaning_diff import diff_filters  # noqa: PLC0415 - keeps --help fast
    from seccompgen.filters.find.loaded_filter import load_each  # noqa: PLC0415

    paths = one_filter(before), one_filter(after)
    left, right = load_each(zip(paths, (only, only), readings, strict=True), tables)
    return diff_filters(left, right, tables)


def _between_revisions(
    text: str, words: Sequence[str], tables: Tables, only: Abi | None, reading: Reading
) -> list[FilterChange]:
    from contextlib import ExitStack  # noqa: PLC0415 - keeps --help fast

    from seccompgen.filters.compare.tree_diff import Trees, diff_trees, matters, paths_of  # noqa: PLC0415
    from seccompgen.io.git_files import FileTree, files_of, repository, revisions  # noqa: PLC0415

    here = Path.cwd()
    top = repository(here)
    paths = paths_of(words, here, top)
    before, after = revisions(text, top)
    with ExitStack() as stack:
        trees = [
            stack.enter_context(files_of(one, top, lambda path: matters(path, paths)))
            if one
            else FileTree(top)
            for one in (before, after)
        ]
        return diff_trees(Trees(trees[0], trees[1], paths, here, reading, only), tables)


def _under_tables(
    words: Sequence[str], before: Tables, after: Tables, only: Abi | None, reading: Reading
) -> list[TablesDiff]:
    from seccompgen.filters.compare.tables_diff import diff_tables  # noqa: PLC0415 - keeps --help fast
    from seccompgen.pipeline.project import find_project  # noqa: PLC0415

    project = None if words else find_project(Path.cwd(), reading.outside)
    paths = project.policy_files() if project else all_filters(words)
    if not paths:
        raise InputError("name FILTERs to look at with these tables")
    return [diff_tables(path, before, after, only, reading) for path in paths]


def _print_tables(found: Sequence[TablesDiff], form: str, tables: Tables) -> None:
    from seccompgen.render.diff_markdown import diff_markdown  # noqa: PLC0415
    from seccompgen.render.filter_diff import tables_json, tables_text  # noqa: PLC0415

    if form == "json":
        print_json(tables_json(found))
        return
    for n, one in enumerate(found):
        if form == "markdown":
            say(*diff_markdown(one.diff, tables))
        else:
            say(*(["", ""] if n else []), *tables_text(one, tables, text_width()))


def _print_two(one: FilterDiff, form: str, tables: Tables) -> None:
    from seccompgen.render.diff_markdown import diff_markdown  # noqa: PLC0415
    from seccompgen.render.filter_diff import diff_json, diff_text  # noqa: PLC0415

    if form == "json":
        print_json(diff_json(one))
    elif form == "markdown":
        say(*diff_markdown(one, tables))
    else:
        say(*diff_text(one, tables, text_width()))


def _print_trees(found: Sequence[FilterChange], form: str, tables: Tables) -> None:
    from seccompgen.render.diff_markdown import trees_markdown  # noqa: PLC0415
    from seccompgen.render.filter_diff import trees_json, trees_text  # noqa: PLC0415

    if form == "json":
        print_json(trees_json(found))
    elif form == "markdown":
        say(*trees_markdown(found, tables))
    else:
        say(*trees_text(found, tables, text_width()))
