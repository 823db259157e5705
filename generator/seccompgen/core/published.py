"""The addresses at which seccompgen is published; no other file contains them.

They are empty until seccompgen is published. Until then, help, manual pages, the site and the
metadata of packages name no address. ``make release`` asks for the addresses and writes them here.
The hook of hatchling runs this file by itself, so it imports nothing.
"""

REPOSITORY = ""
"""The repository on its code host, https://..., without a slash at its end."""

SITE = ""
"""The documentation's site, with a slash at its end; empty if only the repository has it."""


def source(repository: str, path: str, kind: str = "blob") -> str:
    """Return the address of a file of a repository; "" if the repository has no address.

    ``kind`` is the host's word: blob for a file, tree for a directory, raw for a picture.
    """
    return f"{repository}/{kind}/main/{path}" if repository else ""


def documentation(page: str) -> str:
    """Return the address of a page of docs/, on the site or else in the repository, or ""."""
    name = page.removeprefix("docs/").removesuffix(".md")
    return f"{SITE}{name}/" if SITE else source(REPOSITORY, page)
