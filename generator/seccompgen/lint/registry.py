"""Find the rules of lint: each file below ``rules`` declares one, as its ``RULE``."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from seccompgen.core.problems import Problem, RuleCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.lint.rule import LintRule

SECTIONS = (
    "arguments",
    "bypasses",
    "rings",
    "requirements",
    "installation",
    "upgrades",
    "holes",
    "foreign",
    "comments",
)
"""The packages of rules, in the order of docs/lint.md."""


@lru_cache(maxsize=len(SECTIONS))
def rules(section: str) -> tuple[LintRule, ...]:
    """Import and return the rules of a section."""
    places = rule_modules().values()
    return tuple(import_module(one).RULE for one in places if one.split(".")[-2] == section)


def rule(code: str) -> LintRule:
    """Import and return the rule of a code."""
    found: LintRule = import_module(rule_modules()[code]).RULE
    return found


@lru_cache(maxsize=1)
def rule_modules() -> Mapping[str, str]:
    """Return the modules of all rules by their codes, without importing them."""
    home = Path(__file__).parent / "rules"
    return {
        found.name.replace("_", "-"): f"{__package__}.rules.{section}.{found.name}"
        for section in SECTIONS
        for found in iter_modules([str(home / section)])
    }


@lru_cache(maxsize=1)
def codes() -> frozenset[str]:
    """Return the codes that findings may have."""
    return frozenset({*rule_modules(), *(one.value for one in Problem)})


def kinds(section: str) -> frozenset[RuleCode]:
    """Return the kinds of the findings of a section's rules."""
    return frozenset(RuleCode(one.code) for one in rules(section))
