"""Filter modules leave their templates as black lays them out, though no black is asked."""

from __future__ import annotations

import ast
import itertools
import json
from typing import TYPE_CHECKING

import black
import pytest
from seccompgen.core.abis import ABIS
from seccompgen.core.settings import FilterFlag
from seccompgen.languages.python import LANGUAGE, render_package, render_single_file
from seccompgen.pipeline.build import build_policy, shipped_tables
from seccompgen.pipeline.reporting import report_only_filters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seccompgen.core.built import Built

TABLES = shipped_tables()
MODE = black.Mode(line_length=100, target_versions={black.mode.TargetVersion.PY39})
ARCHES = (["x86_64"], ["x86_64", "s390x"], [name for name in ABIS if name in TABLES.tables])
RULES = ("[]", "[{action: trap, names: [read]}, {action: log, names: [write]}]")
SETTINGS = (
    "",
    "flags: [new_listener]\n",
    "flags: [tsync, log]\ninstall_on_import: true\nno_new_privs: false\n",
)
DESCRIPTIONS = (
    '"Quoted" from its first character on',
    'Ends in a "quote"',
    "ends in a backslash \\",
    '"""',
    "\\x1B \\N{dash} \\uABCD",
    "a\ttab, a\fform feed, an\x1b[31mescape",
    "  indented  \n\n\n    and more so, with blanks behind   \n",
    " ",
    "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 60,
    *("x" * width for width in (79, 99, 100, 101)),
)


def built(place: Path, text: str) -> Built:
    policy = place / "one.yml"
    policy.write_text(text)
    return build_policy(policy, TABLES)


def sources(one: Built) -> Iterator[str]:
    """Yield each module that a policy can become."""
    yield from (source.decode() for source in LANGUAGE.write(one, TABLES).values())
    yield render_single_file(one, TABLES).decode()


def require_layout(text: str) -> None:
    ast.parse(text, feature_version=(3, 9))
    assert black.format_str(text, mode=MODE) == text


@pytest.mark.few(1, "renders and compiles many modules")
@pytest.mark.parametrize("arches", ARCHES, ids=len)
def test_every_turn_of_the_templates(arches: list[str], tmp_path: Path) -> None:
    usable = [name for name in arches if TABLES.tables[name].has_filters]
    for rules, settings in itertools.product(RULES, SETTINGS):
        default = "user_notif" if "listener" in settings else "errno"
        text = f"arches: [{', '.join(usable)}]\ndefault_action: {default}\n{settings}"
        one = built(tmp_path, f"{text}syscalls: {rules}\n")
        assert bool(one.policy.flags & FilterFlag.NEW_LISTENER) == ("listener" in settings)
        made = list(sources(one))
        if len(usable) == 1 and rules == RULES[1] and "listener" not in settings:
            made += sources(*report_only_filters([one], TABLES))
        # Black needs seconds for a file with the programs of all ABIs, whose turns are these too.
        for source in made if len(usable) < 3 else made[:2]:
            require_layout(source)


@pytest.mark.few(2, "renders and compiles many modules")
@pytest.mark.parametrize("description", DESCRIPTIONS, ids=range(len(DESCRIPTIONS)))
def test_every_description(description: str, tmp_path: Path) -> None:
    rule = "default_action: errno\nsyscalls: [{action: allow, names: [read]}]\n"
    head = f"description: {json.dumps(description)}\narches: [x86_64]\n"
    for source in sources(built(tmp_path, head + rule)):
        require_layout(source)
    for filters in ({}, {"one": description}, {"one": description, "two": "x " * 80}):
        require_layout(render_package(filters, TABLES.tag, tables=bool(filters)).decode())
