"""Cases that `make test-long` and `make test-weekly` try: more sizes, ABIs and random policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest
from cpu_budget import LONG, all_but

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from _pytest.mark.structures import MarkDecorator, ParameterSet

_T = TypeVar("_T")


def long_but(
    kept: Collection[_T], cases: Iterable[_T], reason: str, long: int = LONG
) -> list[ParameterSet]:
    """Return ``cases`` for a parametrized test, of which only the ``kept`` ones are not long.

    Of the others so many are, evenly spread, and the rest is weekly.
    """
    every = list(cases)
    assert all(one in every for one in kept), "a case that is kept must be one"
    left = [one for one in every if one not in kept]
    weekly = all_but(long, left)
    return [
        pytest.param(
            *(one if isinstance(one, tuple) else (one,)),
            marks=()
            if one in kept
            else (pytest.mark.weekly if one in weekly else pytest.mark.long)(reason),
        )
        for one in every
    ]


def few_and_many(few: int, many: int, name: str = "examples") -> MarkDecorator:
    """Have a test draw ``few`` random ``examples``, and ``many`` with the long ones."""
    less = pytest.param(few, marks=pytest.mark.smaller)
    more = pytest.param(many, marks=pytest.mark.long("more of what is drawn, or happens by chance"))
    return pytest.mark.parametrize(name, [less, more])
