"""Output for a person at a terminal: colours, folded rows, examples."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest
from command import seccompgen
from navigation import site_pages
from seccompgen.cli import command
from seccompgen.cli.commands import COMMANDS, SECTIONS
from terminal import on_terminal

if TYPE_CHECKING:
    from pathlib import Path

COLOUR = re.compile(r"\x1b\[[0-9]+m")
WRONG = "default_action: allow\nsyscalls:\n- {action: errno, names: [opnat]}\n"
DIFFERENT = ("equiv", "no_exec", "no_network", "--arch", "x86_64")


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """Return a directory with a policy that has an error."""
    (tmp_path / "p.yml").write_text(WRONG)
    return tmp_path


def test_a_terminal_shows_colours_and_otherwise_the_same(wrong: Path) -> None:
    shown = on_terminal("build", "p.yml", "-o", "o", cwd=wrong)
    assert "\x1b[1mp.yml:3:27\x1b[0m: " in shown
    assert COLOUR.sub("", shown) == seccompgen("build", "p.yml", "-o", "o", cwd=wrong).err


@pytest.mark.long("runs commands on many filters")
def test_answers_have_their_colours() -> None:
    shown = on_terminal(*DIFFERENT)
    assert "\x1b[31mrefuted\x1b[0m" in shown
    assert "no_exec.yml says \x1b[32mallow\x1b[0m" in shown
    assert "no_network.yml says \x1b[33merrno(EACCES)\x1b[0m" in shown
    assert "\x1b[32mproved\x1b[0m" in on_terminal("equiv", "no_exec", "no_exec")


def test_findings_have_colours_and_a_caret(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text(
        "arches: [x86_64]\ndefault_action: errno\nsyscalls:\n"
        "- {action: allow, names: [read, mmap, socket], when: arg0 == 2 and arg2 == 7}\n"
    )
    shown = on_terminal("lint", "p.yml", cwd=tmp_path)
    assert "\x1b[31merror\x1b[0m" in shown or "\x1b[33mwarning\x1b[0m" in shown
    assert re.search(r" +\x1b\[32m\^~*\x1b\[0m\n", shown)
    assert COLOUR.sub("", shown) == seccompgen("lint", "p.yml", cwd=tmp_path).out


@pytest.mark.few(1, "runs commands on many filters")
@pytest.mark.parametrize(
    ("args", "env"),
    [
        ((), {"NO_COLOR": "1"}),
        ((), {"TERM": "dumb"}),
        (("--color", "never"), {}),
    ],
)
def test_who_wants_no_colours_gets_none(args: tuple[str, ...], env: dict[str, str]) -> None:
    assert "\x1b" not in on_terminal(*DIFFERENT, *args, env=env)


@pytest.mark.parametrize(
    "args", [("--color", "always", *DIFFERENT), (*DIFFERENT, "--color", "always")]
)
def test_a_pipe_gets_colours_only_if_told_to(args: tuple[str, ...]) -> None:
    assert "\x1b[31mrefuted\x1b[0m" in seccompgen(*args, env={"NO_COLOR": "1"}).out
    assert "\x1b" not in seccompgen(*DIFFERENT).out


def test_an_empty_no_color_asks_for_nothing() -> None:
    assert COLOUR.search(on_terminal(*DIFFERENT, env={"NO_COLOR": ""}))


def test_rows_fit_the_terminal_and_stay_whole_in_a_pipe() -> None:
    shown = on_terminal("syscalls", "openat2", columns=60).splitlines()
    assert max(map(len, shown)) <= 60
    piped = seccompgen("syscalls", "openat2").out.splitlines()
    assert max(map(len, piped)) > 120
    assert " ".join(" ".join(shown).split()) == " ".join(" ".join(piped).split())


def test_a_folded_row_continues_below_its_last_column() -> None:
    shown = on_terminal("syscalls", "@", columns=50).splitlines()
    start = next(i for i, line in enumerate(shown) if line.startswith("@aio "))
    assert shown[start][18:].strip()
    assert shown[start + 1][:18].isspace()


# --- help ----------------------------------------------------------------------------------------


def test_every_command_has_examples_and_a_page() -> None:
    assert isinstance(command, click.Group)
    assert sum(map(len, SECTIONS.values())) == len(COMMANDS)
    for more in COMMANDS.values():
        assert more.page.removeprefix("docs/") in site_pages()
        assert more.examples


def test_help_lists_all_under_headings_with_the_usual_ones_first() -> None:
    text = seccompgen("--help").out
    shown = re.findall(r"^(?:([A-Z][a-z ]+):|  ([a-z]+)  .*)$", text, re.MULTILINE)
    names: dict[str, list[str]] = {}
    for heading, name in shown:
        names.setdefault(heading, []) if heading else names[[*names][-1]].append(name)
    assert names.pop("Options") == []
    assert names == {heading: [*commands] for heading, commands in SECTIONS.items()}
    assert next(iter(names)) == "Compile"
    assert "...\n" not in text.partition("\n")[2], "each says its whole first sentence"
    assert text.endswith("\n  man seccompgen\n")


@pytest.mark.few(24, "runs commands on many filters")
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_ends_with_examples_and_the_page(name: str) -> None:
    text = seccompgen(name, "--help").out
    end = text[text.index("\n  Examples:\n") :]
    for example in COMMANDS[name].examples:
        assert example.split()[0] == name
        assert f"\n    seccompgen {example}\n" in end
    assert end.endswith(f"\n  man seccompgen-{name}\n")


@pytest.mark.parametrize("example", [one for more in COMMANDS.values() for one in more.examples])
def test_an_example_is_what_its_command_takes(example: str) -> None:
    name, *args = shlex.split(example.partition(" | ")[0])
    assert isinstance(command, click.Group)
    found = command.get_command(click.Context(command), name)
    assert found is not None
    found.make_context(name, list(args))  # raises a UsageError where it is not


BAR = """
from seccompgen.cli import common
common._QUIET_SECONDS = 0
with common.progress("\\x1bfetching") as report:
    for done in (0, 1, 1, 3):
        if report:
            report(done, 3)
"""


def test_a_bar_is_drawn_in_one_line_and_taken_away() -> None:
    lines = on_terminal("-c", BAR, program=()).split("\r\x1b[K")
    assert lines == [
        "",
        f"\\x1bfetching [{'.' * 30}] 0/3",
        f"\\x1bfetching [{'#' * 10}{'.' * 20}] 1/3",
        f"\\x1bfetching [{'#' * 30}] 3/3",
        "",
    ]
    narrow = on_terminal("-c", BAR, program=(), columns=20).split("\r\x1b[K")
    assert narrow[1] == "\\x1bfetching [.........."[:19]
    assert on_terminal("-c", BAR, program=(), env={"TERM": "dumb"}) == ""
