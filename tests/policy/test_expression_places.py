"""Mistakes in expressions have their own line and column, however a file writes the text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from seccompgen import Action, Condition, NameWithConditions, Op, Policy, SyscallGroup, validate
from seccompgen.core.errors import InputError
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

TABLES = shipped_tables()
HEAD = "default_action: errno\narches: [x86_64]\nsyscalls:\n"
TOML = 'default_action = "errno"\narches = ["x86_64"]\n[[syscalls]]\naction = "allow"\n'


def places(directory: Path, text: str, name: str = "p.yml") -> list[str]:
    """Return where mistakes are, by line and column, with what stands there."""
    path = directory / name
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_policy(path, TABLES)
    found = []
    for one in caught.value.diagnostics:
        assert one.position
        line = text.split("\n")[one.position.line - 1]
        found.append(f"{one.position.line}: {line[one.position.column - 1 :].split()[0]}")
    return found


WRONG = "fdd == O_CRAET and count < -1"


@pytest.mark.parametrize(
    ("lines", "first"),
    [
        (f"  when: {WRONG}\n", 6),
        (f"  when: '{WRONG}'\n", 6),
        (f'  when:   "{WRONG}"   # a comment\n', 6),
        (f"  when: >\n    {WRONG}\n", 7),
        (f"  when: |-  # a comment\n\n    {WRONG}\n", 8),
        (f"  when:\n    {WRONG}\n", 7),
    ],
)
def test_yaml(tmp_path: Path, lines: str, first: int) -> None:
    text = HEAD + "- action: allow\n  names: [read]\n" + lines
    words = [word.rstrip("'\"") for word in places(tmp_path, text)]
    assert words == [f"{first}: fdd", f"{first}: O_CRAET", f"{first}: -1"]


def test_an_expression_of_several_lines(tmp_path: Path) -> None:
    rule = "- action: allow\n  names: [read]\n  when:"
    parts = "fdd == 1\n    or count == O_CRAET\n      and buf == 2\n"
    for start in (" ", " >\n    ", " |\n    "):
        text = f"{HEAD}{rule}{start}{parts}"
        first = 6 + start.count("\n")
        assert places(tmp_path, text) == [f"{first}: fdd", f"{first + 1}: O_CRAET"]


def test_json_and_toml(tmp_path: Path) -> None:
    json = (
        '{"default_action": "errno", "arches": ["x86_64"], "syscalls": [\n'
        '{"action": "allow", "names": ["read"],\n "when": "fdd == O_CRAET"}]}\n'
    )
    assert places(tmp_path, json, "p.json") == ["3: fdd", '3: O_CRAET"}]}']
    one = f"{TOML}names = ['read']\nwhen = 'fdd == O_CRAET'\n"
    assert places(tmp_path, one, "p.toml") == ["6: fdd", "6: O_CRAET'"]
    several = f'{TOML}names = ["read"]\nwhen = """\nfdd == 1\nor count == O_CRAET"""\n'
    assert places(tmp_path, several, "p.toml") == ["7: fdd", '8: O_CRAET"""']


def test_what_is_escaped_is_told_of_where_it_begins(tmp_path: Path) -> None:
    text = HEAD + '- action: allow\n  names: [read]\n  when: "f\\u0064d == 1"\n'
    assert places(tmp_path, text) == ['6: "f\\u0064d']


def test_values_of_the_long_form(tmp_path: Path) -> None:
    argument = "{argument: fdd, operation: MaskedEqual, mask: ~O_CRAET, value: 'O_RDNLY|3'}"
    text = (
        f"{HEAD}- action: allow\n  names_with_args:\n  - {{name: read, arguments: [{argument}]}}\n"
    )
    assert places(tmp_path, text) == ["6: fdd,", "6: O_CRAET,", "6: O_RDNLY|3'}]}"]


def test_every_fault_of_a_file_at_once(tmp_path: Path) -> None:
    text = (
        HEAD + "- action: allow\n  names: [read]\n  when: fd && 1\n  optional: maybe\n"
        "- action: allow\n  names: [read]\n  when: fd == (1\n"
    )
    assert places(tmp_path, text) == ["6: &&", "7: maybe", "10: (1"]


def test_a_program_gets_the_column(tmp_path: Path) -> None:
    del tmp_path
    wrong = Condition("fd", Op.EQ, "1 | O_CRAET")
    group = SyscallGroup(
        Action.LOG, names_with_args=[NameWithConditions("read", [wrong], when="count == O_CRAET")]
    )
    found = validate(Policy(Action.ALLOW, [group], arches=["x86_64"]))
    where = "policy: syscalls[0].names_with_args[0]"
    text = "unknown constant 'O_CRAET' (did you mean 'O_CREAT'?)"
    assert [str(one) for one in found] == [
        f"{where}.arguments[0].value, column 5: {text}",
        f"{where}.when, column 10: {text}",
    ]
