"""Find the code that can run, starting from the entry points, and remember how it is reached.

What cannot be known is taken to happen: a function whose address stands in data, or is computed
by code that can run, can run. So can all of a Go program, from which the linker has already
removed what cannot.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.scan.image import Span
from seccompgen.scan.machine import Event, Kind
from seccompgen.scan.ways import (
    Context,
    Goes,
    Harmless,
    Imports,
    Place,
    Pointer,
    Reaches,
    Takes,
    Unclear,
    Way,
    ways_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.scan.image import Image
    from seccompgen.scan.machine import Instruction, Machine

_DEFAULT_BOUND = 1024
"""Entries that are read of a jump table where the code names no bound."""
_OVERLAY_BYTES = 256
_NEAR_BYTES = 96
"""How far before an indirect jump the code that prepares it may start."""
_BY_NAME = {"dlsym", "dlvsym"}
_ONLY_COMPARED = {"__syscall_cancel_arch", "__syscall_cancel_arch_start"}
"""What glibc takes the address of only to see whether a signal came while it ran (nptl)."""
_GO_PANICS = (
    "runtime.throw",
    "runtime.fatal",
    "runtime.gopanic",
    "runtime.goPanic",
    "runtime.panic",
)
"""How the names of Go's functions begin that end in a panic, and so never return."""


class Edge(NamedTuple):
    """A way to a place: from which instruction, and whether by a call."""

    source: Place
    is_call: bool


class Entrance(NamedTuple):
    """An instruction that enters the kernel; ``foreign`` if by another ABI than its own."""

    place: Place
    foreign: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """The code that can run.

    ``cells`` are the functions that can run, their ends by their starts; one may begin within
    another, where control arrives in the middle of what looks like an instruction. ``edges`` are
    the known ways to a place besides the instruction before it. ``taken`` are the places that
    somebody may get to by a pointer. ``imported`` are the names that are used of other images,
    ``calls`` what each call can go to, where that is known. ``unclear`` says of which places it is
    not known, and why.
    """

    images: tuple[Image, ...]
    machine: Machine
    cells: Mapping[Place, int]
    edges: Mapping[Place, tuple[Edge, ...]]
    taken: frozenset[Place]
    entrances: tuple[Entrance, ...]
    imported: frozenset[str]
    overlays: tuple[Place, ...]
    calls: Mapping[Place, tuple[Place, ...]]
    unclear: Mapping[Place, str]

    def cells_at(self, place: Place) -> list[tuple[Place, int]]:
        """Return start and end of each function that has an instruction at ``place``."""
        cell = _layout(self.images[place.image]).cell(place.address)
        if cell is None:
            return []
        first = Place(place.image, cell[0])
        within = self.overlays[bisect_right(self.overlays, first) :]
        starts = [first]
        for start in within:
            if start > place:
                break
            starts.append(start)
        return [
            (start, self.cells[start])
            for start in starts
            if start in self.cells and place.address in self.boundaries(start, self.cells[start])
        ]

    def never_returns(self, call: Place) -> bool:
        """Return True if what the instruction at ``call`` calls is known, and never comes back."""
        targets = self.calls.get(call, ())
        return bool(targets) and all(self._is_endless(target) for target in targets)

    def _is_endless(self, function: Place) -> bool:
        """Return True if nothing in ``function`` leads out of it but calls."""
        cell = _layout(self.images[function.image]).cell(function.address)
        if cell is None or cell[0] != function.address:
            return False
        image = self.images[function.image]
        if image.is_go and image.function_at(cell[0]).startswith(_GO_PANICS):
            return True
        return _never_leaves(self.machine, image, *cell)

    def boundaries(self, start: Place, end: int) -> frozenset[int]:
        """Return where the instructions of a function start."""
        return _boundaries(self.machine, self.images[start.image], start.address, end)


class Layout:
    """The code of an image, divided at every address where something is known to start."""

    def __init__(self, image: Image) -> None:
        starts = {span.start for span in image.code}
        starts |= {function.address for function in image.functions}
        starts |= {_past_signal_mark(image, frame) for frame in image.frames}
        starts |= set(image.roots)
        if image.relocatable:  # else a pointer may be a number that looks like one
            starts |= image.pointers
        self._image = image
        self._starts = sorted(filter(image.in_code, starts))
        self._set = frozenset(self._starts)

    def cell(self, address: int) -> tuple[int, int] | None:
        """Return start and end of what ``address`` lies in; None outside of code."""
        for span in self._image.code:
            if span.start <= address < span.end:
                i = bisect_right(self._starts, address)
                end = self._starts[i] if i < len(self._starts) else span.end
                return self._starts[i - 1], min(end, span.end)
        return None

    def __contains__(self, address: int) -> bool:
        """Return True if something starts at ``address``."""
        return address in self._set

    def __iter__(self) -> Iterator[int]:
        """Iterate over the starts."""
        return iter(self._starts)


def _past_signal_mark(image: Image, frame: int) -> int:
    """Return where the function of ``frame`` starts.

    glibc describes its return from signals from a byte before, since unwinders look there.
    """
    known = {b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05", b"\xb8\xad\x00\x00\x00\xcd\x80"}
    return frame + 1 if any(image.read(frame + 1, len(one)) == one for one in known) else frame


@lru_cache(maxsize=64)
def _layout(image: Image) -> Layout:
    return Layout(image)


def _references_in(events: Iterable[Event]) -> list[int]:
    kinds = {Kind.REFERENCE, Kind.LOAD, Kind.COMPARISON}
    return list(dict.fromkeys(one.value for one in events if one.kind in kinds))


def _tables_in(image: Image, events: Iterable[Event]) -> list[int]:
    return [value for value in _references_in(events) if not image.in_code(value)]


def _bounds_in(events: Iterable[Event]) -> list[int]:
    return [one.value for one in events if one.kind is Kind.BOUND]


@lru_cache(maxsize=4096)
def _never_leaves(machine: Machine, image: Image, start: int, end: int) -> bool:
    code = machine.disassemble(image, start, end)
    last = next((one for one in reversed(code) if not machine.is_padding(one)), None)
    if last is None or not (machine.stops(last) or machine.is_call(last)):
        return False
    if any(machine.returns(instruction) for instruction in code):
        return False
    leaving = {Kind.INDIRECT_JUMP, Kind.JUMP_SLOT, Kind.UNREAD}
    return not any(
        event.kind in leaving or (event.kind is Kind.JUMP and not start <= event.value < end)
        for event in machine.events(image, code)
    )


@lru_cache(maxsize=4096)
def _boundaries(machine: Machine, image: Image, start: int, end: int) -> frozenset[int]:
    return frozenset(instruction[0] for instruction in machine.disassemble(image, start, end))


def explore(images: Sequence[Image], machine: Machine, loaded: Iterable[int] = ()) -> Graph:
    """Find what can run of ``images``, of which the first is the program.

    Of those whose index is in ``loaded``, all can run that they export.
    """
    return _Explorer(tuple(images), machine, frozenset(loaded)).graph()


class _Explorer:
    def __init__(self, images: tuple[Image, ...], machine: Machine, loaded: frozenset[int]) -> None:
        self.images = images
        self.machine = machine
        self.loaded = loaded
        self.exports: dict[str, list[Place]] = defaultdict(list)
        for i, image in enumerate(images):
            for name, addresses in image.exports.items():
                self.exports[name] += [Place(i, address) for address in addresses]
        self.cells: dict[Place, int] = {}
        self.waiting: list[tuple[Place, int]] = []
        self.edges: dict[Place, set[Edge]] = defaultdict(set)
        self.taken: set[Place] = set()
        self.entrances: list[Entrance] = []
        self.imported: set[str] = set()
        self.unclear: dict[Place, str] = {}
        self.stubs: dict[Place, str | None] = {}
        self.overlays: set[Place] = set()
        self.asking: set[int] = set()
        """Which images get functions by their names."""
        self.here: frozenset[int] = frozenset()
        """Where the instructions of the function start that is being read."""
        self.reading = -1
        """Which image it is in."""

    def graph(self) -> Graph:
        for i, image in enumerate(self.images):
            for address in (*image.roots, *sorted(image.pointers)):
                self._take(Place(i, address))
            for name in sorted(image.imported_pointers):
                self._take_import(i, name)
            for address, why in image.unread:
                self.unclear[Place(i, address)] = why
            if image.is_go:
                for address in _layout(image):
                    self._reach(Place(i, address))
            if i in self.loaded:
                for found in image.exports.values():
                    for address in found:
                        self._take(Place(i, address))
        while self.waiting:
            place, end = self.waiting.pop()
            self._scan(place, end)
        return Graph(
            images=self.images,
            machine=self.machine,
            cells=self.cells,
            edges={place: tuple(sorted(found)) for place, found in self.edges.items()},
            taken=frozenset(self.taken),
            entrances=tuple(sorted(self.entrances)),
            imported=frozenset(self.imported),
            overlays=tuple(sorted(self.overlays)),
            calls=self._calls(),
            unclear=self.unclear,
        )

    def _calls(self) -> dict[Place, tuple[Place, ...]]:
        found: dict[Place, list[Place]] = defaultdict(list)
        for target, edges in self.edges.items():
            for edge in edges:
                if edge.is_call:
                    found[edge.source].append(target)
        return {source: tuple(targets) for source, targets in found.items()}

    def _reach(self, place: Place) -> None:
        image = self.images[place.image]
        cell = _layout(image).cell(place.address)
        if cell is None:
            return
        start = Place(place.image, cell[0])
        self._add(start, cell[1])
        known = place.address == cell[0] or place in self.overlays
        if not known and place.address not in _boundaries(self.machine, image, *cell):
            self.overlays.add(place)
            self._add(place, self._end_of_overlay(place, *cell))

    def _end_of_overlay(self, place: Place, start: int, end: int) -> int:
        """Return where the code at ``place`` falls in with that of the function around it."""
        image = self.images[place.image]
        around = _boundaries(self.machine, image, start, end)
        code = self.machine.disassemble(
            image, place.address, min(end, place.address + _OVERLAY_BYTES)
        )
        return next((one[0] for one in code if one[0] in around), end)

    def _add(self, start: Place, end: int) -> None:
        if start not in self.cells:
            self.cells[start] = end
            self.waiting.append((start, end))

    def _take(self, place: Place) -> None:
        image = self.images[place.image]
        if image.is_go and place.address not in _layout(image):
            return  # all functions are known, and this is a number that looks like one
        stub = self._name_of_stub(place)
        if stub is not None:
            self._take_import(place.image, stub)
            return
        if not image.relocatable and image.frames and not self._is_part(place):
            # A number that looks like an address: a function does not start in an instruction.
            return
        if image.function_at(place.address) not in _ONLY_COMPARED:
            self.taken.add(place)
        self._reach(place)

    def _take_import(self, index: int, name: str) -> None:
        self._import(index, name)
        for place in self.exports.get(name, ()):
            self._take(place)

    def _import(self, index: int, name: str) -> None:
        """Note that the image of that index uses ``name``.

        By dlsym() it may get all exports whose names stand in its data.
        """
        self.imported.add(name)
        if name not in _BY_NAME or index in self.asking:
            return
        self.asking.add(index)
        for other in sorted(self.images[index].texts & self.exports.keys()):
            self._take_import(index, other)

    def _go(self, source: Place, place: Place, *, is_call: bool) -> None:
        """Follow a call or a jump to ``place``, through the stub of an import if it is one."""
        name = self._name_of_stub(place)
        if name is not None:
            self._go_to_import(source, name, is_call=is_call)
            return
        self.edges[place].add(Edge(source, is_call))
        if place.image != self.reading or place.address not in self.here:
            self._reach(place)

    def _go_to_import(self, source: Place, name: str, *, is_call: bool) -> None:
        self._import(source.image, name)
        if name not in self.exports and name not in self.images[source.image].weak:
            self.unclear[source] = f"no file that is read has {name}"
        for place in self.exports.get(name, ()):
            self.edges[place].add(Edge(source, is_call))
            self._reach(place)

    def _name_of_stub(self, place: Place) -> str | None:
        """Return the name of the import that the code at ``place`` does nothing but jump to."""
        if place not in self.stubs:
            self.stubs[place] = self._read_stub(place)
        return self.stubs[place]

    def _read_stub(self, place: Place) -> str | None:
        image = self.images[place.image]
        if not image.slots:
            return None
        slot = self.machine.stub_slot(image, place.address)
        return None if slot is None else image.slots.get(slot)

    def _scan(self, start: Place, end: int) -> None:
        """Read one function, and follow all that leads out of it."""
        image = self.images[start.image]
        code = self.machine.disassemble(image, start.address, end)
        self.here, self.reading = frozenset(one[0] for one in code), start.image
        events = list(self.machine.events(image, code))
        context = Context(start.image, image, start.address, end)
        for event in events:
            place = Place(start.image, event.address)
            for way in ways_of(context, event.kind, event.value):
                self._follow(place, way)
            if event.kind in {Kind.ENTER, Kind.FOREIGN}:
                self.entrances.append(Entrance(place, event.kind is Kind.FOREIGN))
        for event in events:
            if event.kind is Kind.INDIRECT_JUMP:
                self._tables(start, end, code, events, event.address)
        self._fall_through(start, end, code)

    def _follow(self, source: Place, way: Way) -> None:
        match way:
            case Goes(place, is_call):
                self._go(source, place, is_call=is_call)
            case Imports(name, is_call, is_taken):
                if is_taken:
                    self._take_import(source.image, name)
                else:
                    self._go_to_import(source, name, is_call=is_call)
            case Takes(place):
                self._take(place)
            case Reaches(place):
                self._reach(place)
            case Unclear(why):
                self.unclear[source] = why
            case Pointer() | Harmless():
                pass  # taken where it was made, or no code

    def _tables(
        self,
        start: Place,
        end: int,
        code: Sequence[Instruction],
        events: Sequence[Event],
        jump: int,
    ) -> None:
        """Add what jump tables lead to, from the indirect jump at ``jump``.

        Compilers name the table, and check the index, just before the jump. Where either is not
        there, all that the function names may be a table, as long as it leads into the function;
        where both are, a case may have been laid elsewhere.
        """
        image = self.images[start.image]
        here = Span(start.address, end)
        near = [one for one in events if jump - _NEAR_BYTES <= one.address <= jump]
        window = [one for one in code if jump - _NEAR_BYTES <= one[0] <= jump]
        everywhere = Span(image.code[0].start, image.code[-1].end)
        targets: list[int] = []
        for table in reversed(_tables_in(image, near)) if _bounds_in(near) else ():
            targets = self._targets(image, window, near, [table], here, everywhere)
            if targets:
                break
        else:
            targets = self._targets(image, code, events, _tables_in(image, events), here, here)
        for target in dict.fromkeys(targets):
            place = Place(start.image, target)
            if here.start <= target < here.end:
                if target not in self.here:
                    continue
            elif not self._is_part(place):
                continue
            self.edges[place].add(Edge(Place(start.image, jump), is_call=False))
            self._reach(place)

    def _targets(
        self,
        image: Image,
        code: Sequence[Instruction],
        events: Sequence[Event],
        tables: Sequence[int],
        here: Span,
        within: Span,
    ) -> list[int]:
        """Return what ``tables`` lead to, by what ``events`` name and check."""
        bases = [value for value in _references_in(events) if here.start <= value < here.end]
        most = max(_bounds_in(events), default=_DEFAULT_BOUND - 1) + 1
        return list(self.machine.table_targets(image, code, tables, bases, most, here, within))

    def _is_part(self, place: Place) -> bool:
        """Return True if another function has an instruction there, as a part laid elsewhere."""
        image = self.images[place.image]
        cell = _layout(image).cell(place.address)
        return cell is not None and place.address in _boundaries(self.machine, image, *cell)

    def _fall_through(self, start: Place, end: int, code: Sequence[Instruction]) -> None:
        """Go on to what follows where control may: a call at a function's end never returns."""
        last = next((one for one in reversed(code) if not self.machine.is_padding(one)), None)
        if last is None or self.machine.stops(last):
            return
        image = self.images[start.image]
        if not image.in_code(end):
            return
        if self.machine.is_call(last) and image.starts_function(end):
            return
        place = Place(start.image, end)
        self.edges[place].add(Edge(Place(start.image, last[0]), is_call=False))
        self._reach(place)
