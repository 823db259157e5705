"""Plain JSON is read as YAML reads it: the same data, at the same places."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from corpus import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from seccompgen.core.errors import InputError
from seccompgen.policy.document import read_document
from seccompgen.policy.plain_json import read_plain_json

if TYPE_CHECKING:
    from seccompgen.policy.document import Document

TEXTS = st.text(st.sampled_from("aZ09 _-#:,&*!|>%@`'\"\\\n\t\b\f\r[]{}?.~<=$^"), max_size=12)
NUMBERS = st.sampled_from([0, -1, 7, 2**63, 10**29]) | st.integers(-(10**20), 10**20)
VALUES = st.recursive(
    TEXTS | NUMBERS | st.booleans() | st.none(),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(TEXTS, parts, max_size=4),
    max_leaves=12,
)
FORMS = st.fixed_dictionaries({
    "indent": st.sampled_from([None, 0, 1, 4, "\t"]),
    "separators": st.sampled_from([None, (",", ":"), (" , ", ": ")]),
})  # fmt: skip


def as_yaml(text: str) -> Document:
    """Read ``text`` as YAML: no JSON has a comment."""
    return read_document(f"{text} # as YAML".encode(), "policy.json")


def plain(text: str) -> bool:
    return read_plain_json(text, "policy.json", 50_000, 50) is not None


def assert_read_alike(text: str) -> None:
    ours, theirs = read_document(text.encode(), "policy.json"), as_yaml(text)
    assert (ours.data, ours.keys, ours.values) == (theirs.data, theirs.keys, theirs.values)
    assert ours.text == text


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(VALUES.filter(lambda value: isinstance(value, dict | list)), FORMS)
def test_random_values_are_read_alike(value: Any, form: dict[str, Any]) -> None:
    text = json.dumps(value, **form)
    assert plain(text)
    assert_read_alike(text)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/corpus")
def test_dockers_profile_is_read_alike() -> None:
    text = (SHARED / "oci" / "moby-default.json").read_text()
    assert plain(text)
    assert_read_alike(text)


@pytest.mark.parametrize("text", [
    '{"a": 1, "a": 2}',  # a key that stands twice
    '{"a": 01}', '{"a": 1.5}', '{"a": 1e5}', '{"a": +1}', '{"a": 0x10}', '{"a": 1_000}',
    '{"a": ' + "9" * 31 + "}",
    '{"a": "\u00e9"}', '{"a": "\\u00e9"}', '{"a": "\\/"}', '{"a": "\\x41"}', '{"a": "x\n y"}',
    '{"a"\n: 1}', '{"' + "k" * 1100 + '": 1}',
    "[1, 2", "[1, 2]]", "[1 2]", "[1,, 2]", "{1: 2}", "{a: 1}", "[true1]", "[, 1]", '["a" "b"]',
    '{"a": 1, }', "[1, ]", '{"a"}', '{"a": }', "[}", "{]", "[:]",
    '"text"', "7", "", "- a", "# nothing", "[1]\t\n",
    "[" * 51 + "]" * 51,
    "[" + "1, " * 50_000 + "1]",
])  # fmt: skip
def test_what_is_not_plain_is_left_to_yaml(text: str) -> None:
    assert not plain(text)


@pytest.mark.parametrize(("text", "line", "column"), [
    ('{\n  "a": 1,\n  "a": 2}', 3, 3),
    ('{\n  "a": 1.5,\n  "b": [1}', 3, 10),
])  # fmt: skip
def test_its_errors_have_places(text: str, line: int, column: int) -> None:
    with pytest.raises(InputError) as caught:
        read_document(text.encode(), "policy.json")
    at = caught.value.diagnostics[0].position
    assert at
    assert (at.line, at.column) == (line, column)


def test_as_many_nodes_and_as_deep_as_yaml_may_have() -> None:
    assert plain("[" * 50 + "]" * 50)
    assert_read_alike("[" * 50 + "]" * 50)
    most = "[" + "1, " * 49_998 + "1]"
    assert plain(most)
    assert not plain(most.replace("1]", "1, 1]"))
