"""Cases that only `make test-long` tries: more sizes, more ABIs, more random policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from _pytest.mark.structures import MarkDecorator, ParameterSet

_T = TypeVar("_T")


def long_but(kept: Collection[_T], cases: Iterable[_T], reason: str) -> list[ParameterSet]:
    """Return ``cases`` for a parametrized test; those that are not ``kept`` are long."""
    every = list(cases)
    assert all(one in every for one in kept), "a case that is kept must be one"
    long = pytest.mark.long(reason)
    return [
        pytest.param(
            *(one if isinstance(one, tuple) else (one,)), marks=() if one in kept else long
        )
        for one in every
    ]


def few_and_many(few: int, many: int) -> MarkDecorator:
    """Have a test draw ``few`` random ``examples``, and ``many`` with the long ones."""
    more = pytest.param(many, marks=pytest.mark.long("more random policies"))
    return pytest.mark.parametrize("examples", [few, more])
