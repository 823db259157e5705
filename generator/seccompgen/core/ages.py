"""The ages of calls: those that are newer than a release, on one ABI or another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.releases import Release

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.releases import Introduced
    from seccompgen.core.tables import Table, Tables


class Ages:
    """Tells which calls are newer than a release."""

    def __init__(self, tables: Tables, release: Release) -> None:
        self._tables, self._release = tables, release
        self._since = tables.since
        self._of_old_tables = Release.parse(tables.tag) <= release
        self._births: dict[str, Release] = {}

    def is_newer(self, abi: str, call: str) -> bool:
        """Return True unless it is known that the release has ``call`` on ``abi``.

        An ABI that came later began with calls that its elder ones had: those are old.
        """
        introduced = self._since.of(abi, call)
        if introduced is None:
            # It came after all that is known, but not after the tables that have it.
            return not self._of_old_tables
        if introduced.surely_by(self._release):
            return False
        born = self._born(abi)
        began_with = born > self._release and introduced.surely_by(born)
        return not (began_with and any(map(self._has, self._anywhere(call))))

    def is_sure(self, table: Table, call: str) -> bool:
        """Return True if it is known that the release does not have ``call``."""
        introduced = self._since.of(table.abi.name, call)
        return introduced is None or introduced.surely_after(self._release)

    def _born(self, abi: str) -> Release:
        if abi not in self._births:
            calls = self._since.calls[abi].values()
            self._births[abi] = min(one.latest for one in calls)
        return self._births[abi]

    def _anywhere(self, call: str) -> Iterator[Introduced]:
        return (calls[call] for calls in self._since.calls.values() if call in calls)

    def _has(self, introduced: Introduced) -> bool:
        return introduced.surely_by(self._release)


def release_known(tables: Tables, abis: Iterable[str]) -> str | None:
    """Return the release of ``tables`` as a policy says it, for one that judges all their calls.

    None where they have calls of later releases, as stable tags may: they would count as newer.
    """
    release = Release.parse(tables.tag)
    ages = Ages(tables, release)
    late = any(ages.is_newer(abi, call) for abi in abis for call in tables.tables[abi].numbers)
    return None if late else f"v{release}"
