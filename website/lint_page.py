"""docs/lint.md: what is written above its codes, and a section for each rule of lint."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.lint import rules as packages
from seccompgen.lint.registry import SECTIONS, rule_modules, rules

if TYPE_CHECKING:
    from seccompgen.lint.rule import LintRule

PAGE = Path(__file__).parents[1] / "docs" / "lint.md"
_HEADING = "\n# Codes\n"
_INTRODUCTION = """
<!-- Below this line the page is made from generator/seccompgen/lint/rules by `make pages`. -->

Codes never change their meaning. Each section has an example: without the lines `+` the policy gets
the finding, without the lines `-` it is mended. A test tries both. Rules alone are the `syscalls:`
of a policy with `default_action: allow` and `arches: [x86_64]`; an example that begins with a
version, `2`, is a profile of LXC, and one without rules of firejail.
"""
_HEAD = "default_action: allow\narches: [x86_64]\nsyscalls:\n"
_DIFF = re.compile(r"```diff\n(.*?)```", re.DOTALL)


def lint_page() -> str:
    """Return the page; what is above its codes stays."""
    parts = [PAGE.read_text().partition(_HEADING)[0], _HEADING, _INTRODUCTION]
    for section in SECTIONS:
        text = import_module(f"{packages.__name__}.{section}").__doc__ or ""
        title, _, more = text.partition(".\n") if "\n" in text else text.partition(".")
        parts.append(f"\n## {title}\n{more}")
        parts += [
            f"\n### {one.code}\n\n*{one.severity.value}.* {documentation(one)}"
            for one in rules(section)
        ]
    return "".join(parts)


def documentation(rule: LintRule) -> str:
    """Return what a rule's file says of it."""
    return sys.modules[rule_modules()[rule.code]].__doc__ or ""


def examples(rule: LintRule) -> tuple[str, str]:
    """Return the wrong policy of a rule's documentation, and the mended one."""
    match = _DIFF.search(documentation(rule))
    lines = match[1].splitlines(keepends=True) if match else []
    head = _HEAD if lines and lines[0][1:].startswith("- ") else ""
    wrong, mended = ("".join(one[1:] for one in lines if one[0] in f" {sign}") for sign in "-+")
    return head + wrong, head + mended
