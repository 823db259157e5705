"""``seccompgen explain``: what a filter answers to a call, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seccompgen.cli.common import json_option, means, one_filter, read_tables, tables_option
from seccompgen.cli.reading import reading_options
from seccompgen.core.abis import require_abi
from seccompgen.core.errors import InputError
from seccompgen.io.console import print_json, say

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.foreign import Reading

_EXAMPLES = """\b
Examples:
  seccompgen explain worker.yml openat AT_FDCWD 0 'O_RDONLY|O_CLOEXEC'
  seccompgen explain worker.yml socket family=AF_INET --arch s390x
  seccompgen explain filter.bpf 257 --arch x86_64
"""


@click.command(context_settings={"ignore_unknown_options": True}, epilog=_EXAMPLES)
@click.argument("filter_word", metavar="FILTER", type=click.Path())
@click.argument("words", nargs=-1, metavar="[CALL [ARG]...]", type=click.UNPROCESSED)
@click.option(
    "--arch",
    "arches",
    multiple=True,
    metavar="ABI",
    help="Only calls through this ABI; repeatable.",
)
@reading_options
@tables_option
@json_option
def explain(
    filter_word: str,
    words: tuple[str, ...],
    arches: tuple[str, ...],
    tables_directory: Path | None,
    reading: Reading,
    *,
    as_json: bool,
) -> None:
    """Say what FILTER answers to a call: by which rule, and on which way through the program.

    CALL is a name or a number. An ARG is a number in any base, a constant, or several joined by |;
    it stands for the argument at its place, or for the one that it names, as in flags=O_CREAT. For
    arguments that are left out, all answers are listed that there can be. ABIs that answer alike
    are told once.
    """
    from seccompgen.filters.explained import Explainer  # noqa: PLC0415 - keeps --help fast
    from seccompgen.render.explanation import (  # noqa: PLC0415
        explanation_json,
        explanation_text,
    )

    _refuse_options(words)
    tables = read_tables(tables_directory)
    asked = [require_abi(one) for one in arches]
    explainer = Explainer(one_filter(filter_word), tables, asked, reading, means(cached=True))
    told = explainer.explain(words, every_run=as_json)
    if as_json:
        print_json(explanation_json(told))
    else:
        say(*explanation_text(told))


def _refuse_options(words: tuple[str, ...]) -> None:
    """Raise InputError for what looks like an option: only numbers begin with a minus sign."""
    wrong = [word for word in words if word[:1] == "-" and not word[1:2].isdigit() and word != "-"]
    wrong = [word for word in wrong if word.startswith("--") or not word[1:2].isupper()]
    if wrong:
        raise InputError(*(f"no such option: {word}" for word in wrong))
