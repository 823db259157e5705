"""The navigation of the documentation's site, as mkdocs.yml has it, and its pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from command import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMANDS = "commands/"
_GENERATED = {"python.md", "codes.md", "gallery/index.md", "commands/index.md"}


def navigated() -> list[str]:
    """Return the pages that the navigation names, below docs/; the commands' are made from code."""
    text = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    return [page for page in _targets(text) if page != _COMMANDS]


def _targets(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if found := re.fullmatch(r" +- [^:]+: (\S+)", line):
            yield found[1]


def site_pages() -> set[str]:
    """Return the pages that the site has: those of docs/, copies of others, and generated ones."""
    links = (ROOT / "website" / "links.py").read_text()
    copied = dict(re.findall(r'"(\S+\.md)": "(\S+\.md)"', links))
    assert len(copied) > 5
    there = {page for source, page in copied.items() if (ROOT / source).exists()}
    own = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    return own | there | _GENERATED
