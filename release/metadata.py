"""The part of the metadata that leads to addresses, as a metadata hook of hatchling.

README.md has relative links, which work in a clone and on a code host. A package index shows it
without the files: there a link leads to the repository, or is plain text while that has no address.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_ROOT = Path(__file__).parents[1]
_LINK = re.compile(
    r"(?P<picture>!?)\[(?P<text>(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]"
    r"\((?![a-z]+:|#)(?P<path>[^)\s]+)\)"
)


_PUBLISHED = runpy.run_path(str(_ROOT / "generator/seccompgen/core/published.py"))


class AddressesHook(MetadataHookInterface):
    """Gives a package the project's URLs, and the README with links to them."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the fields that pyproject.toml says are dynamic."""
        repository = _PUBLISHED["REPOSITORY"]
        metadata["urls"] = urls(repository, _PUBLISHED["SITE"])
        text = described((_ROOT / "README.md").read_text(encoding="utf-8"), repository)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def urls(repository: str, site: str) -> dict[str, str]:
    """Return the URLs of the project; none while nobody has published it."""
    if not repository:
        return {}
    return {
        "Source": repository,
        "Documentation": site or _PUBLISHED["source"](repository, "docs", "tree"),
        "Changelog": _PUBLISHED["source"](repository, "CHANGELOG.md"),
    }


def described(readme: str, repository: str) -> str:
    """Return the README for a package index: its links lead to the repository, or nowhere."""

    def change(link: re.Match[str]) -> str:
        text = _LINK.sub(change, link["text"])
        kind = "raw" if link["picture"] else "blob"
        if address := _PUBLISHED["source"](repository, link["path"], kind):
            return f"{link['picture']}[{text}]({address})"
        return "" if link["picture"] else text

    return _LINK.sub(change, readme)
