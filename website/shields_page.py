"""docs/shields.md: what is written above its table, and the table of shields."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.kernel.shields import shields, user_namespace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seccompgen.kernel.shields import Shield

PAGE = Path(__file__).parents[1] / "docs" / "shields.md"
_HEADING = "\n## The table\n"
_MADE = "\n<!-- Below this line the page is made from kernel/shields.toml by `make pages`. -->\n"
_RECORD = "https://www.cve.org/CVERecord?id="


def shields_page() -> str:
    """Return the page; what is above its table stays."""
    namespace = f"A user namespace comes from {_rules(user_namespace(), ', ')}."
    parts = [PAGE.read_text().partition(_HEADING)[0], _HEADING, _MADE, f"\n{namespace}\n"]
    return "".join([*parts, *map(_section, shields())])


def _section(one: Shield) -> str:
    needs = f" Needs {one.capability}." if one.capability else ""
    title = one.title[0].upper() + one.title[1:]
    rows = [f"- [{cve}]({_RECORD}{cve}): {source}" for cve, source in one.holes.items()]
    refused = _rules(one.refuse, ", ")
    return "\n".join([f"\n### {one.name}\n", f"{title}.{needs} Refuse {refused}.\n", *rows, ""])


def _rules(rules: Iterable[str], separator: str) -> str:
    return separator.join(f"`{one}`" for one in rules)
