"""The history of calls, read anew from the tables of many tags."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seccompgen.core.errors import InputError
from seccompgen.core.releases import Release
from seccompgen.core.tables import release
from seccompgen.kernel.history import Conflict, rewrite
from seccompgen.pipeline.cache import cache_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.core.tables import Tables

_WRITE = "write the releases like v5.10.. or v5.10..v6.1"


@dataclass(frozen=True, slots=True)
class HistoryRead:
    """The mainline tags whose tables were read, and what they contradict."""

    tags: tuple[str, ...]
    conflicts: tuple[Conflict, ...]


def mainline_tags(text: str, last: str) -> tuple[str, ...]:
    """Return the tags of all mainline releases in ``text``: ``v5.10..v6.1``, both included.

    ``v5.10..`` ends with the release that the tag ``last`` belongs to. Raises InputError for
    anything else, and for releases whose tables cannot be read.
    """
    first, dots, end = text.partition("..")
    ends = [_mainline(first), _mainline(end) if end else Release.parse(last)]
    if not dots:
        raise InputError(f"--history {text}: {_WRITE}")
    if ends[0] > ends[1]:
        raise InputError(f"--history {text}: {ends[0]} is newer than {ends[1]}; {_WRITE}")
    releases = [ends[0]]
    while releases[-1] < ends[1]:
        releases.append(releases[-1].next)
    return tuple(f"v{one}" for one in releases)


def _mainline(text: str) -> Release:
    found = Release.parse(text)
    if text.removeprefix("v") != str(found):
        # Stable releases have calls that were put back into them.
        raise InputError(f"--history: {text} is no mainline release, v{found} is; {_WRITE}")
    release(f"v{found}")
    return found


def with_history(
    tables: Tables,
    tags: tuple[str, ...],
    source: str | None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tables, HistoryRead]:
    """Return ``tables`` with their history corrected by the tables of mainline ``tags``.

    ``source`` is any that `fetch` takes, and must have all of ``tags``.
    """
    from seccompgen.kernel.fetch import fetch  # noqa: PLC0415 - requests takes 60 ms to import
    from seccompgen.kernel.parse import NUMBER_CANDIDATES, parse_numbers  # noqa: PLC0415

    read: list[Tables] = []
    for tag in tags:

        def tell(done: int, total: int, before: int = len(read)) -> None:
            if progress:
                progress(before * total + done, len(tags) * total)

        files = fetch(source, tag, NUMBER_CANDIDATES, progress=tell, cache=cache_directory())
        read.append(parse_numbers(tag, files))
    since, conflicts = rewrite(tables.facts.since, read)
    facts = replace(tables.facts, since=since)
    return replace(tables, facts=facts), HistoryRead(tags, conflicts)
