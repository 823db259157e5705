"""The causes that docs/runtime.md lists are those that the runtime has and the tests provoke."""

from __future__ import annotations

import re
from pathlib import Path

from runtime_template import TEMPLATE, explain, rings

HERE = Path(__file__).parent
DOCS = TEMPLATE.parents[1] / "docs" / "runtime.md"


def entries() -> list[str]:
    """Return the label of each entry of ``_REFUSALS``: a cause, perhaps "/" and a word."""
    texts = (explain._REFUSALS, rings._RING_REFUSALS)
    return [entry.split()[0] for text in texts for entry in text.split("\n\n")]


def raised() -> list[str]:
    """Return every label that the templates give ``_refusal``."""
    text = "".join(path.read_text() for path in sorted(TEMPLATE.parent.glob("*.py")))
    return [label for label in entries() if f'"{label}"' in text]


def documented() -> list[str]:
    return re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", DOCS.read_text(), re.MULTILINE)


def test_every_cause_has_its_sentence() -> None:
    assert len(documented()) == len(set(documented())) > 20
    assert documented() == [*dict.fromkeys(label.partition("/")[0] for label in entries())]
    assert entries() == raised()


def test_every_cause_is_provoked() -> None:
    sources = "".join(path.read_text() for path in HERE.glob("*.py") if path.name != "test_docs.py")
    assert [cause for cause in documented() if f'"{cause}"' not in sources] == []
