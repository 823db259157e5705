"""The curves of compile time: families in every tool's words, their measurement, the page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables

from benchmarks.compiling import page
from benchmarks.compiling.curves import OURS, Curve, Point, curves, measured
from benchmarks.compiling.families import FAMILIES, Family, for_peers, minijails, ours

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_has_as_many_rules_as_are_asked_for(family: Family, tmp_path: Path) -> None:
    rules = family.of(12)
    assert rules == family.of(12)
    path = tmp_path / "policy.json"
    path.write_text(ours(rules))
    policy, _ = load_policy(path, shipped_tables())
    assert len(policy.rules) == len(for_peers(rules)["rules"]) == 12
    text = minijails(rules)
    masked = any(test[1] == "masked" for _, tests in rules for test in tests)
    assert masked if text is None else len(re.findall(r"\|\||:", text)) == 12


def test_a_tool_that_refuses_says_why() -> None:
    assert "InputError" in str(measured(OURS, "{}", 1))


@pytest.mark.long("compiles each family in processes of their own")
def test_the_page_has_each_family() -> None:
    found = list(curves(10, 1, 2, lambda _: None))
    text = page.rendered({"Processor": "any"}, found)
    for family in FAMILIES:
        (own,) = [one for one in found if (one.family, one.tool) == (family.name, OURS)]
        point = own.points[10]
        assert isinstance(point, Point)
        assert f"| 10 | {point.seconds:.2f} |  | {point.megabytes:.0f} |" in text


def test_a_row_compares_with_the_row_above_and_with_peers() -> None:
    own = Curve("values", OURS, {10: Point(0.5, 40, 20), 20: Point(1.0, 50, 40)})
    peer = Curve("values", "libseccomp", {10: Point(0.1, 20, 40), 20: "refused"})
    text = page.rendered({}, [own, peer, Curve("ABIs", OURS, {})])
    assert "| 10 | 0.50 |  | 40 | 20 | 0.1000 | 5 | 40 | 0.50 |" in text
    assert "| 20 | 1.00 | 2.00 | 50 | 40 | refused |  |  |  |" in text
