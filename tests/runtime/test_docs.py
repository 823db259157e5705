"""The causes that docs/runtime.md lists are those that the runtime has and the tests provoke."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from helpers.runtime import TEMPLATE

HERE = Path(__file__).parent
DOCS = TEMPLATE.parents[1] / "docs" / "runtime.md"


def raised() -> set[str]:
    """Return the second argument of each call of ``_refusal``."""
    return {
        node.args[1].value
        for path in sorted(TEMPLATE.parent.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("_refusal")
        if isinstance(node.args[1], ast.Constant) and isinstance(node.args[1].value, str)
    }


def documented() -> list[str]:
    return re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", DOCS.read_text(), re.MULTILINE)


def test_every_cause_has_its_sentence() -> None:
    assert len(documented()) == len(set(documented())) > 20
    assert set(documented()) == raised()


def test_every_cause_is_provoked() -> None:
    sources = "".join(path.read_text() for path in HERE.glob("*.py") if path.name != "test_docs.py")
    assert [cause for cause in documented() if f'"{cause}"' not in sources] == []
