"""The sections of docs/lint.md: for each code a policy that gets it, and the policy mended."""

from __future__ import annotations

import re
from pathlib import Path

from seccompgen.core.problems import Problem
from seccompgen.lint.noted import NOTED

PAGE = Path(__file__).parents[2] / "docs" / "lint.md"
_, _, _CODES = PAGE.read_text().partition("\n# Codes\n")
PAGE_SECTIONS = {
    part.partition("\n")[0]: re.findall(r"```yaml\n(.*?)```", part, re.DOTALL)
    for part in re.split(r"\n### ", _CODES)[1:]
}


def lint_codes() -> list[str]:
    """Return the codes of findings: those that stand together, and those of notes and errors."""
    codes = [one.value for one in Problem]
    own = codes[codes.index("ignored-bits") : codes.index("unused-ignore") + 1]
    return list(
        dict.fromkeys([*own, Problem.NO_SUCH_ARGUMENT.value, *(one.value for one in NOTED)])
    )
