"""The result of a scan, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from seccompgen.core.abis import Abi
    from seccompgen.scan.unknown import Why


class Caller(StrEnum):
    """Who makes a call on a program's behalf. The value is its code."""

    RESTART = "restart"
    """the kernel, to go on after a signal"""
    SIGNAL_RETURN = "signal_return"
    """the kernel's trampoline, to return from a signal handler"""
    VDSO = "vdso"
    """the vDSO, where it cannot answer by itself"""


class Caveat(StrEnum):
    """Something that a result does not cover, or covers too widely. The value is its code."""

    GO_WHOLE = "go_whole"
    """all of a Go program counts as code that can run"""
    POINTERS = "pointers"
    """a function whose address is taken counts as called"""
    LOADED = "loaded"
    """libraries that are loaded while it runs are not seen"""
    STARTED = "started"
    """programs that it starts are not seen"""


class Spot(NamedTuple):
    """An address of a file, and the name of the function around it, if it has one."""

    path: str
    address: int
    function: str


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

    It is the number that the kernel is entered with; where ``why.leads_on``, it is the code that
    can run from there. ``detail`` is an instruction, a name or a number that tells more. ``lost``
    is where the number could not be followed further, perhaps the place itself.
    """

    path: str
    address: int
    function: str
    why: Why
    detail: str
    lost: Spot


@dataclass(frozen=True, slots=True, order=True)
class ImpliedCall:
    """A call that is made on the program's behalf, by no instruction of its files."""

    name: str
    origin: Caller


@dataclass(frozen=True, slots=True)
class Scan:
    """The calls that one program can make.

    ``files`` are those that were read, the program first, each with its sha256. ``caveats`` say
    what the result does not cover.
    """

    path: str
    abi: Abi
    is_go: bool
    files: tuple[tuple[str, str], ...]
    sites: tuple[Site, ...]
    implied: tuple[ImpliedCall, ...]
    unknown: tuple[Unknown, ...]
    caveats: tuple[Caveat, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The calls, sorted."""
        return tuple(
            sorted({site.name for site in self.sites} | {one.name for one in self.implied})
        )
