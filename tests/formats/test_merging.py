"""Profiles merged by Kubernetes' public rules, against the two filters stacked, by z3."""

from __future__ import annotations

from typing import Any

import pytest
from corpus import SHARED
from merging import FEW, MERGERS, dockers, random_pairs, verdicts
from oci_samples import profile, rule
from proving import TABLES

LOOSER = {"looser", "looser and tighter"}


def small(*rules: Any, **more: Any) -> dict[str, Any]:
    return profile(*rules, architectures=["SCMP_ARCH_X86_64"], **more)


ALLOW = {"defaultAction": "SCMP_ACT_ALLOW"}
PAIRS = {
    "names-alone": (small(rule("read write")), small(rule("write ioctl")), "same", "same"),
    "a-condition-of-one": (
        small(rule("read", (0, "EQ", 1))),
        small(rule("read write")),
        "same",
        "same",
    ),
    "conditions-on-two-arguments": (
        small(rule("read", (0, "EQ", 1))),
        small(rule("read", (1, "EQ", 2))),
        "same",
        "same",
    ),
    "refusals-under-conditions": (
        small(rule("read", (0, "EQ", 1), action="ERRNO"), **ALLOW),
        small(rule("read", (1, "EQ", 1), action="ERRNO"), **ALLOW),
        "looser",
        "same",
    ),
    "a-refusal-and-a-permission": (
        small(rule("clone", (0, "EQ", 1), action="ERRNO"), **ALLOW),
        small(rule("clone read")),
        "tighter",
        "same",
    ),
    "two-rules-for-a-call": (
        small(rule("ioctl", (1, "EQ", 1)), rule("ioctl", (1, "EQ", 2))),
        small(rule("ioctl")),
        "tighter",
        "same",
    ),
    "two-rules-of-two-conditions": (
        small(rule("read", (0, "EQ", 1), (1, "EQ", 2)), rule("read", (0, "EQ", 3), (1, "EQ", 4))),
        small(rule("read")),
        "tighter",
        "tighter",
    ),
    "one-argument-in-two-ways": (
        small(rule("read", (2, "LT", 256))),
        small(rule("read", (2, "GE", 8))),
        "tighter",
        "tighter",
    ),
}
"""Two profiles, and the verdicts on what is proposed and on what is settled."""


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name: str) -> None:
    left, right, *expected = PAIRS[name]
    assert list(verdicts(left, right, FEW).values()) == expected


@pytest.mark.long("reads many policies")
def test_random_pairs_with_z3_as_the_referee() -> None:
    """The settled rules are never looser than both filters; those first proposed are."""
    found, _ = random_pairs(25, 2)
    often = {
        merger: sum(n for (who, said), n in found.items() if who == merger and said in LOOSER)
        for merger in MERGERS
    }
    assert often["settled"] == 0
    assert often["proposed"] > 0
    assert found["settled", "tighter"] > 0
    assert found["settled", "same"] > found["proposed", "same"] > 0


@pytest.mark.skipif(not (SHARED / "oci").is_dir(), reason="needs ../shared/corpus")
def test_dockers_default_with_itself() -> None:
    """Its five rules for `personality` and two for `socket` become a kill, as was proposed."""
    assert verdicts(dockers(), dockers(), TABLES) == {"proposed": "tighter", "settled": "same"}
