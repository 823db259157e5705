"""The promises of the stock policies, read from their descriptions.

A description has the lines "It promises:" and "It does not promise:", and after each a list, of
which an item is a label, a colon and a text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

POLICIES = {
    path.stem: path for path in sorted((Path(__file__).parents[2] / "policies").glob("*.yml"))
}


@dataclass(frozen=True, slots=True)
class Promises:
    """Texts by label: what a policy promises, and what it says that it does not."""

    kept: dict[str, str]
    excluded: dict[str, str]


def promises(policy: str) -> Promises:
    """Return those of a stock policy."""
    description = YAML(typ="safe").load(POLICIES[policy])["description"]
    kept, colon, excluded = description.partition("\nIt does not promise:\n")
    assert colon, f"{policy} does not say what it does not promise"
    _, colon, kept = kept.partition("\nIt promises:\n")
    assert colon, f"{policy} does not say what it promises"
    return Promises(_items(policy, kept), _items(policy, excluded))


def _items(policy: str, text: str) -> dict[str, str]:
    items: dict[str, str] = {}
    for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:]:
        label, colon, rest = item.partition(": ")
        assert colon, f"{policy}: an item without a label: {item}"
        assert label not in items, f"{policy}: {label} twice"
        items[label] = " ".join(rest.split())
    return items
