"""The facts of `inside.ring_facts` that are expected of each kernel, by its release."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from guests.inside import ring_dry
from interpreter import ACCEPTED
from ring_context import pdu_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from guests.machines import Guest
    from ring_context import Release

_ACCES, _CANCELED, _INVAL, _BADF = -errno.EACCES, -errno.ECANCELED, -errno.EINVAL, -errno.EBADF

KEPT = (7, 1, 8)
"""The first release that keeps filters at exec."""
OWN = (7, 3, -1)
"""The first release, or candidate, known not to share filters between a parent and its children."""


def wanted(of: Release) -> dict[str, Any]:
    """Return each fact of a release."""
    shared = of < OWN
    return {
        "sizes": [*(pdu_size(operation, of) for operation in range(ring_dry.LAST)), _INVAL],
        "accepted": sorted(ACCEPTED),
        "longest": ["done", "EINVAL", "EINVAL", "done", "EINVAL", "EINVAL"],
        "rights": ["EACCES", "done", "done", str(_ACCES)],
        "stack": [_ACCES, _ACCES, _ACCES],
        "rest": [0, _ACCES, _ACCES],
        "submission": [2, [0, _ACCES], 3, [0, _ACCES, 0]],
        "chains": [[_CANCELED, _ACCES], [_ACCES, _CANCELED]] * 2,
        "threads": [_BADF, _ACCES],
        "forks": _ACCES,
        "shared": [_ACCES, _ACCES] if shared else [_BADF, _BADF],
        "exec_after_a_ring": _ACCES if of >= KEPT else 0,
        "exec_without_a_ring": _ACCES,
        "armed": [1, _ACCES],
        "multishot": [[0, _ACCES]] * 3,
        "disabled": _ACCES,
        "resized": [_ACCES, 0, *(_ACCES, _ACCES, _BADF) * 2],
        "unknown": _INVAL,
        "harmless": {
            "free": [ring_dry.permitted(operation) for operation in range(ring_dry.LAST)],
            # A chain whose head is refused tells no more of its timeout.
            "refused": [
                _CANCELED if operation == ring_dry.LINK_TIMEOUT else _ACCES
                for operation in range(ring_dry.LAST)
            ],
        },
    }


def differences(_: Guest, of: Release, report: Mapping[str, Any]) -> Iterator[str]:
    """Yield facts that are not what they should be."""
    for name, value in wanted(of).items():
        seen = report.get(name)
        if name == "harmless" and isinstance(seen, dict) and "free" in seen:
            for how, results in value.items():
                for operation, result in enumerate(results):
                    if operation not in ring_dry.NEVER and seen[how][operation] != result:
                        yield f"{how}, operation {operation}: {seen[how][operation]}, not {result}"
        elif seen != value:
            yield f"{name}: {seen}, not {value}"
