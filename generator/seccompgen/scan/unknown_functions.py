"""The functions with unknown locations: what helps to judge them, and what a user says they call.

An assumption is for one content of a file, which its hash names, so that it does not outlive an
update: the same address is other code then. It is for all unknown locations of a function.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.scan.reasons import paths_to
from seccompgen.scan.result import Site, Spot, UnknownFunction
from seccompgen.scan.ways import Goes, ImageAddress, Imports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from seccompgen.scan.graph import CodeGraph
    from seccompgen.scan.result import Assumption, Scan, Unknown


def assume(
    result: Scan, graph: CodeGraph, numbers: Mapping[str, int], given: Iterable[Assumption]
) -> tuple[Scan, list[Site]]:
    """Return ``result`` with what the assumptions ``given`` say, and the sites that they add."""
    used: dict[Assumption, None] = {}
    sites: dict[Site, None] = {}
    unknown: list[Unknown] = []
    groups = _by_function(graph, result.unknown)
    for start, (end, places) in groups.items():
        image = graph.images[start.image]
        name = Path(image.path).name
        fitting = [
            one
            for one in given
            if one.file == name and image.sha256.startswith(one.sha256)
            if start.address <= one.address < end
        ]
        used |= dict.fromkeys(fitting)
        if not fitting:
            unknown += places
        for one in fitting:
            spot = Spot(image.path, one.address, image.function_at(one.address))
            calls = [call for call in one.calls if call in numbers]
            sites |= {Site(*spot, call, numbers[call]): None for call in calls}
    return (
        replace(
            result,
            unknown=tuple(sorted(unknown)),
            sites=tuple(sorted({*result.sites, *sites})),
            assumed=tuple(used),
        ),
        list(sites),
    )


def unknown_functions(
    graph: CodeGraph, unknown: Iterable[Unknown], line_of: Callable[[ImageAddress], str]
) -> tuple[UnknownFunction, ...]:
    """Return the functions with ``unknown`` locations, with what helps a person to judge them."""
    groups = _by_function(graph, unknown)
    paths = paths_to(graph, groups)
    return tuple(
        UnknownFunction(
            Spot(image.path, start.address, image.function_at(start.address)),
            image.sha256,
            *image.name_before(start.address),
            _called(graph, start, places[0].address),
            line_of(ImageAddress(start.image, places[0].address)),
            paths.get(start, ()),
            tuple(places),
        )
        for start, (_, places) in groups.items()
        for image in (graph.images[start.image],)
    )


def _called(graph: CodeGraph, cell: ImageAddress, call: int) -> str:
    """Return the name of the function that is called at ``call``; "" if there is none."""
    ways = graph.read(cell).ways if cell in graph.cells else ()
    for source, way in ways:
        if source == call and isinstance(way, Imports):
            return way.name
        if source == call and isinstance(way, Goes) and way.is_call:
            return graph.images[cell.image].function_at(way.address)
    return ""


def _by_function(
    graph: CodeGraph, unknown: Iterable[Unknown]
) -> dict[ImageAddress, tuple[int, list[Unknown]]]:
    """Return the end of each function, and its unknown locations, by start.

    A location outside of functions is for itself.
    """
    number = {image.path: i for i, image in enumerate(graph.images)}
    found: dict[ImageAddress, tuple[int, list[Unknown]]] = {}
    by_start: dict[ImageAddress, list[Unknown]] = defaultdict(list)
    for one in unknown:
        facts = graph.known[number[one.path]].cell(one.address)
        start = ImageAddress(number[one.path], facts.start if facts else one.address)
        by_start[start].append(one)
        found[start] = (facts.end if facts else one.address + 1), by_start[start]
    return found
