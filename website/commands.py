"""The reference of the command line: a page for each command, from what its --help knows."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import click
from seccompgen.cli import command as program
from seccompgen.cli.commands import COMMANDS, SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_INDEX = """\
# Command line

Made from the commands themselves; `seccompgen COMMAND --help` says the same.

{summary}

{sections}

## Options of all commands

{options}

## Exit codes

| code | |
|---|---|
| 0 | done |
| 1 | the answer is no: refuted, stale, differs, not found |
| 2 | the input is wrong |
| 3 | something outside failed, or it cannot be decided |
"""


def command_names() -> list[str]:
    """Return the names of all commands, the usual ones first."""
    return list(COMMANDS)


def command_pages() -> dict[str, str]:
    """Return the page of each command, and an index, by their names in the site."""
    context = click.Context(program, info_name="seccompgen")
    found = {name: program.get_command(context, name) for name in command_names()}
    commands = {name: one for name, one in found.items() if one is not None}
    pages = {f"commands/{name}.md": _page(context, name, one) for name, one in commands.items()}
    pages["commands/index.md"] = _INDEX.format(
        summary=_text(program.help or ""),
        sections="\n\n".join(_section(title, commands) for title in SECTIONS),
        options="\n".join(_options(context, program)),
    )
    return pages


def _section(title: str, commands: Mapping[str, click.Command]) -> str:
    """Return a heading of --help, with the first sentence of each command below it."""
    rows = [f"| [`{name}`]({name}.md) | {_sentence(commands[name])} |" for name in SECTIONS[title]]
    return "\n".join([f"## {title}", "", "| command | |", "|---|---|", *rows])


def _page(parent: click.Context, name: str, found: click.Command) -> str:
    context = click.Context(found, info_name=name, parent=parent)
    usage = " ".join(["seccompgen", name, *found.collect_usage_pieces(context)])
    more = COMMANDS[name]
    examples = "\n".join(f"$ seccompgen {one}" for one in more.examples)
    page = f"../../{more.page}" if "/" not in more.page else more.page.replace("docs/", "../")
    return "\n".join(
        [
            f"# seccompgen {name}",
            "",
            f"```text\n{usage}\n```",
            "",
            _text(found.help or ""),
            "",
            "## Options",
            "",
            *_options(context, found),
            "",
            "## Examples",
            "",
            f"```console\n{examples}\n```",
            "",
            f"More: [{more.page.removeprefix('docs/')}]({page}).",
            "",
        ]
    )


def _sentence(found: click.Command) -> str:
    """Return the first sentence of a command's help, whole."""
    return _text(found.help or "").split("\n\n")[0].split(". ")[0].rstrip(".") + "."


def _text(text: str) -> str:
    """Return help as Markdown: click's marks of kept lines become code."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", _plain(text)):
        if paragraph.startswith("\b\n"):
            parts.append(f"```text\n{paragraph.removeprefix(chr(8) + chr(10))}\n```")
        else:
            parts.append(_marked(" ".join(paragraph.split())))
    return "\n\n".join(parts)


def _plain(text: str) -> str:
    first, _, rest = text.strip().partition("\n")
    indents = [len(line) - len(line.lstrip()) for line in rest.splitlines() if line.strip()]
    cut = min(indents, default=0)
    return "\n".join([first, *(line[cut:] for line in rest.splitlines())])


def _marked(text: str) -> str:
    """Escape what Markdown would take for its own, and name pages by links."""
    text = re.sub(r"([<>*_\[\]|])", r"\\\1", text)
    return re.sub(r"docs/([\w-]+)\.md", r"[\1](../\1.md)", text)


def _options(context: click.Context, found: click.Command) -> Iterator[str]:
    yield "| option | meaning |"
    yield "|---|---|"
    for parameter in found.get_params(context):
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context)):
            names, said = record
            names = html.escape(names).replace("|", "<wbr>&#124;")
            yield f"| <code>{names}</code> | {_marked(' '.join(said.split()))} |"
