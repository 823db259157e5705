"""Events of mkdocs: add the generated pages, and turn links to the repository into addresses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File
from seccompgen.core.published import REPOSITORY, SITE

from website.commands import command_names
from website.links import NOWHERE, filled, in_site, plain_pipes
from website.pages import generated_pages

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page


_COMMANDS = "commands/"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the commands into the navigation, and set the addresses that there are."""
    config.site_url = SITE
    if REPOSITORY:  # no repo_url: the theme would ask GitHub for stars
        link = {"icon": "material/source-branch", "name": "Source", "link": REPOSITORY}
        config.extra["social"] = [link]
    config.nav = [_filled(section) for section in config.nav or []]
    return config


def _filled(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of the navigation, with the commands for what stands for them."""
    ((title, below),) = entry.items()
    if below == _COMMANDS:
        below = [{"All commands": f"{_COMMANDS}index.md"}]
        below += [{name: f"{_COMMANDS}{name}.md"} for name in command_names()]
    elif isinstance(below, list):
        below = [_filled(one) for one in below]
    return {title: below}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for name, content in generated_pages().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to files outside docs/ to their page, or to the repository."""
    del config, files
    text = filled(plain_pipes(markdown), REPOSITORY)
    return in_site(text, page.file.src_uri, REPOSITORY or NOWHERE)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make a table's heading without words a cell, and a link to no repository plain text."""
    del page, config, files
    html = re.sub(rf'<a href="{NOWHERE}[^>]*>(.*?)</a>', r"\1", html, flags=re.DOTALL)
    return re.sub(r"<th( [^>]*)?></th>", r"<td\1></td>", html)
