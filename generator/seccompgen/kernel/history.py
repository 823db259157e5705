"""Compute the first release of each call from the tables of releases, and from older facts.

A call exists from the first release whose tables name it, even if that kernel answers ENOSYS. The
tables must be those of mainline releases: stable ones contain backports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.releases import Introduced, Release

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seccompgen.core.tables import Tables

    Calls = Mapping[str, Mapping[str, Introduced]]
    """First releases, by ABI and call."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A recorded first release, ``known``, that the tables contradict.

    ``seen`` is the first release whose tables have the call. It is None if no table has the call,
    although ``known`` lies within their releases.
    """

    abi: str
    call: str
    known: Introduced
    seen: Introduced | None

    @property
    def said(self) -> str:
        """A description of the conflict, and of its resolution."""
        if self.seen is None:
            return f"known since {self.known}, but in no table that was read; kept"
        return f"known since {self.known}, by the tables {self.seen}, which count"


def observe(releases: Iterable[Tables]) -> dict[str, dict[str, Introduced]]:
    """Return the first releases by tables alone; ``releases`` must be in order.

    Calls of the first tables may be older than these. If ``releases`` skips some, the range of a
    call includes the skipped ones.
    """
    found: dict[str, dict[str, Introduced]] = {}
    before: Release | None = None
    for tables in releases:
        now = Release.parse(tables.tag)
        introduced = Introduced(min(before.next, now) if before else None, now)
        for abi, table in tables.tables.items():
            calls = found.setdefault(abi, {})
            for call in table.numbers:
                calls.setdefault(call, introduced)
        before = now
    return found


def advance(known: Calls, *tables: Tables) -> Calls:
    """Return ``known`` with the calls of ``tables`` that it lacks, as an update to a new tag needs.

    Entries of ``known`` do not change.
    """
    seen = observe(sorted(tables, key=lambda one: Release.parse(one.tag)))
    new = {
        abi: {call: one for call, one in calls.items() if call not in known.get(abi, {})}
        for abi, calls in seen.items()
    }
    if not any(new.values()):
        return known
    return {abi: {**known.get(abi, {}), **new.get(abi, {})} for abi in {**known, **new}}


def rewrite(known: Calls, releases: Iterable[Tables]) -> tuple[Calls, tuple[Conflict, ...]]:
    """Return ``known``, corrected by the tables of mainline ``releases``, which must be in order.

    ``known`` may be more precise than the tables: ``5.3-5.4`` stays if these begin with 5.10. If
    the two contradict each other, the tables win.
    """
    read = list(releases)
    seen = observe(read)
    first, last = (Release.parse(read[at].tag) for at in (0, -1))
    conflicts: list[Conflict] = []
    result: dict[str, dict[str, Introduced]] = {}
    for abi in {**known, **seen}:
        old, new = known.get(abi, {}), seen.get(abi, {})
        result[abi] = calls = {}
        for call in sorted({**old, **new}):
            if call not in new:
                calls[call] = old[call]
                within = old[call].earliest or first
                if within > first and old[call].latest <= last:
                    conflicts.append(Conflict(abi, call, old[call], None))
                continue
            both = _both(old[call], new[call]) if call in old else new[call]
            if both is None:
                conflicts.append(Conflict(abi, call, old[call], new[call]))
            calls[call] = both or new[call]
    return result, tuple(conflicts)


def _both(known: Introduced, seen: Introduced) -> Introduced | None:
    """Return the range of releases that both allow; None if there is none."""
    bounds = [one.earliest for one in (known, seen) if one.earliest]
    earliest = max(bounds, default=None)
    latest = min(known.latest, seen.latest)
    if earliest and earliest > latest:
        return None
    return Introduced(earliest, latest)
