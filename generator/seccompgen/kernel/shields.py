"""Shields: the calls that reach holes of Linux and of sandboxes, by the holes' CVE.

The table is ``shields.toml``, for people to review. A filter that refuses the calls of a shield
closes all of its holes; one that permits some of them leaves them open.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FILE = Path(__file__).with_name("shields.toml")
_NAMESPACE = "user-namespace"


class Shield(NamedTuple):
    """Rules that close holes: ``refuse`` has a call each, or "CALL when CONDITION".

    ``title`` is what the calls reach; ``holes`` has the source of each hole by its CVE.
    ``capability`` is what a process needs as well, where a new user namespace gives it; "" if
    anybody may make these calls.
    """

    name: str
    title: str
    refuse: tuple[str, ...]
    holes: Mapping[str, str]
    capability: str = ""

    @property
    def cves(self) -> str:
        """The CVEs, with commas, the newest first."""
        return ", ".join(self.holes)


@lru_cache(maxsize=1)
def shields() -> tuple[Shield, ...]:
    """Return the shields, in the order of the file."""
    return tuple(
        Shield(name, one["title"], tuple(one["refuse"]), one["holes"], one["capability"])
        for name, one in _read()["shields"].items()
    )


@lru_cache(maxsize=1)
def user_namespace() -> tuple[str, ...]:
    """Return the rules for the calls that give a process a user namespace."""
    return tuple(_read()[_NAMESPACE]["refuse"])


def find_shield(name: str) -> Shield | None:
    """Return the shield of a name, or of the CVE of one of its holes; None if there is none."""
    return next((one for one in shields() if name in {one.name, *one.holes}), None)


def shield_names() -> Iterator[str]:
    """Yield the names that `find_shield` knows, the CVEs first."""
    for one in shields():
        yield from one.holes
    for one in shields():
        yield one.name


def _read() -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - few commands need the table

    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
