"""Calls that libraries try first: refused so that they go on by the older ones."""

from __future__ import annotations

import pytest
from seccompgen.core.abis import ABIS
from seccompgen.run.record.grants import Grants
from seccompgen.run.record.sections import first_tries


def tries(*calls: str, abi: str = "x86_64") -> list[str]:
    granted = Grants(ABIS[abi])
    for call in calls:
        granted.add(call, ())
    return [*first_tries({ABIS[abi]: granted})]


@pytest.mark.parametrize(
    ("granted", "refused"),
    [
        (("clone",), ["clone3"]),
        (("openat",), ["openat2"]),
        (("openat", "openat2"), []),
        (("fchmodat", "newfstatat", "faccessat"), ["faccessat2", "fchmodat2", "statx"]),
        (("read", "futex"), []),
    ],
)
def test_what_comes_next_must_be_permitted(granted: tuple[str, ...], refused: list[str]) -> None:
    assert tries(*granted) == refused


def test_other_ways_to_say_the_time_are_tried_on_32_bits_alone() -> None:
    assert tries("futex", abi="arm") == ["futex_time64"]
