"""The ages of calls: whether a call on an ABI is newer than a kernel release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.releases import Release

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seccompgen.core.releases import Introduced
    from seccompgen.core.tables import Table, Tables


class Ages:
    """A test for calls that are newer than a release."""

    def __init__(self, tables: Tables, release: Release) -> None:
        self._tables, self._release = tables, release
        self._since = tables.since
        self._of_old_tables = Release.parse(tables.tag) <= release
        self._births: dict[str, Release] = {}

    def is_newer(self, abi: str, call: str) -> bool:
        """Return True unless the release is known to have ``call`` on ``abi``.

        If the ABI itself is newer than the release, the calls that it had from its beginning count
        as old if the release has them on any other ABI.
        """
        introduced = self._since.of(abi, call)
        if introduced is None:
            # It is newer than the recorded history, but not newer than the tables, which have it.
            return not self._of_old_tables
        if introduced.surely_by(self._release):
            return False
        born = self._born(abi)
        began_with = born > self._release and introduced.surely_by(born)
        return not (began_with and any(map(self._has, self._anywhere(call))))

    def is_sure(self, table: Table, call: str) -> bool:
        """Return True if the release is known not to have ``call``, or its age is not recorded."""
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
    """Return the release of ``tables``, as a policy's ``kernel`` spells it.

    None if the tables contain calls of later releases, as those of stable tags may: such calls
    would count as newer than the release.
    """
    release = Release.parse(tables.tag)
    ages = Ages(tables, release)
    late = any(ages.is_newer(abi, call) for abi in abis for call in tables.tables[abi].numbers)
    return None if late else f"v{release}"
