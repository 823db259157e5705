"""The addresses at which seccompgen is published: the one place for them.

They are empty until somebody publishes it; while they are, nothing names an address: neither help
nor manual pages, neither the site nor the metadata of packages. ``make release`` asks for them and
writes them here. The hook of hatchling runs this file by itself, so it imports nothing.
"""

REPOSITORY = ""
"""The repository on its code host, https://..., without a slash at its end."""

SITE = ""
"""The documentation's site, with a slash at its end; empty if there is none but the repository."""


def source(repository: str, path: str, kind: str = "blob") -> str:
    """Return the address of a file of a repository; "" if it has no address.

    ``kind`` is the host's word: blob for a file, tree for a directory, raw for a picture.
    """
    return f"{repository}/{kind}/main/{path}" if repository else ""


def documentation(page: str) -> str:
    """Return the address of a page of docs/, on the site or in the repository, or ""."""
    name = page.removeprefix("docs/").removesuffix(".md")
    return f"{SITE}{name}/" if SITE else source(REPOSITORY, page)
