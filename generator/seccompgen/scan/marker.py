"""The functions of the main thread that may be running when a function, the marker, is called.

Of these, only what can still run counts: what comes after a place where the marker may have been
called before. Such a place is a call of the marker, or of a function that may call it. Before a
function is called by a pointer, code makes its address, so what follows that counts as well. If the
address is in data, the marker may be called at any time.

A function that begins before the marker is called, and ends after it, is in here; whoever calls it
from a place that counts runs all of it. All functions that other threads, handlers and pointers
begin with are not in here: their addresses are taken, so they count as a whole, in `graph`.

It is assumed that main() is called once, by the C library, and by nobody who looks its name up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, InputError, Position, did_you_mean
from seccompgen.scan.code import code_of
from seccompgen.scan.endless import last_of
from seccompgen.scan.graph import ControlOrigin, PartOfFunction
from seccompgen.scan.image import AddressRange
from seccompgen.scan.processor import EffectKind
from seccompgen.scan.result import Lead
from seccompgen.scan.values import NumberFollower
from seccompgen.scan.ways import (
    Context,
    Goes,
    ImageAddress,
    Imports,
    Pointer,
    Reaches,
    Takes,
    Unclear,
    ways_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seccompgen.scan.code import DecodedFunction, FunctionFacts
    from seccompgen.scan.graph import Cause, CodeGraph
    from seccompgen.scan.ways import Way

ACCEPT = "accept"
"""The marker that stands for both calls that accept a connection."""
_ACCEPTS = frozenset({"accept", "accept4"})
_TWICE = frozenset({"setjmp", "_setjmp", "sigsetjmp", "__sigsetjmp", "getcontext", "swapcontext"})
"""Functions that may return again, later."""
_MAKING = (EffectKind.REFERENCE, EffectKind.LOAD, EffectKind.COMPARISON, EffectKind.PAGE)
_LABELLING = frozenset({EffectKind.REFERENCE, EffectKind.COMPARISON})


class Passed(NamedTuple):
    """The functions of a program, as far as a marker divides them.

    ``parts`` are the functions that may have begun before it, ``starts`` the facts of those that
    start the program, without the address of ``main``. If that is None, the marker may be called
    at any time, and nothing else is known.
    """

    parts: dict[ImageAddress, PartOfFunction]
    starts: dict[ImageAddress, FunctionFacts]
    main: ImageAddress | None


def passed(graph: CodeGraph, name: str) -> Passed:
    """Return what is known of the functions of ``graph`` when ``name`` has been called.

    Raises InputError if the program has no such function, or calls none.
    """
    image = graph.images[0]
    where = Position(image.path)
    if image.is_go:
        raise InputError(
            Diagnostic("all of a Go program counts, so --after leaves out nothing", where)
        )
    names = _ACCEPTS if name == ACCEPT else frozenset({name})
    own = {one.address for one in image.functions if _plain(one.name) in names}
    own |= {one for each in names for one in image.exports.get(each, ())}
    own = set(filter(image.in_code, own))
    imported = names & image.imports
    if not own and not imported:
        raise InputError(Diagnostic(_unnamed(graph, name), where))
    main, makers = _main_of(graph)
    search = _WayBack(graph, main, makers)
    for place in (ImageAddress(0, one) for one in own):
        for cell in search.at(place) & graph.cells.keys():
            search.begins(cell)
    for one in imported:
        search.calls(one)
    if not search.may_call:
        raise InputError(
            Diagnostic(f"no code that can run calls {name}: name another function", where)
        )
    search.go_back()
    if search.any_time:
        return Passed({}, {}, None)
    starts = {cell: _without(graph.cells[cell], main.address) for cell in makers}
    return Passed(search.parts(), starts, main)


def _without(facts: FunctionFacts, address: int) -> FunctionFacts:
    return facts._replace(takes=tuple(one for one in facts.takes if one != address))


def _plain(name: str) -> str:
    """Return ``name`` without what compilers append for a copy or part: .constprop.0, .cold."""
    return name.partition(".")[0]


def _unnamed(graph: CodeGraph, name: str) -> str:
    """Return why there is no function ``name``, and what to do."""
    image = graph.images[0]
    if name == ACCEPT:
        users = [one.path for one in graph.images[1:] if not _ACCEPTS.isdisjoint(one.imports)]
        others = f"; {users[0]} does" if users else ""
        return (
            f"does not call accept() itself{others}: name a function of the program, --after NAME"
        )
    known = {_plain(one.name) for one in image.functions} | image.exports.keys() | image.imports
    return (
        f"has no function {name!r}{did_you_mean(name, known)}; a stripped program has only the "
        "names of what it imports and exports (-rdynamic), others are in its debug symbols"
    )


def _main_of(graph: CodeGraph) -> tuple[ImageAddress, frozenset[ImageAddress]]:
    """Return main(), and the functions that hand it to the C library, the entry point or its own.

    Raises InputError if it cannot be told.
    """
    image, known = graph.images[0], graph.known[0]
    entry = ImageAddress(0, image.roots[0])
    called = graph.cells[entry].goes if entry in graph.cells else ()
    starting = {entry} | {
        ImageAddress(0, one)
        for one in called
        if graph.callers.get(ImageAddress(0, one)) == frozenset({entry})
    }
    makers = [one for one in sorted(starting & graph.cells.keys()) if graph.cells[one].takes]
    makers = [entry] if entry in makers else makers
    named = {one.address for one in image.functions if one.name == "main"}
    named |= {*image.exports.get("main", ())}
    found = {one for maker in makers for one in graph.cells[maker].takes}
    if len(found) > 1:
        found &= named or {one for maker in makers for one in _first_arguments(graph, maker)}
    others = {
        cell
        for cell, facts in graph.cells.items()
        if cell.image == 0 and cell not in makers and not found.isdisjoint(facts.takes)
    }
    if len(found) != 1 or others or known.cell(min(found)) is None:
        raise InputError(
            Diagnostic(
                "its main() cannot be found: nothing after it can be told apart; "
                "--after main leaves out what comes before",
                Position(image.path),
            )
        )
    main = ImageAddress(0, min(found))
    return main, frozenset(one for one in makers if main.address in graph.cells[one].takes)


def _first_arguments(graph: CodeGraph, cell: ImageAddress) -> Iterator[int]:
    """Yield the first arguments of the calls in ``cell``."""
    follower = NumberFollower(graph)
    for instruction in graph.read(cell).code:
        if graph.machine.is_call(instruction):
            place = ImageAddress(cell.image, instruction[0])
            for value in follower.values(place, graph.machine.arguments[0]):
                if value.number is not None:
                    yield value.number


class _WayBack:
    """Goes back from a marker to all functions that may call it, and forward within each."""

    def __init__(
        self, graph: CodeGraph, main: ImageAddress, makers: frozenset[ImageAddress]
    ) -> None:
        self.graph = graph
        self.main = main
        self.makers = makers
        self.any_time = False
        self.may_call: dict[ImageAddress, None] = {}
        """the functions that may call the marker, in the order in which they were found"""
        self._before: dict[Cause, list[Cause]] = defaultdict(list)
        for cause, targets in graph.leads.items():
            for target in targets:
                self._before[target].append(cause)
        self._waiting: list[ImageAddress] = []
        self._seen: set[ControlOrigin] = set()
        self._whole: set[ImageAddress] = set()
        self._begins: dict[ImageAddress, set[int]] = defaultdict(set)
        """the addresses in each function from which on it counts"""
        self._calling: dict[ImageAddress, set[int]] = defaultdict(set)
        """the calls and jumps in each function that may lead to the marker"""

    def begins(self, cell: ImageAddress) -> None:
        """Let ``cell`` count from its start on."""
        self._whole.add(cell)
        self._may_call(cell)

    def calls(self, name: str) -> None:
        """Let the calls of the program's import ``name`` be calls of the marker, which count."""
        self._follow_origin(ControlOrigin(0, Lead.IMPORT, name), is_marker=True)

    def go_back(self) -> None:
        """Find all functions that may call the marker."""
        while self._waiting and not self.any_time:
            cell = self._waiting.pop()
            for cause in self._before.get(cell, ()):
                is_main = cell in self.at(self.main)
                if isinstance(cause, ControlOrigin):
                    if not is_main or cause.lead is not Lead.LOOKUP:
                        self._follow_origin(cause)
                elif not is_main or cause not in self.makers:
                    self._lead(cause, partial(_leads_to, self.graph, cell), cell)

    def at(self, place: ImageAddress) -> set[ImageAddress]:
        """Return the starts of the functions that may run if control reaches ``place``."""
        return {
            ImageAddress(place.image, facts.start)
            for facts in self.graph.known[place.image].at(place.address)
        }

    def _may_call(self, cell: ImageAddress) -> None:
        if cell not in self.may_call:
            self.may_call[cell] = None
            self._waiting.append(cell)

    def _follow_origin(self, origin: ControlOrigin, *, is_marker: bool = False) -> None:
        """Go back from an origin to the code that leads there."""
        if origin in self._seen:
            return
        self._seen.add(origin)
        if origin.lead not in {Lead.IMPORT, Lead.LOOKUP, Lead.OBJECT}:
            self.any_time = True
            return
        for cause in self._before.get(origin, ()):
            if isinstance(cause, ControlOrigin):
                self._follow_origin(cause, is_marker=is_marker)
            elif origin.lead is Lead.IMPORT:
                self._lead(cause, partial(_is_import, origin.name), None, is_marker=is_marker)
            else:
                self.begins(cause)

    def _lead(
        self,
        cell: ImageAddress,
        is_way: Callable[[Way], bool],
        target: ImageAddress | None,
        *,
        is_marker: bool = False,
    ) -> None:
        """Note the places in ``cell`` from which a way for which ``is_way`` leads on."""
        graph, reading = self.graph, self.graph.read(cell)
        found = False
        for source, way in reading.ways:
            if not isinstance(way, Goes | Imports) or not is_way(way):
                continue
            if isinstance(way, Imports) and way.is_taken:
                continue
            found = True
            self._calling[cell].add(source)
            if is_marker:
                self._begins[cell].add(source)
            elif way.is_call and not graph.never_returns(cell, source):
                self._begins[cell].update(_next(reading, source))
        made = list(self._made(cell, reading, is_way))
        self._begins[cell].update(one for source in made for one in _next(reading, source))
        facts = graph.cells[cell]
        runs_on = target is not None and facts.after is not None and target.address == facts.end
        reached = any(isinstance(way, Reaches) and is_way(way) for _, way in reading.ways)
        if not (found or made or runs_on) or reached:
            self._whole.add(cell)
        self._may_call(cell)

    def _made(
        self, cell: ImageAddress, reading: DecodedFunction, is_way: Callable[[Way], bool]
    ) -> Iterator[int]:
        """Yield the instructions that make an address to which a way leads: each, not the first."""
        image = self.graph.images[cell.image]
        code = code_of(image)
        context = Context(image, cell.address, self.graph.cells[cell].end)
        known: dict[tuple[EffectKind, int], bool] = {}
        for event in self.graph.machine.events(image, reading.code):
            if event.kind not in _MAKING:
                continue
            key = event.kind, event.value
            if key not in known:
                ways = ways_of(context, *key)
                ways += [code.taken(way.address) for way in ways if isinstance(way, Takes)]
                known[key] = any(
                    is_way(way)
                    for way in ways
                    if isinstance(way, Takes) or (isinstance(way, Imports) and way.is_taken)
                )
            if known[key]:
                yield event.address

    def parts(self) -> dict[ImageAddress, PartOfFunction]:
        """Return the parts that count of all functions that may call the marker."""
        live: dict[ImageAddress, set[int]] = {}
        waiting = [*self.may_call]
        while waiting:
            cell = waiting.pop()
            before = len(live.get(cell, ()))
            live[cell] = self._alive(cell)
            if len(live[cell]) == before:
                continue
            for target in self._jumps_into(cell, live[cell]):
                for other in self.at(target):
                    if target.address not in self._begins[other]:
                        self._begins[other].add(target.address)
                        waiting.append(other)
        return {cell: self._part(cell, found) for cell, found in live.items()}

    def _jumps_into(self, cell: ImageAddress, live: set[int]) -> Iterator[ImageAddress]:
        """Yield where ``cell`` jumps into the middle of another function that may call the marker.

        As parts of one function do that a compiler has put apart.
        """
        for source, way in self.graph.read(cell).ways:
            if source in live and isinstance(way, Goes) and self._is_inside(cell, way):
                yield ImageAddress(cell.image, way.address)

    def _is_inside(self, cell: ImageAddress, way: Goes) -> bool:
        place = ImageAddress(cell.image, way.address)
        cells = self.at(place)
        return (
            not way.is_call
            and len(cells) == 1
            and place not in cells
            and cells <= self.may_call.keys()
            and all(place.address in self.graph.read(one).addresses for one in cells)
        )

    def _alive(self, cell: ImageAddress) -> set[int]:
        """Return the addresses of the instructions of ``cell`` that may run after the marker."""
        graph, reading = self.graph, self.graph.read(cell)
        image, addresses = graph.images[cell.image], reading.addresses
        if cell in self._whole:
            return set(addresses)
        goes: dict[int, list[int]] = defaultdict(list)
        for source, way in reading.ways:
            if isinstance(way, Goes) and way.address in reading.inner:
                goes[source].append(way.address)
        events = list(graph.machine.events(image, reading.code))
        labels = [
            one.value
            for one in events
            if one.kind in _LABELLING and cell.address < one.value < graph.cells[cell].end
        ]
        anywhere = {source for source, way in reading.ways if isinstance(way, Pointer | Unclear)}
        waiting = [*self._begins[cell], *self._again(cell, reading)]
        if waiting or self._calling[cell]:
            span = AddressRange(cell.address, graph.cells[cell].end)
            waiting += [one.pad for one in image.landings_in(span)]
        alive: set[int] = set()
        while waiting:
            at = bisect_left(addresses, waiting.pop())
            while at < len(addresses) and addresses[at] not in alive:
                here = addresses[at]
                alive.add(here)
                waiting += goes[here]
                instruction = reading.code[at]
                if here in anywhere and not graph.machine.is_call(instruction):
                    waiting += labels
                if graph.machine.stops(instruction):
                    break
                if graph.machine.is_call(instruction) and graph.never_returns(cell, here):
                    break
                at += 1
        return alive

    def _again(self, cell: ImageAddress, reading: DecodedFunction) -> Iterator[int]:
        """Yield where ``cell`` goes on when a function returns again, as setjmp() does."""
        image = self.graph.images[cell.image]
        for source, way in reading.ways:
            match way:
                case Imports(name):
                    known = name
                case Goes(address):
                    known = image.function_at(address)
                case _:
                    continue
            if known in _TWICE:
                yield from _next(reading, source)

    def _part(self, cell: ImageAddress, live: set[int]) -> PartOfFunction:
        """Return the part of ``cell`` at ``live``; all addresses that it makes have been taken."""
        facts, reading = self.graph.cells[cell], self.graph.read(cell)
        goes: set[int] = set()
        imports: set[str] = set()
        for source, way in reading.ways:
            if source not in live:
                continue
            if isinstance(way, Goes) and way.address not in reading.inner:
                if not self._is_inside(cell, way):
                    goes.add(way.address)
            elif isinstance(way, Imports) and not way.is_taken:
                imports.add(way.name)
        calling = self._calling[cell]
        last = last_of(self.graph.machine, reading.code)
        runs_on = last is not None and last[0] in live | calling
        return PartOfFunction(
            facts._replace(
                goes=tuple(sorted(goes)),
                imports=tuple(sorted(imports)),
                entrances=tuple(one for one in facts.entrances if one[0] in live),
                after=facts.after if runs_on else None,
            ),
            frozenset(live | calling),
        )


def _leads_to(graph: CodeGraph, cell: ImageAddress, way: Way) -> bool:
    """Return True if ``way``, in the same image, leads to the function ``cell``."""
    match way:
        case Goes(address) | Takes(address) | Reaches(address):
            known = graph.known[cell.image].at(address)
            return any(facts.start == cell.address for facts in known)
    return False


def _is_import(name: str, way: Way) -> bool:
    return isinstance(way, Imports) and way.name == name


def _next(reading: DecodedFunction, source: int) -> Iterator[int]:
    """Yield the address of the instruction after ``source``."""
    at = bisect_left(reading.addresses, source) + 1
    yield from reading.addresses[at : at + 1]
