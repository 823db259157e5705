"""One scan, end to end: files, code that can run, numbers of calls, and implied calls."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, OutsideError, Position
from seccompgen.pipeline.pool import collecting_rarely
from seccompgen.scan.analysis import alone, analyse
from seccompgen.scan.binary import read_binary
from seccompgen.scan.debug_files import debug_place
from seccompgen.scan.elf import image_of
from seccompgen.scan.gates import calls_of_loader
from seccompgen.scan.graph import explore
from seccompgen.scan.idioms import resolve
from seccompgen.scan.layout import machine_for
from seccompgen.scan.libraries import System, load
from seccompgen.scan.phase import after_start
from seccompgen.scan.reasons import call_paths, imported_calls
from seccompgen.scan.result import Caller, Caveat, ImpliedCall, Scan, Site, Spot, Unknown
from seccompgen.scan.source_lines import SourceLines
from seccompgen.scan.unknown import Why
from seccompgen.scan.unknown_functions import assume, unknown_functions
from seccompgen.scan.values import NumberFollower

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from seccompgen.core.tables import Table, Tables
    from seccompgen.scan.analysis import Spread
    from seccompgen.scan.binary import Binary
    from seccompgen.scan.graph import CodeGraph
    from seccompgen.scan.image import Image
    from seccompgen.scan.kept import Kept
    from seccompgen.scan.result import Assumption
    from seccompgen.scan.values import EnteredNumber
    from seccompgen.scan.ways import ImageAddress


_VDSO_CALLS = (
    *("clock_gettime", "clock_getres", "gettimeofday", "getrandom"),
    *("clock_gettime64", "clock_getres_time64"),
)


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """Options that do not affect a result: processes, earlier results, a report of progress."""

    spread: Spread = alone
    kept: Kept | None = None
    report: Callable[[int, int], None] | None = None


ALONE = ScanOptions()


@dataclass(frozen=True, slots=True)
class Questions:
    """Further questions about a program.

    ``without`` are imports that it is taken not to use. ``why`` are calls to show the shortest way
    to; with ``by_import``, the result has the calls that each import leads to.
    What comes before ``after``, a function, is first called does not count, if that has a name.
    ``assumed`` is what the user says of unknown locations. With ``details``, the result describes
    the functions with others.
    """

    without: frozenset[str] = frozenset()
    why: frozenset[str] = frozenset()
    by_import: bool = False
    after: str = ""
    assumed: tuple[Assumption, ...] = ()
    details: bool = False


NO_QUESTIONS = Questions()


def require_disassembler() -> None:
    """Raise OutsideError if capstone is not installed."""
    if not importlib.util.find_spec("capstone"):
        raise OutsideError(
            "scan needs capstone, which is not installed: pip install 'seccompgen[scan]'"
        )


@collecting_rarely()
def scan(
    path: Path,
    tables: Tables,
    libraries: Sequence[Path],
    directories: Sequence[Path],
    root: Path,
    means: ScanOptions = ALONE,
    asked: Questions = NO_QUESTIONS,
    *,
    is_image: bool = False,
) -> Scan:
    """Find the calls that the program at ``path`` can make.

    ``libraries`` are further ones that it loads while it runs; libraries are searched for in
    ``directories`` and, as by ld.so, below ``root``. If ``is_image``, all these are below it, and
    the result has their names there. Raises InputError for a file that cannot be
    scanned, OutsideError if capstone is not installed.

    ``means`` do not affect the result.
    """
    require_disassembler()
    system = System(root, tuple(directories), is_image)
    program = system.read(path)
    if program.abi.name not in tables.tables:
        raise InputError(f"Linux {tables.tag} has no {program.abi.name}")
    binaries = load(program, libraries, system)
    loaded = [i for i, binary in enumerate(binaries) if binary.place in libraries]
    is_plain = replace(asked, details=False) == NO_QUESTIONS
    result = means.kept.result(binaries, loaded) if means.kept and is_plain else None
    if result and not (asked.details and result.unknown):
        return result
    images = tuple(map(image_of, binaries))
    if program.abi.name == "i386" and not images[0].is_only_go:
        raise InputError(
            Diagnostic(
                "is a 32-bit x86 program; of these, scan reads those of Go only, without C",
                Position(program.path),
            )
        )
    kept = [means.kept.analysis(image) if means.kept else None for image in images]
    new = tuple(image for image, known in zip(images, kept, strict=True) if known is None)
    made = dict(zip(new, analyse(new, means.spread, means.report), strict=True))
    found = [known or made[image] for image, known in zip(images, kept, strict=True)]
    graph = explore(images, machine_for(program.abi), found, loaded, asked.without)
    caveats = frozenset[Caveat]()
    if asked.after:
        graph, caveats = after_start(graph, found, loaded, asked.without, asked.after)
    table = tables.tables[program.abi.name]
    result, requested = _result(program.path, graph, table, is_later=bool(asked.after))
    if means.kept:
        new_facts = [(image.key, one) for image, one in made.items()]
        means.kept.add(new_facts, (binaries, loaded, result) if is_plain else None)
    if asked.assumed:
        result, more = assume(result, graph, table.numbers, asked.assumed)
        requested = (*requested, *more)
    if asked.details and result.unknown:
        result = replace(
            result, unclear=unknown_functions(graph, result.unknown, _lines_of(system, binaries))
        )
    result = replace(result, caveats=(*result.caveats, *sorted(caveats)))
    return result if is_plain else _answered(result, requested, graph, asked)


def _lines_of(system: System, binaries: Sequence[Binary]) -> Callable[[ImageAddress], str]:
    """Return what finds source lines: in a file itself, or in its debug file."""

    @lru_cache(maxsize=4)
    def lines(image: int) -> SourceLines:
        binary = binaries[image]
        debug = debug_place(binary.build_id) if binary.build_id else ""
        return SourceLines(binary.place, system.file(system.root / debug) if debug else None)

    return lambda place: lines(place.image).at(place.address)


def _answered(result: Scan, requested: Iterable[Site], graph: CodeGraph, asked: Questions) -> Scan:
    """Return ``result`` with the answers to the questions ``asked``."""
    return replace(
        result,
        without=tuple(sorted(asked.without & graph.images[0].imports)),
        after=asked.after,
        paths=call_paths(graph, [one for one in requested if one.name in asked.why]),
        imports=imported_calls(graph, requested) if asked.by_import else (),
    )


def imports_of(path: Path) -> frozenset[str]:
    """Return the names that the program at ``path`` imports; raises as `scan` does."""
    require_disassembler()
    return image_of(read_binary(path)).imports


def _result(
    path: str, graph: CodeGraph, table: Table, *, is_later: bool
) -> tuple[Scan, tuple[Site, ...]]:
    """Return the result, and its sites without those that repeat the calls of others.

    If ``is_later``, the program may have set handlers for signals before.
    """
    images = graph.images
    sites, echoes, unknown, gates = _sites(graph, table)
    unknown |= {_unknown(graph, place, *reason) for place, reason in graph.unclear.items()}
    before = {"rt_sigaction"} if is_later else set[str]()
    implied = tuple(_implied(images, table, before | {site.name for site in sites}))
    result = Scan(
        path=path,
        abi=images[0].abi,
        is_go=images[0].is_go,
        files=tuple((image.path, image.sha256) for image in images),
        sites=sites,
        implied=implied,
        unknown=tuple(sorted(unknown)),
        caveats=(*_caveats(graph, {site.name for site in sites}), *sorted(gates)),
    )
    return result, tuple(site for site in sites if site not in echoes)


def _sites(
    graph: CodeGraph, table: Table
) -> tuple[tuple[Site, ...], set[Site], set[Unknown], set[Caveat]]:
    """Return the sites, those that repeat the calls of others, what is unknown, and the gates."""
    follower = NumberFollower(graph)
    values: dict[EnteredNumber, None] = {}
    unknown: set[Unknown] = set()
    for entrance in graph.entrances:
        if entrance.foreign:
            unknown.add(_unknown(graph, entrance.place, Why.FOREIGN))
        else:
            values.update(dict.fromkeys(follower.numbers(entrance.place)))
    sites: set[Site] = set()
    echoes: set[Site] = set()
    gates = set(graph.gates)
    of_loader = calls_of_loader(graph.images)
    for value in resolve(follower, values, table.numbers.get):
        name = None if value.number is None else table.names.get(value.number)
        if value.number is None:
            why = value.reason or Why.NO_CODE
            unknown.add(_unknown(graph, value.site, why, value.detail, value.lost))
        elif name is None:
            unknown.add(_unknown(graph, value.site, Why.NO_CALL, f"{value.number:#x}"))
        elif name in of_loader and value.site.image == 1:
            gates.add(of_loader[name])
        else:
            site = Site(*_spot(graph, value.site), name, value.number)
            sites.add(site)
            if value.is_echo:
                echoes.add(site)
    return tuple(sorted(sites)), echoes, unknown, gates


def _unknown(
    graph: CodeGraph,
    place: ImageAddress,
    why: Why,
    detail: str = "",
    lost: ImageAddress | None = None,
) -> Unknown:
    return Unknown(*_spot(graph, place), why, detail, _spot(graph, lost or place))


def _spot(graph: CodeGraph, place: ImageAddress) -> Spot:
    image = graph.images[place.image]
    return Spot(image.path, place.address, image.function_at(place.address))


def _implied(images: Sequence[Image], table: Table, made: set[str]) -> Iterator[ImpliedCall]:
    """Yield the calls that may be made without an instruction of ``images``.

    On x86_64 a program returns from a signal by its own instruction; elsewhere the vDSO does it.
    """
    if "restart_syscall" in table.numbers:
        yield ImpliedCall("restart_syscall", Caller.RESTART)
    if "rt_sigaction" in made:
        for name in ("rt_sigreturn", "sigreturn"):
            if name in table.numbers:
                yield ImpliedCall(name, Caller.SIGNAL_RETURN)
    for name in _VDSO_CALLS:
        known = [f"__{prefix}_{name}".encode() for prefix in ("vdso", "kernel")]
        uses = any(image.mentions(symbol) for image in images for symbol in known)
        if uses and name in table.numbers:
            yield ImpliedCall(name, Caller.VDSO)


def _caveats(graph: CodeGraph, made: set[str]) -> Iterator[Caveat]:
    yield Caveat.GO_WHOLE if graph.images[0].is_go else Caveat.POINTERS
    if graph.images[0].interpreter:
        yield Caveat.LOADED
    if made & {"execve", "execveat"}:
        yield Caveat.STARTED
