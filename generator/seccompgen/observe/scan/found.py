"""What a scan found, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """A place in the code that determines a call.

    It is the instruction that enters the kernel, or the call of a function that is handed the
    number. ``address`` is that of the file ``path``, before it is loaded; ``function`` is the name
    around it, empty where the file has none.
    """

    path: str
    address: int
    function: str
    name: str
    number: int


@dataclass(frozen=True, slots=True, order=True)
class Unknown:
    """A place where something could not be determined, and why.

    It is the number that the kernel is entered with; where ``leads_on`` is True, it is the code
    that can run from there. ``kind`` is the name of a `Why`, ``reason`` a sentence to read.
    """

    path: str
    address: int
    function: str
    kind: str
    reason: str
    leads_on: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Implied:
    """A call that is made on the program's behalf, by no instruction of its files."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What one program can call.

    ``files`` are those that were read, the program first, each with its sha256. ``notes`` say what
    the result does not cover.
    """

    path: str
    abi: Abi
    is_go: bool
    files: tuple[tuple[str, str], ...]
    sites: tuple[Site, ...]
    implied: tuple[Implied, ...]
    unknown: tuple[Unknown, ...]
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The calls, sorted."""
        return tuple(
            sorted({site.name for site in self.sites} | {one.name for one in self.implied})
        )
