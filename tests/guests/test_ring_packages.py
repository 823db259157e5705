"""The judge of packages that filter rings in guests, without a guest."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from guests import ring_packages
from guests.ring_packages import NAMES

if TYPE_CHECKING:
    from ring_context import Release

RELEASES: list[Release] = [(7, 0, 13), (7, 1, 7), (7, 1, 8), (7, 2, 6), (7, 3, 4)]


@pytest.mark.parametrize("of", RELEASES)
def test_what_is_wanted_does_not_differ(of: Release) -> None:
    assert [*ring_packages.differences(of, ring_packages.wanted(of))] == []


def test_whatever_else_is_reported_differs() -> None:
    good = ring_packages.wanted((7, 3, 4))
    for changes in (
        *((name, what) for name in NAMES for what in ("refuse_rings", "fail", "unconfined rest")),
        *((name, "changed", 0, 2) for name in NAMES),
        *(("lied to", one, 2) for one in (0, 11)),
        *(("disabled", one) for one in (0, 1)),
        *(("in turn", name) for name in good["in turn"]),
        ("ignored",),
    ):
        report = copy.deepcopy(good)
        *path, last = changes
        place: Any = report
        for key in path:
            place = place[key]
        place[last] = [True, 1]
        assert len([*ring_packages.differences((7, 3, 4), report)]) == 1, changes
    for part in good:
        assert [*ring_packages.differences((7, 3, 4), {**good, part: None})]
    assert [*ring_packages.differences((7, 3, 4), {**good, "lied to": good["lied to"][1:]})]


def test_another_answer_to_a_lie_may_be_as_good() -> None:
    report = ring_packages.wanted((7, 3, 4))
    report["lied to"] = [[*one[:2], [True, 0]] for one in report["lied to"]]
    assert [*ring_packages.differences((7, 3, 4), report)] == []


def test_each_release_gets_what_it_can_keep() -> None:
    outcomes = {of: [ring_packages.wanted(of)[name]["fail"] for name in NAMES] for of in RELEASES}
    kept = [True, 0]
    lost = ["ring_fields", "ring_exec/lost", "ring_fields", kept]
    assert outcomes[7, 0, 13] == outcomes[7, 1, 7] == lost
    assert outcomes[7, 1, 8] == ["ring_fields", kept, "ring_fields", kept]
    assert outcomes[7, 2, 6] == outcomes[7, 3, 4] == [kept] * 4


@pytest.mark.parametrize("abi", ["x86_64", "s390x"])
def test_the_packages_have_what_is_changed(abi: str) -> None:
    made = ring_packages.files(abi)
    for name in NAMES:
        held: dict[str, Any] = {}
        exec(made[f"{ring_packages.PACKAGE}/{name}/_{abi}.py"], held)
        changed = [one[0] for one in ring_packages.wanted((7, 3, 4))[name]["changed"]]
        found = [opcode for opcode, _, program in held["IO_URING"][1] if len(program) > 8]
        assert found == changed[::2]
