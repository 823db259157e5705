"""Write the table of companions and its lock, which `seccompgen.lint.companions` reads."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from seccompgen.lint.companions import HEADER, LOCK_NAME, TABLE_NAME, releases_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from seccompgen.lint.companions import Companion, LibraryRelease


def render(rows: Iterable[Companion], releases: Sequence[LibraryRelease]) -> dict[str, bytes]:
    """Return the content of the table and of its lock, by file name."""
    libraries = releases_of(releases)
    lines = [HEADER]
    last = None
    for row in sorted(rows, key=_order(libraries)):
        head = (row.library, row.abis, row.functions)
        if head != last:
            lines.append(f"{row.library},{' '.join(row.abis)},{' '.join(row.functions)}")
            last = head
        fallback = "" if row.fallback is None else str(row.fallback)
        ranges = _ranges(row.releases, libraries[row.library])
        lines.append(f",{row.call},{row.constant},{fallback},{ranges}")
    table = "".join(f"{line}\n" for line in lines).encode()
    lock = [
        "# Written by `make companions`: the packages that companions.csv was made from.",
        f'sha256 = "{hashlib.sha256(table).hexdigest()}"',
    ]
    for one in releases:
        lock += ["", "[[releases]]", f'library = "{one.library}"', f'release = "{one.release}"']
        lock.append(f"bases = [{', '.join(f'{base!r}' for base in one.bases)}]".replace("'", '"'))
        lock += ["packages = [", *(f'  "{package}",' for package in one.packages), "]"]
    return {TABLE_NAME: table, LOCK_NAME: "".join(f"{line}\n" for line in lock).encode()}


def _ranges(releases: Sequence[str], known: Sequence[str]) -> str:
    """Return releases as ranges: ``2.31``, ``2.31..2.36``, or ``2.36..`` up to the newest."""
    texts = []
    at = sorted(map(known.index, releases))
    while at:
        run = 1
        while run < len(at) and at[run] == at[0] + run:
            run += 1
        first, last = known[at[0]], known[at[run - 1]]
        end = "" if at[run - 1] == len(known) - 1 else last
        texts.append(first if run == 1 and end else f"{first}..{end}")
        at = at[run:]
    return " ".join(texts)


def _order(libraries: Mapping[str, Sequence[str]]) -> Callable[[Companion], tuple[object, ...]]:
    names = list(libraries)
    return lambda row: (
        names.index(row.library),
        row.functions,
        row.abis,
        row.call,
        row.constant,
        tuple(map(libraries[row.library].index, row.releases)),
    )
