"""The result of a scan, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.scan.unknown import Why


class Caller(StrEnum):
    """The caller of a call made on a program's behalf. The value is its code in output."""

    RESTART = "restart"
    """the kernel, to restart a call after a signal"""
    SIGNAL_RETURN = "signal_return"
    """the kernel's trampoline, to return from a signal handler"""
    VDSO = "vdso"
    """the vDSO, if it cannot answer by itself"""


class Caveat(StrEnum):
    """Something that a result leaves out or overestimates. The value is its code in output."""

    GO_WHOLE = "go_whole"
    """all of a Go program counts as code that can run"""
    POINTERS = "pointers"
    """a function whose address is taken counts as called"""
    LOADED = "loaded"
    """libraries that the program loads while it runs are not seen"""
    STARTED = "started"
    """programs that the program starts are not seen"""
    LOADER_MODES = "loader_modes"
    """what ld.so does only if it is started as a program, or profiles, is left out"""
    LOADER_TOKENS = "loader_tokens"
    """what ld.so does only for libraries named by $ORIGIN, $LIB or $PLATFORM is left out"""
    PRIORITY_CEILINGS = "priority_ceilings"
    """what only mutexes with a priority ceiling need is left out"""
    ANY_TIME = "any_time"
    """the function since whose call a result counts may be called at any time"""


class Lead(StrEnum):
    """The way in which something leads to a function. The value is its code in output."""

    STARTED = "started"
    """the kernel or the loader starts it: an entry point, initialiser or finaliser"""
    DATA = "data"
    """its address is in the data of a file"""
    LIBRARY = "library"
    """it is exported by a library that the program loads while it runs"""
    GO_WHOLE = "go_whole"
    """all of a Go program can run"""
    INTERPRETER = "interpreter"
    """the program's interpreter looks up its name"""
    IMPORT = "import"
    """a function uses it by its name"""
    LOOKUP = "lookup"
    """a function may look up its name with dlsym()"""
    CALL = "call"
    """a function calls it, or jumps to it"""
    POINTER = "pointer"
    """a function makes its address"""
    LABEL = "label"
    """a function refers to code within it"""
    BEFORE = "before"
    """its address was made before the phase that a result is for"""
    NEXT = "next"
    """a function runs on into it"""
    OBJECT = "object"
    """its address is in data that counts, as something refers to it"""


class Spot(NamedTuple):
    """An address in a file, and the name of the function that contains it, or ""."""

    path: str
    address: int
    function: str


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """A location in the code that determines a call.

    It is the instruction that enters the kernel, or the call of a function that gets the number as
    an argument. ``address`` is in the file ``path``, before loading; ``function`` is the function
    that contains it, empty if unknown.
    """

    path: str
    address: int
    function: str
    name: str
    number: int


@dataclass(frozen=True, slots=True, order=True)
class Unknown:
    """A location where something could not be determined, and why.

    Unknown is the number with which the kernel is entered, or, if ``why.leads_on``, the code that
    can run from there. ``detail`` is an instruction, name or number that explains more. ``lost`` is
    where the number could not be followed further, perhaps the location itself.
    """

    path: str
    address: int
    function: str
    why: Why
    detail: str
    lost: Spot


@dataclass(frozen=True, slots=True, order=True)
class ImpliedCall:
    """A call that is made on the program's behalf, not by an instruction of its files."""

    name: str
    origin: Caller


class PathStep(NamedTuple):
    """A function on the way to a call, and how the one before leads there.

    ``name`` is the one by which it is imported, or "".
    """

    lead: Lead
    spot: Spot
    name: str


class CallPath(NamedTuple):
    """The shortest way from an origin of control to a call, and the location that determines it."""

    steps: tuple[PathStep, ...]
    site: Site


class ImportedCalls(NamedTuple):
    """The calls that an import of the program leads to: those ``alone`` need it, and all."""

    name: str
    alone: tuple[str, ...]
    reached: tuple[str, ...]


class UnknownFunction(NamedTuple):
    """A function with unknown locations, or one such location outside of all functions.

    ``spot`` is its start, in the file with the hash ``sha256``. ``nearest`` is the last name at or
    before it, ``offset`` bytes before, or "". ``called`` is the function that the first of
    ``places`` calls, ``source`` its file and line, each "" if unknown. ``path`` is the shortest way
    to the function.
    """

    spot: Spot
    sha256: str
    nearest: str
    offset: int
    called: str
    source: str
    path: tuple[PathStep, ...]
    places: tuple[Unknown, ...]


class Assumption(NamedTuple):
    """The ``calls`` that the user says the function around ``address`` makes where it is unknown.

    ``sha256`` is the beginning of the hash of the file, whose name is ``file``.
    """

    file: str
    sha256: str
    address: int
    calls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scan:
    """The calls that one program can make.

    ``files`` are those that were read, the program first, each with its sha256. ``caveats`` list
    what the result leaves out or overestimates. ``after`` is the function since whose
    first call it counts, "" for all. ``without`` are imports that the program is taken
    not to use, ``assumed`` what the user says of unknown locations, which ``unknown`` lacks.
    ``paths``, by call, ``imports``, and ``unclear``, the functions of ``unknown``, are there if
    they were asked for.
    """

    path: str
    abi: Abi
    is_go: bool
    files: tuple[tuple[str, str], ...]
    sites: tuple[Site, ...]
    implied: tuple[ImpliedCall, ...]
    unknown: tuple[Unknown, ...]
    caveats: tuple[Caveat, ...]
    without: tuple[str, ...] = ()
    after: str = ""
    paths: Mapping[str, CallPath] = field(default_factory=dict)
    imports: tuple[ImportedCalls, ...] = ()
    unclear: tuple[UnknownFunction, ...] = ()
    assumed: tuple[Assumption, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the calls, sorted."""
        return tuple(
            sorted({site.name for site in self.sites} | {one.name for one in self.implied})
        )
