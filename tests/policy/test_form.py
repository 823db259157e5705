"""The form of documents: types are strict, and all that is wrong is told at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from seccompgen.policy import form

if TYPE_CHECKING:
    from seccompgen.policy.form import Fault


class Text(str):
    """Text with a place, as readers of files make it."""

    __slots__ = ()


@form.with_keys
class Inner:
    """A section."""

    name: str = form.key(form.text)
    sure: bool = form.key(form.boolean, default=False)


@form.with_keys
class Outer:
    """A section of sections."""

    inner: tuple[Inner, ...] = form.key(form.list_of(form.section(Inner), least=1), default=())
    named: dict[str, str] | None = form.key(form.mapping_of(str.upper, form.text), default=None)
    pair: tuple[str, ...] = form.key(form.list_of(form.text), default=())


CHECK = form.section(Outer).check


def test_what_is_right_becomes_values_and_the_rest_defaults() -> None:
    faults: list[Fault] = []
    found = CHECK({"inner": [{"name": Text("a")}], "named": {"b": "c"}}, (), faults)
    assert found == Outer(inner=(Inner(name="a"),), named={"B": "c"}, pair=())
    assert type(found.inner[0].name) is str
    assert not faults


@pytest.mark.parametrize(
    ("value", "path", "text"),
    [
        ([], (), "an item here must be a mapping, not []"),
        ({"inner": []}, ("inner",), "'inner' must not be empty"),
        ({"inner": None}, ("inner",), "'inner' must be a list, not nothing"),
        ({"inner": [{}]}, ("inner", 0), "'name' is missing"),
        ({"inner": [{"name": 1}]}, ("inner", 0, "name"), "'name' must be text, not 1"),
        (
            {"inner": [{"name": "a", "sure": 1}]},
            ("inner", 0, "sure"),
            "'sure' must be true or false, not 1",
        ),
        ({"named": {1: "a"}}, ("named", 1), "a key must be text, not 1"),
        ({"pair": ("a",)}, ("pair",), "'pair' must be a list, not ('a',)"),
        ({"nmed": {}}, ("nmed",), "unknown key 'nmed' (did you mean 'named'?)"),
        ({5: {}}, (5,), "unknown key 5; known: inner, "),
    ],
)
def test_what_is_wrong(value: object, path: tuple[str | int, ...], text: str) -> None:
    faults: list[Fault] = []
    assert CHECK(value, (), faults) is None
    (fault,) = faults
    assert fault.path == path
    assert fault.text.startswith(text)


def test_all_that_is_wrong_is_told() -> None:
    faults: list[Fault] = []
    CHECK({"inner": [{}, {"name": 1, "x": 2}], "named": {1: 2}}, (), faults)
    assert [fault.path for fault in faults] == [
        ("inner", 0),
        ("inner", 1, "name"),
        ("inner", 1, "x"),
        ("named", 1),
        ("named", 1),
    ]
