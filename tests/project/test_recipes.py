"""*Recipes*: the page names each of them, and so does the page on first policies."""

from __future__ import annotations

import re

from command import ROOT

RECIPES = ROOT / "docs" / "recipes"
PAGE = (RECIPES / "README.md").read_text()
START = (ROOT / "docs" / "start.md").read_text()


def test_each_program_of_the_first_page_has_a_recipe_or_a_reason() -> None:
    rows = re.findall(r"^\| \[.*?\]\(#(\S+)\) \|", START, re.MULTILINE)
    linked = set(re.findall(r"\(recipes/README\.md#(\S+?)\)", START))
    reasons = {*re.findall(r"\(\.\./start\.md#(\S+?)\)", PAGE)} & {*rows}
    headings = {one.lower().replace(" ", "-") for one in re.findall("^### (.+)$", PAGE, re.M)}
    assert linked == headings
    assert len(linked) + len(reasons) == len(rows) + 1, "Go and Rust have a row together"


def test_each_recipe_has_its_workload_and_a_line() -> None:
    policies = sorted(path.stem for path in RECIPES.glob("*.yml"))
    workloads = sorted(path.stem for path in RECIPES.glob("*.sh"))
    assert workloads == sorted([*policies, "recipe"])
    assert sorted(re.findall(r"^\| \[(\w+)\.yml\]", PAGE, re.M)) == policies
    assert "decoder" in PAGE
    for name in policies:
        assert "Recorded by seccompgen record" in (RECIPES / f"{name}.yml").read_text()
