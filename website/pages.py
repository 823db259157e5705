"""All pages of the site that are made at its build, and what lies beside them."""

from __future__ import annotations

from website.codes import codes_page
from website.commands import command_pages
from website.gallery import gallery_pages
from website.links import PUBLISHED, ROOT
from website.python_api import api_page


def generated_pages() -> dict[str, str]:
    """Return the content of each generated file of the site by its name there."""
    copied = {
        page: (ROOT / source).read_text()
        for source, page in PUBLISHED.items()
        if source != "README.md" and (ROOT / source).exists()
    }
    return {
        **copied,
        **command_pages(),
        **gallery_pages(),
        "python.md": api_page(),
        "codes.md": codes_page(),
    }
