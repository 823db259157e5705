"""Follow the number of a call back to its possible constants, through callers as well."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.scan.processor import KnownValue, Lost, Moved, Register
from seccompgen.scan.unknown import Why
from seccompgen.scan.ways import ImageAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.scan.graph import CodeGraph, Edge
    from seccompgen.scan.processor import Instruction, Location, Step

_MAX_STATES = 200_000
_U32 = 0xFFFFFFFF


class EnteredNumber(NamedTuple):
    """A number that the kernel may be entered with, or the ``reason`` why it is unknown.

    ``site`` is the instruction that determines it: the one that enters the kernel, or the call of a
    function that gets the number as an argument. ``lost`` is where it could not be followed
    further. ``is_echo`` is True where the call is made again that other code was seen to request.
    """

    site: ImageAddress
    number: int | None
    reason: Why | None = None
    detail: str = ""
    lost: ImageAddress | None = None
    is_echo: bool = False


class _State(NamedTuple):
    """A state of the search: the number is ``location`` plus ``add``, just before ``place``."""

    place: ImageAddress
    location: Location
    add: int
    site: ImageAddress


class NumberFollower:
    """Follows values back through a graph of code."""

    def __init__(self, graph: CodeGraph) -> None:
        self.graph = graph

    def code(self, cell: ImageAddress) -> list[Instruction]:
        """Return the instructions of a function."""
        return self.graph.read(cell).code

    def numbers(self, entrance: ImageAddress) -> list[EnteredNumber]:
        """Return all possible numbers of calls at ``entrance``."""
        return self.values(entrance, self.graph.machine.number)

    def values(
        self, place: ImageAddress, location: Location, most: int = _MAX_STATES
    ) -> list[EnteredNumber]:
        """Return every value that ``location`` can have just before the instruction at ``place``.

        After ``most`` states the search is given up, and the value is unknown.
        """
        first = _State(place, location, 0, place)
        seen, waiting = {first}, [first]
        found: dict[EnteredNumber, None] = {}
        while waiting:
            state = waiting.pop()
            for result in self._back(state):
                if isinstance(result, EnteredNumber):
                    found[result] = None
                elif result not in seen:
                    seen.add(result)
                    waiting.append(result)
            if len(seen) > most:
                return [EnteredNumber(place, None, Why.TOO_MUCH, lost=place)]
        return list(found)

    def _back(self, state: _State) -> Iterator[_State | EnteredNumber]:
        """Go back from ``state`` to the points where paths join, or to the value's origin."""
        cells = self.graph.cells_at(state.place)
        if not cells:
            yield self._lost(state, state.place, Why.NO_CODE)
        for cell in cells:
            yield from self._back_within(state, cell)

    def _back_within(self, state: _State, cell: ImageAddress) -> Iterator[_State | EnteredNumber]:
        graph, image = self.graph, state.place.image
        reading = graph.read(cell)
        code, addresses = reading.code, reading.addresses
        index = bisect_left(addresses, state.place.address)
        location, add = state.location, state.add
        only_padding = False
        while True:
            here = ImageAddress(image, addresses[index])
            joined = list(self._joined(state, here, location, add))
            yield from joined
            goes_on = index > 0 and not self._stops(code[index - 1], cell)
            if not goes_on:
                if not joined and not only_padding:
                    yield self._lost(state, here, Why.NO_WAY_HERE if index else Why.NO_CALLER)
                return
            index -= 1
            if self._shows_zero(cell, index, location, jumping=False):
                yield EnteredNumber(state.site, add & _U32)
                return
            # If control arrives after padding, it does not also come out of the padding.
            only_padding = graph.machine.is_padding(code[index]) and (only_padding or bool(joined))
            step = graph.machine.before(graph.images[image], code, index, location)
            before = ImageAddress(image, addresses[index])
            if not isinstance(step, Moved) or len(step.places) > 1:
                yield from self._stepped(state, before, step, add)
                return
            location, add = step.places[0], add + step.add

    def _stops(self, instruction: Instruction, cell: ImageAddress) -> bool:
        """Return True if control does not go on from ``instruction`` to the next."""
        machine = self.graph.machine
        return machine.stops(instruction) or (
            machine.is_call(instruction) and self.graph.never_returns(cell, instruction[0])
        )

    def _joined(
        self, state: _State, here: ImageAddress, location: Location, add: int
    ) -> Iterator[_State | EnteredNumber]:
        """Yield the other origins of the value at ``here``: jumps, callers, pointers."""
        graph = self.graph
        for edge in graph.edges_to(here):
            yield from self._through(state, edge, location, add)
        if here in graph.taken:
            name = graph.images[here.image].function_at(here.address)
            yield self._lost(state, here, Why.POINTER, name)

    def _through(
        self, state: _State, edge: Edge, location: Location, add: int
    ) -> Iterator[_State | EnteredNumber]:
        machine = self.graph.machine
        if not edge.is_call:
            if not self.graph.is_stub(edge.source):
                yield from self._past(state, edge.source, location, add)
            return
        at_caller = machine.at_caller(location)
        if at_caller is None:
            yield self._lost(state, edge.source, Why.NOBODY)
        else:
            yield _State(edge.source, at_caller, add, edge.source)

    def _past(
        self, state: _State, source: ImageAddress, location: Location, add: int
    ) -> Iterator[_State | EnteredNumber]:
        """Step back over the instruction at ``source``, which leads here, but not by a call."""
        for cell in self.graph.cells_at(source):
            reading = self.graph.read(cell)
            index = bisect_left(reading.addresses, source.address)
            if self._shows_zero(cell, index, location, jumping=True):
                yield EnteredNumber(state.site, add & _U32)
                continue
            image = self.graph.images[source.image]
            step = self.graph.machine.before(image, reading.code, index, location)
            yield from self._stepped(state, source, step, add)

    def _shows_zero(
        self, cell: ImageAddress, index: int, location: Location, *, jumping: bool
    ) -> bool:
        """Return True if ``location`` is 0 after the branch at ``index``, which tests it.

        The test is the instruction before the branch, unless control also arrives between the two.
        """
        reading = self.graph.read(cell)
        if not isinstance(location, Register) or not self.graph.machine.shows_zero(
            reading.code, index, location.name, jumping=jumping
        ):
            return False
        branch = ImageAddress(cell.image, reading.addresses[index])
        return branch not in self.graph.taken and not any(self.graph.edges_to(branch))

    def _stepped(
        self, state: _State, before: ImageAddress, step: Step, add: int
    ) -> Iterator[_State | EnteredNumber]:
        if isinstance(step, KnownValue):
            yield EnteredNumber(state.site, (step.value + add) & _U32)
        elif isinstance(step, Lost):
            yield self._lost(state, before, step.why, step.detail)
        else:
            for place in step.places:
                yield _State(before, place, add + step.add, state.site)

    @staticmethod
    def _lost(state: _State, place: ImageAddress, why: Why, detail: str = "") -> EnteredNumber:
        return EnteredNumber(state.site, None, why, detail, place)
