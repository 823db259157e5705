"""Values that the processes of one run of the tests make once: whoever needs one first makes it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cpu_budget import apart

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


def once_a_run(name: str, make: Callable[[], _T]) -> _T:
    """Return what ``make`` returns, kept as ``name`` where `own_cache` has this run's files.

    The code does not change during a run, so a name says all that decides the value.
    """
    kept = Path(os.environ["XDG_CACHE_HOME"]) / f"{name}.pickle"
    if kept.exists():
        found: _T = pickle.loads(kept.read_bytes())
        return found
    with apart():
        made = make()
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(pickle.dumps(made))
    unfinished.replace(kept)
    return made
