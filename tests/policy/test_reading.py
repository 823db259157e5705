"""YAML is read as a reader of YAML 1.2 reads it, with the same positions; JSON is a part of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from command import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from seccompgen.core.errors import InputError
from seccompgen.core.problems import Problem
from seccompgen.policy.document import read_document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS = st.text(
    st.sampled_from("aZ09 _-#:,&*!|>%@`'\"\\\n\t\b\f\r[]{}?.~<=$^/é\U0001f600"), max_size=12
)
NUMBERS = st.sampled_from([0, -1, 7, 2**63, 10**29]) | st.integers(-(10**20), 10**20)
VALUES = st.recursive(
    TEXTS | NUMBERS | st.booleans() | st.none(),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(TEXTS, parts, max_size=4),
    max_leaves=12,
)
FORMS = st.fixed_dictionaries({
    "indent": st.sampled_from([None, 0, 1, 4, "\t"]),
    "separators": st.sampled_from([None, (",", ":"), (" , ", ": ")]),
    "ensure_ascii": st.booleans(),
})  # fmt: skip
POLICIES = sorted([*ROOT.glob("policies/*.yml"), *ROOT.glob("examples/**/*.yml")])


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(VALUES.filter(lambda value: isinstance(value, dict | list)), FORMS)
def test_json_is_read_as_json(value: Any, form: dict[str, Any]) -> None:
    text = json.dumps(value, **form)
    assert read_document(text.encode(), "policy.json").data == value


def places(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, int, int]]:
    yield path, node.start_mark.line + 1, node.start_mark.column + 1
    for i, part in enumerate(node.value if node.id != "scalar" else ()):
        if node.id == "mapping":
            yield from places(part[1], (*path, part[0].value))
        else:
            yield from places(part, (*path, i))


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
def test_values_and_positions_are_those_of_another_reader(path: Path) -> None:
    found = read_document(path.read_bytes(), str(path))
    assert found.data == YAML(typ="safe", pure=True).load(path)
    ours = {(at, one.line, one.column) for at, one in found.values.items()}
    assert ours == set(places(YAML(typ="safe", pure=True).compose(path)))


WORDS = (
    "no yes on off y true True FALSE ~ null Null 0o17 0b11 0x1F +7 -1 1_000 1.5 .5 1e5 .inf .nan"
)


@pytest.mark.parametrize("word", WORDS.split())
def test_plain_words_are_those_of_yaml_1_2(word: str) -> None:
    """Other than in YAML 1.1, `no` is a text; and a float is left to the form to refuse."""
    found = read_document(f"a: {word}\n".encode(), "p.yml").data["a"]
    other = YAML(typ="safe", pure=True).load(f"a: {word}\n")["a"]
    assert found == (word if isinstance(other, float) else other)
    assert type(found) is (str if isinstance(other, float) else type(other))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": "\\ud83d"}', "1:10: not YAML: while parsing a quoted scalar found invalid"),
        ("# x\x85a: 1\n", "1:4: a character that ends a line to some readers of YAML"),
        ('a: "\u2028"\n', "1:5: a character that ends a line to some readers of YAML"),
        ("a: *b\n", "1:4: not YAML: there are no patterns"),
        ("a: &b [*b]\n", "1:4: nested too deeply"),
        ("[" * 2000, "nested too deeply"),
        ("[" * 60 + "]" * 60, "1:52: nested too deeply"),
        ("[" + "1, " * 200_000 + "1]", "too many values"),
        ('{"a": 1, "a": 2}', "1:10: duplicate key 'a'"),
        ("a: 1\n...\nb: 2\n", "not YAML"),
        ("a: 1\n---\nb: 2\n", "2:1: not YAML: a file holds one policy"),
        ("a: !x 1\n", "1:4: tag !x is not allowed"),
        ("a: 0755\n", "1:4: 0755 is octal to some YAML readers"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_document(text.encode(), "p.yml")
    assert said in str(caught.value)
    assert caught.value.diagnostics[0].kind in {Problem.MALFORMED_FILE, Problem.TOO_LARGE}


def test_halves_of_a_character_are_one_as_in_json() -> None:
    assert read_document(b'a: "\\ud83d\\ude00"\n', "p.yml").data == {"a": "\U0001f600"}


def test_a_backslash_in_front_of_halves_is_a_backslash() -> None:
    with pytest.raises(InputError, match="1:14: not YAML"):  # the other half is alone
        read_document(b'a: "\\\\ud83d\\ude00"\n', "p.yml")
