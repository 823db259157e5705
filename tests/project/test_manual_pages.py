"""The manual pages and completions of the wheel: they say what the commands say now."""

from __future__ import annotations

import re

import click
import pytest
from seccompgen.cli import command

from release import pages as made

PAGES = made.pages()


def test_they_are_as_the_commands_are() -> None:
    there = {
        str(path.relative_to(made.SHARE)): path.read_text()
        for path in made.SHARE.rglob("*")
        if path.is_file()
    }
    assert there == PAGES, "run 'make pages'"


def test_each_command_has_a_page_with_all_its_options() -> None:
    with click.Context(command) as ctx:
        for name in command.list_commands(ctx):
            one = command.get_command(ctx, name)
            assert one is not None
            page = PAGES[f"man/man1/seccompgen-{name}.1"].replace("\\-", "-")
            for option in one.params:
                if isinstance(option, click.Option) and not option.hidden:
                    assert all(f"\\fB{spelling}\\fR" in page for spelling in option.opts)
            assert f"seccompgen-{name}" in PAGES["man/man1/seccompgen.1"].replace("\\-", "-")


@pytest.mark.parametrize("text", [".TH X", "'br", "\\fBbold", "a\\", "it's -x"])
def test_text_is_no_request(text: str) -> None:
    line = made._text(text)
    assert not line.startswith((".", "'"))
    plain = re.sub(r"\\f[BR]|\\&", "", line).replace("\\-", "-").replace("\\(aq", "'")
    assert plain.replace("\\e", "\\") == text
