"""Links of pages as they lie in the repository, and as the site has them."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from urllib.parse import urlsplit

from seccompgen.core.published import source as address

ROOT = Path(__file__).parents[1]
PUBLISHED = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
    "benchmarks/README.md": "benchmarks/index.md",
    "benchmarks/RESULTS.md": "benchmarks/results.md",
    "benchmarks/OPTIMUM.md": "benchmarks/optimum.md",
    "benchmarks/RECORD.md": "benchmarks/record.md",
    "benchmarks/COMPILING.md": "benchmarks/compiling.md",
    "benchmarks/SCANNING.md": "benchmarks/scanning.md",
    "benchmarks/results.svg": "benchmarks/results.svg",
    "benchmarks/compiling.svg": "benchmarks/compiling.svg",
}
"""Files outside docs/ that the site has, and their names there."""

NOWHERE = "nowhere:"
"""The repository in links, while it has no address: the hooks then make plain text of them."""

_SOURCES = {page: source for source, page in PUBLISHED.items() if page != "index.md"}
_CODE = re.compile(r"^(?P<fence>```+).*?^(?P=fence)$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_CODE_SPAN = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\((?![a-z]+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]+)?\)")


def in_site(markdown: str, page: str, repository: str) -> str:
    """Return a page's text with each link as the site needs it.

    ``page`` is its name in the site. A link leads to a page if the site has the file, and to
    ``repository`` otherwise.
    """
    source = _SOURCES.get(page, f"docs/{page}")
    parts, end = [], 0
    for code in _CODE.finditer(markdown):
        parts += [_rewritten(markdown[end : code.start()], source, page, repository), code[0]]
        end = code.end()
    return "".join([*parts, _rewritten(markdown[end:], source, page, repository)])


def filled(markdown: str, repository: str) -> str:
    """Return a page's text with the address of the repository where it leaves a gap for it."""
    if not repository:
        return markdown
    name = urlsplit(repository).path.strip("/")
    return markdown.replace("<repository>", repository).replace("<owner>/seccompgen", name)


def plain_pipes(markdown: str) -> str:
    """Return a page's text with no backslash before a pipe in the code of a table.

    Code hosts want it there; Python's Markdown shows it.
    """
    rows = (
        _CODE_SPAN.sub(_without_backslash, line) if line.startswith("| ") else line
        for line in markdown.splitlines(keepends=True)
    )
    return "".join(rows)


def _without_backslash(code: re.Match[str]) -> str:
    return code[0].replace("\\|", "|")


def _rewritten(text: str, source: str, page: str, repository: str) -> str:
    def change(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["path"]))
        anchor = link["anchor"] or ""
        if target in PUBLISHED:
            there = PUBLISHED[target]
        elif target.startswith("docs/") and (page in _SOURCES or not link["path"].startswith("..")):
            there = target.removeprefix("docs/")
        elif (ROOT / target).exists() and not target.startswith("docs/"):
            kind = "tree" if (ROOT / target).is_dir() else "blob"
            return f"]({address(repository, target, kind)}{anchor})"
        else:
            return link[0]
        return f"]({os.path.relpath(there, posixpath.dirname(page) or '.')}{anchor})"

    return _LINK.sub(change, text)
