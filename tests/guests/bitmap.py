"""The calls that the kernel's bitmap should have, against the times that calls took."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guests.plan import Probe


def differences(
    probes: Sequence[Probe], times: Sequence[Sequence[int]], *, has_bitmap: bool
) -> list[str]:
    """Say which calls took the time of the other kind, in nanoseconds.

    Each probe has calls of both kinds, so they are compared under one filter, within milliseconds.
    """
    if not has_bitmap:
        return []
    found = []
    for probe, taken in zip(probes, times, strict=True):
        by_kind: dict[bool, list[int]] = {True: [], False: []}
        for (_, cached), nanoseconds in zip(probe.cached, taken, strict=True):
            by_kind[cached].append(nanoseconds)
        if not 0 < max(by_kind[True]) < min(by_kind[False]):
            found.append(f"bitmap: its calls took {by_kind[True]} ns, others {by_kind[False]}")
    return found
