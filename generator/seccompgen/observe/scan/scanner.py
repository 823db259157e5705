"""One scan, end to end: files, code that can run, numbers, what is made on its behalf."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, OutsideError, Position
from seccompgen.observe.scan.analysis import alone, analyse
from seccompgen.observe.scan.binary import read_binary
from seccompgen.observe.scan.elf import image_of
from seccompgen.observe.scan.found import Implied, Scan, Site, Unknown
from seccompgen.observe.scan.graph import explore
from seccompgen.observe.scan.idioms import resolve
from seccompgen.observe.scan.layout import machine_for
from seccompgen.observe.scan.libraries import load
from seccompgen.observe.scan.unknown import Why
from seccompgen.observe.scan.values import Follower

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from seccompgen.core.tables import Table, Tables
    from seccompgen.observe.scan.analysis import Spread
    from seccompgen.observe.scan.graph import Graph
    from seccompgen.observe.scan.image import Image
    from seccompgen.observe.scan.kept import Kept
    from seccompgen.observe.scan.values import Value
    from seccompgen.observe.scan.ways import Place

_PACKAGES = {"capstone": "capstone", "elftools": "pyelftools"}

_RESTARTED = "the kernel makes it to go on after a signal"
_FROM_SIGNALS = "the kernel's trampoline makes it to return from a signal handler"
_VDSO = "the vDSO makes it where it cannot answer by itself"
_VDSO_CALLS = (
    *("clock_gettime", "clock_getres", "gettimeofday", "getrandom"),
    *("clock_gettime64", "clock_getres_time64"),
)


@dataclass(frozen=True, slots=True)
class Means:
    """Means of a scan: processes, results of earlier ones, and who is told how far it is."""

    spread: Spread = alone
    kept: Kept | None = None
    report: Callable[[int, int], None] | None = None


ALONE = Means()


def scan(
    path: Path,
    tables: Tables,
    libraries: Sequence[Path],
    directories: Sequence[Path],
    root: Path,
    means: Means = ALONE,
) -> Scan:
    """Find what the program at ``path`` can call.

    ``libraries`` are further ones that it loads while it runs; libraries are looked for in
    ``directories`` and, as ld.so does, below ``root``. Raises InputError for a file that cannot be
    scanned, OutsideError where the packages for it are not installed.

    ``means`` do not affect the result.
    """
    missing = [name for module, name in _PACKAGES.items() if not importlib.util.find_spec(module)]
    if missing:
        raise OutsideError(
            f"scan needs {' and '.join(missing)}, which this Python does not have: "
            "pip install 'seccompgen[scan]'"
        )
    program = read_binary(path)
    if program.abi.name not in tables.tables:
        raise InputError(f"Linux {tables.tag} has no {program.abi.name}")
    binaries = load(program, libraries, directories, root)
    extra = {str(one) for one in libraries}
    loaded = [i for i, binary in enumerate(binaries) if binary.path in extra]
    result = means.kept.result(binaries, loaded) if means.kept else None
    if result:
        return result
    images = tuple(map(image_of, binaries))
    if program.abi.name == "i386" and not images[0].is_only_go:
        raise InputError(
            Diagnostic(
                "is a 32-bit x86 program; of these, scan reads those of Go only, without C",
                Position(str(path)),
            )
        )
    kept = [means.kept.analysis(image) if means.kept else None for image in images]
    new = tuple(image for image, known in zip(images, kept, strict=True) if known is None)
    made = dict(zip(new, analyse(new, means.spread, means.report), strict=True))
    found = [known or made[image] for image, known in zip(images, kept, strict=True)]
    graph = explore(images, machine_for(program.abi), found, loaded)
    result = _result(str(path), graph, tables.tables[program.abi.name])
    if means.kept:
        means.kept.add(made.items(), (binaries, loaded, result))
    return result


def _result(path: str, graph: Graph, table: Table) -> Scan:
    images = graph.images
    sites, unknown = _sites(graph, table)
    unknown |= {_unknown(graph, place, *reason) for place, reason in graph.unclear.items()}
    implied = tuple(_implied(images, table, {site.name for site in sites}))
    return Scan(
        path=path,
        abi=images[0].abi,
        is_go=images[0].is_go,
        files=tuple((image.path, image.sha256) for image in images),
        sites=sites,
        implied=implied,
        unknown=tuple(sorted(unknown)),
        notes=tuple(_notes(graph, {site.name for site in sites})),
    )


def _sites(graph: Graph, table: Table) -> tuple[tuple[Site, ...], set[Unknown]]:
    follower = Follower(graph)
    values: dict[Value, None] = {}
    unknown: set[Unknown] = set()
    for entrance in graph.entrances:
        if entrance.foreign:
            unknown.add(_unknown(graph, entrance.place, Why.FOREIGN))
        else:
            values.update(dict.fromkeys(follower.numbers(entrance.place)))
    sites: set[Site] = set()
    for value in resolve(follower, values, table.numbers.get):
        path, function = _where(graph, value.site)
        name = table.names.get(value.number) if value.number is not None else None
        if name is not None and value.number is not None:
            sites.add(Site(path, value.site.address, function, name, value.number))
        elif value.number is not None:
            what = f"Linux {table.tag} has no call of the number {value.number:#x}"
            unknown.add(Unknown(path, value.site.address, function, _kind(Why.NO_CALL), what))
        else:
            at = ""
            if value.lost is not None and value.lost != value.site:
                at = f"at {_shown(graph, value.lost, besides=value.site)}"
            detail = ", ".join(filter(None, (value.detail, at)))
            unknown.add(_unknown(graph, value.site, value.reason or Why.NO_CODE, detail))
    return tuple(sorted(sites)), unknown


def _unknown(graph: Graph, place: Place, why: Why, detail: str = "") -> Unknown:
    path, function = _where(graph, place)
    reason = why.value + (f" ({detail})" if detail else "")
    return Unknown(path, place.address, function, _kind(why), reason, why.leads_on)


def _kind(why: Why) -> str:
    return why.name.lower()


def _where(graph: Graph, place: Place) -> tuple[str, str]:
    image = graph.images[place.image]
    return image.path, image.function_at(place.address)


def _shown(graph: Graph, place: Place, besides: Place) -> str:
    path, function = _where(graph, place)
    shown = f"{place.address:#x}"
    if function:
        shown += f" ({function})"
    return shown if place.image == besides.image else f"{shown} of {Path(path).name}"


def _implied(images: Sequence[Image], table: Table, made: set[str]) -> Iterator[Implied]:
    """Yield what is called without an instruction of ``images``, or may be.

    On x86_64 a program returns from a signal by an instruction of its own; elsewhere the vDSO
    has it.
    """
    if "restart_syscall" in table.numbers:
        yield Implied("restart_syscall", _RESTARTED)
    if "rt_sigaction" in made:
        for name in ("rt_sigreturn", "sigreturn"):
            if name in table.numbers:
                yield Implied(name, _FROM_SIGNALS)
    for name in _VDSO_CALLS:
        known = [f"__{prefix}_{name}".encode() for prefix in ("vdso", "kernel")]
        uses = any(image.mentions(symbol) for image in images for symbol in known)
        if uses and name in table.numbers:
            yield Implied(name, _VDSO)


def _notes(graph: Graph, made: set[str]) -> Iterator[str]:
    """Yield what the result does not cover, of this program."""
    program = graph.images[0]
    if program.is_go:
        yield "all of a Go program counts as code that can run: its linker removes what cannot"
    else:
        yield "a function whose address is taken counts as called: who calls it is not followed"
    if program.interpreter:
        yield (
            "libraries that are loaded while it runs (dlopen, NSS, iconv) are not seen; name them "
            "with --library"
        )
    if made & {"execve", "execveat"}:
        yield "programs that it starts are not seen; scan them, too"
