"""One scan, end to end: files, code that can run, numbers, what is made on its behalf."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from seccompgen.errors import Diagnostic, InputError, OutsideError, Position
from seccompgen.scan.elf import read_image
from seccompgen.scan.found import Implied, Scan, Site, Unknown
from seccompgen.scan.graph import explore
from seccompgen.scan.idioms import resolve
from seccompgen.scan.libraries import load
from seccompgen.scan.values import Follower

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from seccompgen.architectures import Abi
    from seccompgen.scan.graph import Graph
    from seccompgen.scan.image import Image
    from seccompgen.scan.machine import Machine
    from seccompgen.scan.values import Value
    from seccompgen.scan.ways import Place
    from seccompgen.tables import Table, Tables

_PACKAGES = {"capstone": "capstone", "elftools": "pyelftools"}

_RESTARTED = "the kernel makes it to go on after a signal"
_FROM_SIGNALS = "the kernel's trampoline makes it to return from a signal handler"
_VDSO = "the vDSO makes it where it cannot answer by itself"
_FOREIGN = "it enters the kernel by another ABI, which the policy does not allow"
_VDSO_CALLS = (
    *("clock_gettime", "clock_getres", "gettimeofday", "getrandom"),
    *("clock_gettime64", "clock_getres_time64"),
)


def scan(
    path: Path,
    tables: Tables,
    libraries: Sequence[Path],
    directories: Sequence[Path],
    root: Path,
) -> Scan:
    """Find what the program at ``path`` can call.

    ``libraries`` are further ones that it loads while it runs; libraries are looked for in
    ``directories`` and, as ld.so does, below ``root``. Raises InputError for a file that cannot be
    scanned, OutsideError where the packages for it are not installed.
    """
    missing = [name for module, name in _PACKAGES.items() if not importlib.util.find_spec(module)]
    if missing:
        raise OutsideError(
            f"scan needs {' and '.join(missing)}, which this Python does not have: "
            "pip install 'seccompgen[scan]'"
        )
    program = read_image(path)
    if program.abi.name == "i386" and not program.is_go:
        raise InputError(
            Diagnostic(
                "is a 32-bit x86 program; of these, scan reads those of Go only",
                Position(str(path)),
            )
        )
    if program.abi.name not in tables.tables:
        raise InputError(f"Linux {tables.tag} has no {program.abi.name}")
    images = load(program, libraries, directories, root)
    extra = {str(one) for one in libraries}
    loaded = [i for i, image in enumerate(images) if image.path in extra]
    graph = explore(images, _machine(program.abi), loaded)
    table = tables.tables[program.abi.name]
    sites, unknown = _sites(graph, table)
    unknown = tuple(sorted({*unknown, *_unclear(graph)}))
    implied = tuple(_implied(images, table, {site.name for site in sites}))
    return Scan(
        path=str(path),
        abi=program.abi,
        is_go=program.is_go,
        files=tuple((image.path, image.sha256) for image in images),
        sites=sites,
        implied=implied,
        unknown=unknown,
        notes=tuple(_notes(graph, {site.name for site in sites})),
    )


def _machine(abi: Abi) -> Machine:
    from seccompgen.scan.arm64 import Arm64  # noqa: PLC0415 - one of them is needed
    from seccompgen.scan.x86 import X86  # noqa: PLC0415

    return Arm64() if abi.name == "aarch64" else X86(bits=abi.bits)


def _sites(graph: Graph, table: Table) -> tuple[tuple[Site, ...], tuple[Unknown, ...]]:
    follower = Follower(graph)
    values: dict[Value, None] = {}
    unknown: dict[Place, list[str]] = {}
    for entrance in graph.entrances:
        if entrance.foreign:
            unknown.setdefault(entrance.place, []).append(_FOREIGN)
        else:
            values.update(dict.fromkeys(follower.numbers(entrance.place)))
    sites: set[Site] = set()
    for value in resolve(follower, values, table.numbers.get):
        path, function = _where(graph, value.site)
        name = table.names.get(value.number) if value.number is not None else None
        if name is not None and value.number is not None:
            sites.add(Site(path, value.site.address, function, name, value.number))
            continue
        reason = value.reason
        if value.number is not None:
            reason = f"Linux {table.tag} has no call of the number {value.number:#x}"
        elif value.lost is not None and value.lost != value.site:
            reason += f", at {_shown(graph, value.lost, besides=value.site)}"
        unknown.setdefault(value.site, []).append(reason)
    return tuple(sorted(sites)), tuple(
        sorted(
            Unknown(path, place.address, function, " or ".join(sorted(set(reasons))))
            for place, reasons in unknown.items()
            for path, function in [_where(graph, place)]
        )
    )


def _unclear(graph: Graph) -> Iterator[Unknown]:
    """Yield from where it is not known which code can run."""
    for place, why in graph.unclear.items():
        path, function = _where(graph, place)
        yield Unknown(path, place.address, function, why, leads_on=True)


def _where(graph: Graph, place: Place) -> tuple[str, str]:
    image = graph.images[place.image]
    return image.path, image.function_at(place.address)


def _shown(graph: Graph, place: Place, besides: Place) -> str:
    path, function = _where(graph, place)
    shown = f"{place.address:#x}"
    if function:
        shown += f" ({function})"
    return shown if place.image == besides.image else f"{shown} of {path}"


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
