"""Nothing that people read leads to an address that is not there; ours are none as yet."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from command import ROOT
from seccompgen.core import published

from website.links import NOWHERE, filled, in_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READ = (
    *("*.md", "*.toml", "*.yml", "Containerfile", "Makefile", ".pre-commit-hooks.yaml"),
    *("bazel/*", "benchmarks/*.md", "ci/**/*", "docs/**/*", "examples/**/*", "generated/**/*.py"),
    *("generator/**/*.py", "policies/*", "release/**/*", "templates/*", "website/*"),
)
"""What people are shown: pages, manual pages, templates, filters, and the code with its texts."""
HOSTS = {
    *("github.com", "raw.githubusercontent.com", "git.kernel.org"),
    *("keepachangelog.com", "www.schemastore.org", "www.cve.org"),
    # Names of formats, which nobody opens.
    *("cyclonedx.org", "json-schema.org", "json.schemastore.org", "www.w3.org"),
    # Words for one that the reader has.
    *("example.org", "cache.example.org", "mirror"),
    "127.0.0.1",
}
"""All hosts that are named; whoever adds one has looked that it is there."""
_ADDRESS = re.compile(r"\bhttps?://[A-Za-z0-9][^\s\"'`<>()\[\]{},;\\|]*")
_PLACEHOLDER = re.compile(r"\bOWNER\b|\b(?:YOUR|MY)[-_](?:ORG|NAME|USER)\b")


def texts() -> Iterator[tuple[Path, str]]:
    for pattern in READ:
        for path in ROOT.glob(pattern):
            if path.is_file() and path.suffix not in {".png", ".pyc", ".svg", ".json"}:
                yield path.relative_to(ROOT), path.read_text()


def test_hosts_are_there_and_none_of_them_has_us() -> None:
    assert (published.REPOSITORY, published.SITE) == ("", "")
    seen, wrong = set(), []
    for path, text in texts():
        wrong += [(path, word) for word in _PLACEHOLDER.findall(text)]
        for address in _ADDRESS.findall(text):
            parts = urlsplit(address)
            seen.add(parts.hostname)
            if parts.hostname not in HOSTS or "seccompgen" in parts.path:
                wrong.append((path, address))
    assert wrong == []
    assert seen == HOSTS


def test_the_site_fills_the_gaps_and_leads_to_the_repository_once_it_has_an_address() -> None:
    page = "`<owner>/seccompgen@v1` of <repository>, [the action](../action.yml), [links](links.md)"
    home = "https://host.example/somebody/seccompgen"
    assert in_site(filled(page, home), "ci.md", home) == (
        f"`somebody/seccompgen@v1` of {home}, [the action]({home}/blob/main/action.yml), "
        "[links](links.md)"
    )
    assert in_site(filled(page, ""), "ci.md", NOWHERE) == page.replace(
        "../", f"{NOWHERE}/blob/main/"
    )
