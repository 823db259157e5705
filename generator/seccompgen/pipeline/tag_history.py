"""The history of calls, derived anew from the tables of many tags."""

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

_WRITE = "such as v5.10.., v5.10..v6.1 or v5.10,v6.1"


@dataclass(frozen=True, slots=True)
class HistoryRead:
    """The mainline tags whose tables were read, and the conflicts with the known history.

    ``changed`` counts the first releases, each of a call on an ABI, that were corrected.
    """

    tags: tuple[str, ...]
    changed: int
    conflicts: tuple[Conflict, ...]


def mainline_tags(text: str, last: str) -> tuple[str, ...]:
    """Return the tags of the mainline releases in ``text``, in their order.

    ``text`` has single releases and ranges with both ends, separated by commas:
    ``v5.10,v6.1..v6.4``. A range without an end goes up to the release of the tag ``last``. Raises
    InputError for anything else, and for releases whose tables cannot be read.
    """
    releases: list[Release] = []
    for part in text.split(","):
        first, dots, end = part.partition("..")
        begin = _mainline(first)
        until = begin if not dots else _mainline(end) if end else Release.parse(last)
        if begin > until or (releases and begin <= releases[-1]):
            raise InputError(f"--history {text}: write the oldest release first; {_WRITE}")
        releases.append(begin)
        while releases[-1] < until:
            releases.append(releases[-1].next)
    return tuple(f"v{one}" for one in releases)


def _mainline(text: str) -> Release:
    try:
        found = Release.parse(text)
    except InputError as error:
        raise InputError(f"--history: {error}; {_WRITE}") from None
    if text.removeprefix("v") != str(found):
        # Stable releases have calls that were backported to them.
        raise InputError(f"--history: {text} is no mainline release, v{found} is")
    release(f"v{found}")
    return found


def with_history(
    tables: Tables,
    tags: tuple[str, ...],
    source: str | None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tables, HistoryRead]:
    """Return ``tables`` with their history corrected by the tables of mainline ``tags``.

    ``source`` is any that `fetch` accepts, and must have all of ``tags``.
    """
    from seccompgen.kernel.fetch import fetch  # noqa: PLC0415 - requests takes 60 ms to import
    from seccompgen.kernel.parse import NUMBER_CANDIDATES, parse_numbers  # noqa: PLC0415

    read: list[Tables] = []
    for tag in tags:

        def report(done: int, total: int, before: int = len(read)) -> None:
            if progress:
                progress(before * total + done, len(tags) * total)

        files = fetch(source, tag, NUMBER_CANDIDATES, progress=report, cache=cache_directory())
        read.append(parse_numbers(tag, files))
    known = tables.facts.since
    since, conflicts = rewrite(known, read)
    changed = sum(
        known.get(abi, {}).get(call) != one
        for abi, calls in since.items()
        for call, one in calls.items()
    )
    facts = replace(tables.facts, since=since)
    return replace(tables, facts=facts), HistoryRead(tags, changed, conflicts)
