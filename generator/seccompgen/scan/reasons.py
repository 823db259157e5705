"""Say why calls are in a result: the shortest way to each, and what each import brings.

Both are answers about one graph: causes, each with what it leads to. A call needs an import if
every way to it leads over that import, which then dominates it. Where a function gets its number
from a caller, the call is at the caller, so ways end where the number is determined.
"""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import pairwise
from typing import TYPE_CHECKING

from seccompgen.scan.graph import ControlOrigin
from seccompgen.scan.result import CallPath, ImportedCalls, Lead, PathStep, Spot
from seccompgen.scan.ways import ImageAddress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.scan.graph import Cause, CodeGraph
    from seccompgen.scan.result import Site

_FIRST = (Lead.STARTED, Lead.DATA, Lead.LIBRARY, Lead.GO_WHOLE, Lead.INTERPRETER, Lead.BEFORE)


def call_paths(graph: CodeGraph, sites: Iterable[Site]) -> dict[str, CallPath]:
    """Return, by name, the shortest way to each call that is made at ``sites``.

    A way from the program's entry point goes before one from its data, and these before others.
    """
    came = _shortest(graph) if sites else {}
    rank = {cause: i for i, cause in enumerate(came)}
    best: dict[str, tuple[int, Site, Cause]] = {}
    for site, cell in _cells_of(graph, sites):
        found = (rank[cell], site, cell)
        best[site.name] = min(best.get(site.name, found), found)
    return {
        name: CallPath(tuple(_steps(graph, _way(came, cell))), site)
        for name, (_, site, cell) in sorted(best.items())
    }


def paths_to(
    graph: CodeGraph, cells: Iterable[ImageAddress]
) -> dict[ImageAddress, tuple[PathStep, ...]]:
    """Return the shortest way to each of the functions ``cells`` that can run."""
    came = _shortest(graph)
    return {cell: tuple(_steps(graph, _way(came, cell))) for cell in cells if cell in came}


def _origins(graph: CodeGraph) -> list[ControlOrigin]:
    """Return the origins at which ways begin, the program's own first."""
    found = [one for one in graph.leads if isinstance(one, ControlOrigin) and one.lead in _FIRST]
    return sorted(found, key=lambda one: (one.image > 0, _FIRST.index(one.lead), one.image))


def _shortest(graph: CodeGraph) -> dict[Cause, Cause | None]:
    """Return the cause before each on the shortest way to it, the nearest first."""
    came: dict[Cause, Cause | None] = {}
    for origin in _origins(graph):
        came[origin] = None
        waiting: deque[Cause] = deque([origin])
        while waiting:
            cause = waiting.popleft()
            for target in graph.leads.get(cause, ()):
                if target not in came:
                    came[target] = cause
                    waiting.append(target)
    return came


def _cells_of(graph: CodeGraph, sites: Iterable[Site]) -> Iterator[tuple[Site, ImageAddress]]:
    """Yield each site with each function that contains it."""
    number = {image.path: i for i, image in enumerate(graph.images)}
    for site in sites:
        for cell in graph.cells_at(ImageAddress(number[site.path], site.address)):
            yield site, cell


def _way(came: Mapping[Cause, Cause | None], end: Cause) -> list[Cause]:
    way = [end]
    while (before := came[way[-1]]) is not None:
        way.append(before)
    return way[::-1]


def _steps(graph: CodeGraph, way: Sequence[Cause]) -> Iterator[PathStep]:
    for before, cause in pairwise(way):
        if isinstance(cause, ImageAddress):
            image = graph.images[cause.image]
            spot = Spot(image.path, cause.address, image.function_at(cause.address))
            if isinstance(before, ControlOrigin):
                yield PathStep(before.lead, spot, before.name)
            else:
                yield PathStep(_lead(graph, before, cause), spot, "")


def _lead(graph: CodeGraph, before: ImageAddress, cell: ImageAddress) -> Lead:
    """Return how the function ``before`` leads to ``cell``, in the same image."""
    facts, end = graph.cells[before], graph.cells[cell].end
    kinds = {Lead.CALL: facts.goes, Lead.POINTER: facts.takes, Lead.LABEL: facts.reaches}
    for lead, addresses in kinds.items():
        if any(cell.address <= address < end for address in addresses):
            return lead
    return Lead.NEXT


class _NumberedCauses:
    """A graph of causes with the calls that are made at sites, in reverse postorder by number."""

    def __init__(self, graph: CodeGraph, sites: Iterable[Site]) -> None:
        self.leads: dict[Cause | str, list[Cause | str]] = {
            cause: [*targets] for cause, targets in graph.leads.items()
        }
        for site, cell in _cells_of(graph, sites):
            self.leads.setdefault(cell, []).append(site.name)
        self.leads[""] = [*_origins(graph)]
        self.nodes = self._postorder()[::-1]
        self.number = {node: i for i, node in enumerate(self.nodes)}

    def _postorder(self) -> list[Cause | str]:
        order: list[Cause | str] = []
        seen: set[Cause | str] = {""}
        stack: list[tuple[Cause | str, Iterator[Cause | str]]] = [("", iter(self.leads[""]))]
        while stack:
            node, targets = stack[-1]
            target = next((one for one in targets if one not in seen), None)
            if target is None:
                order.append(node)
                stack.pop()
            else:
                seen.add(target)
                stack.append((target, iter(self.leads.get(target, ()))))
        return order

    def dominators(self) -> list[int]:
        """Return the number of each node's nearest dominator; Cooper, Harvey and Kennedy's way."""
        sources: dict[int, list[int]] = defaultdict(list)
        for i, node in enumerate(self.nodes):
            for target in self.leads.get(node, ()):
                sources[self.number[target]].append(i)
        nearest = [0] + [-1] * (len(self.nodes) - 1)
        changed = True
        while changed:
            changed = False
            for i in range(1, len(self.nodes)):
                found = -1
                for source in sources[i]:
                    if nearest[source] >= 0:
                        found = source if found < 0 else _common(nearest, found, source)
                if found != nearest[i]:
                    nearest[i], changed = found, True
        return nearest

    def reached(self) -> list[frozenset[str]]:
        """Return the calls that each node leads to."""
        found = [
            frozenset((node,)) if isinstance(node, str) else frozenset[str]() for node in self.nodes
        ]
        changed = True
        while changed:
            changed = False
            for i in reversed(range(1, len(self.nodes))):
                targets = self.leads.get(self.nodes[i], ())
                more = found[i].union(*(found[self.number[one]] for one in targets))
                if len(more) > len(found[i]):
                    found[i], changed = more, True
        return found


def _common(nearest: Sequence[int], one: int, other: int) -> int:
    while one != other:
        one, other = min(one, other), nearest[max(one, other)]
    return one


def imported_calls(graph: CodeGraph, sites: Iterable[Site]) -> tuple[ImportedCalls, ...]:
    """Return the calls that each import of the program leads to, those that bring most first."""
    numbered = _NumberedCauses(graph, sites)
    nearest, reached = numbered.dominators(), numbered.reached()
    alone: dict[int, list[str]] = defaultdict(list)
    for i, node in enumerate(numbered.nodes):
        at = i if isinstance(node, str) else 0
        while at:
            at = nearest[at]
            alone[at].append(str(node))
    found = [
        ImportedCalls(node.name, tuple(sorted(alone[i])), tuple(sorted(reached[i])))
        for i, node in enumerate(numbered.nodes)
        if isinstance(node, ControlOrigin) and node.image == 0 and node.lead is Lead.IMPORT
    ]
    return tuple(sorted(found, key=lambda one: (-len(one.alone), one.name)))
