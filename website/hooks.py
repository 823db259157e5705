"""Events of mkdocs: add the generated pages, and turn links to the repository into addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mkdocs.structure.files import File

from website.commands import command_names
from website.links import in_site
from website.pages import generated_pages

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page


_INDEX = "commands/index.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put each command below the entry of the command line in the navigation."""
    for part in config.nav or []:
        for entries in part.values():
            for entry in entries if isinstance(entries, list) else []:
                for title, page in entry.items() if isinstance(entry, dict) else []:
                    if page == _INDEX:
                        pages = [{name: f"commands/{name}.md"} for name in command_names()]
                        entry[title] = [_INDEX, *pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for name, content in generated_pages().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to files outside docs/ to their page, or to the repository."""
    del files
    return in_site(markdown, page.file.src_uri, str(config.repo_url))
