"""Find the code that can run, from the entry points on, and record how it is reached.

In doubt, code is assumed to run. A function can run if its address is in data, or is computed by
code that can run. All of a Go program can run, since the linker has already removed unused code. If
it is unknown which code can run from a location, the graph records the location and the reason.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.scan.analysis import KnownAnalysis
from seccompgen.scan.code import code_of
from seccompgen.scan.unknown import Why
from seccompgen.scan.ways import Goes, ImageAddress, Imports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.scan.analysis import Analysis
    from seccompgen.scan.code import DecodedFunction, FunctionFacts
    from seccompgen.scan.image import Image
    from seccompgen.scan.processor import Machine

_BY_NAME = frozenset({"dlsym", "dlvsym"})


class Edge(NamedTuple):
    """A way to a location: the instruction that leads there, and True if by a call."""

    source: ImageAddress
    is_call: bool


class Entrance(NamedTuple):
    """An instruction that enters the kernel; ``foreign`` if by an ABI other than the program's."""

    place: ImageAddress
    foreign: bool


@dataclass(frozen=True, slots=True)
class CodeGraph:
    """The code that can run.

    ``cells`` are the functions that can run, by start; one may begin within another, where control
    arrives in the middle of an apparent instruction. ``callers`` are the cells that lead to a
    location. ``taken`` are locations that may be reached by a pointer. ``exports`` are the
    locations of each exported name. ``unclear`` are locations whose targets are unknown, with the
    reason and a detail.
    """

    images: tuple[Image, ...]
    machine: Machine
    known: tuple[KnownAnalysis, ...]
    cells: Mapping[ImageAddress, FunctionFacts]
    callers: Mapping[ImageAddress, frozenset[ImageAddress]]
    taken: frozenset[ImageAddress]
    entrances: tuple[Entrance, ...]
    exports: Mapping[str, Sequence[ImageAddress]]
    overlays: tuple[ImageAddress, ...]
    unclear: Mapping[ImageAddress, tuple[Why, str]]

    def read(self, cell: ImageAddress) -> DecodedFunction:
        """Return the function that starts at ``cell``, decoded."""
        return code_of(self.images[cell.image]).read(cell.address, self.cells[cell].end)

    def cells_at(self, place: ImageAddress) -> list[ImageAddress]:
        """Return the start of each function that has an instruction at ``place``."""
        facts = self.known[place.image].cell(place.address)
        if facts is None:
            return []
        first = ImageAddress(place.image, facts.start)
        starts = [first]
        for start in self.overlays[bisect_right(self.overlays, first) :]:
            if start > place:
                break
            starts.append(start)
        return [
            start
            for start in starts
            if start in self.cells
            and place.address < self.cells[start].end
            and place.address in self.read(start).addresses
        ]

    def edges_to(self, place: ImageAddress) -> Iterator[Edge]:
        """Yield the known ways to ``place`` besides the instruction before it."""
        for cell in self.cells_at(place):
            for source, is_call in self.read(cell).inner.get(place.address, ()):
                yield Edge(ImageAddress(place.image, source), is_call)
        for caller in self.callers.get(place, ()):
            for source, way in self.read(caller).ways:
                if isinstance(way, Goes | Imports) and place in self._targets(caller.image, way):
                    yield Edge(ImageAddress(caller.image, source), way.is_call)

    def never_returns(self, cell: ImageAddress, call: int) -> bool:
        """Return True if the targets of the call at ``call`` are known, and none returns."""
        targets = [
            target
            for source, way in self.read(cell).ways
            if source == call and isinstance(way, Goes | Imports)
            for target in self._targets(cell.image, way)
        ]
        return bool(targets) and all(_is_endless(self.known, target) for target in targets)

    def _targets(self, image: int, way: Goes | Imports) -> Sequence[ImageAddress]:
        if isinstance(way, Goes):
            return (ImageAddress(image, way.address),)
        return () if way.is_taken else self.exports.get(way.name, ())


def _is_endless(known: Sequence[KnownAnalysis], function: ImageAddress) -> bool:
    facts = known[function.image].cell(function.address)
    return facts is not None and facts.start == function.address and facts.endless


def explore(
    images: tuple[Image, ...],
    machine: Machine,
    analyses: Sequence[Analysis],
    loaded: Iterable[int] = (),
) -> CodeGraph:
    """Find the code of ``images`` that can run; the first image is the program.

    All exported functions of images whose index is in ``loaded`` can run.
    """
    return _Explorer(
        images, machine, tuple(map(KnownAnalysis, analyses)), frozenset(loaded)
    ).graph()


class _Explorer:
    def __init__(
        self,
        images: tuple[Image, ...],
        machine: Machine,
        known: tuple[KnownAnalysis, ...],
        loaded: frozenset[int],
    ) -> None:
        self.images = images
        self.machine = machine
        self.known = known
        self.loaded = loaded
        self.exports: dict[str, list[ImageAddress]] = defaultdict(list)
        for i, image in enumerate(images):
            for name, addresses in image.exports.items():
                self.exports[name] += [ImageAddress(i, address) for address in addresses]
        self.cells: dict[ImageAddress, FunctionFacts] = {}
        self.waiting: list[ImageAddress] = []
        self.callers: dict[ImageAddress, set[ImageAddress]] = defaultdict(set)
        self.taken: set[ImageAddress] = set()
        self.entrances: list[Entrance] = []
        self.unclear: dict[ImageAddress, tuple[Why, str]] = {}
        self.overlays: set[ImageAddress] = set()
        self.asking: set[int] = set()
        """The images that look up functions by name, or that may pass names to images that do."""

    def graph(self) -> CodeGraph:
        for i, (image, known) in enumerate(zip(self.images, self.known, strict=True)):
            analysis = known.analysis
            for address in analysis.taken:
                self._take(ImageAddress(i, address))
            for address in analysis.reached:
                self._reach(ImageAddress(i, address))
            for name in analysis.imported:
                self._take_import(i, name)
            for address, why, detail in image.unread:
                self.unclear[ImageAddress(i, address)] = why, detail
            if image.is_go:
                for facts in analysis.functions:
                    self._reach(ImageAddress(i, facts.start))
            if i in self.loaded:
                for found in image.exports.values():
                    for address in found:
                        self._take(ImageAddress(i, address))
        while self.waiting:
            self._follow(self.waiting.pop())
        return CodeGraph(
            images=self.images,
            machine=self.machine,
            known=self.known,
            cells=self.cells,
            callers={place: frozenset(found) for place, found in self.callers.items()},
            taken=frozenset(self.taken),
            entrances=tuple(sorted(self.entrances)),
            exports=self.exports,
            overlays=tuple(sorted(self.overlays)),
            unclear=self.unclear,
        )

    def _reach(self, place: ImageAddress) -> None:
        known = self.known[place.image]
        for facts in known.at(place.address):
            start = ImageAddress(place.image, facts.start)
            if start not in self.cells:
                self.cells[start] = facts
                self.waiting.append(start)
                if facts.start in known.overlays:
                    self.overlays.add(start)

    def _take(self, place: ImageAddress) -> None:
        if place not in self.taken:
            self.taken.add(place)
            self._reach(place)

    def _take_import(self, number: int, name: str) -> None:
        self._import(number, name)
        for place in self.exports.get(name, ()):
            self._take(place)

    def _import(self, number: int, name: str) -> None:
        """Note that image ``number`` imports ``name``.

        With dlsym(), it can get all exports whose names are in its data, or in the data of images
        that may have passed it the name: those that use one of its exports.
        """
        if name not in _BY_NAME:
            return
        waiting = [number]
        while waiting:
            asking = waiting.pop()
            if asking in self.asking:
                continue
            self.asking.add(asking)
            waiting += [
                i for i, used in enumerate(self.uses) if used & set(self.images[asking].exports)
            ]
            for other in sorted(self.images[asking].texts & self.exports.keys()):
                self._take_import(asking, other)

    @cached_property
    def uses(self) -> list[set[str]]:
        """The names that each image imports."""
        return [{*image.slots.values(), *image.imported_pointers} for image in self.images]

    def _follow(self, cell: ImageAddress) -> None:
        """Follow all that leads out of one function."""
        facts, number = self.cells[cell], cell.image
        for address in facts.goes:
            self.callers[ImageAddress(number, address)].add(cell)
            self._reach(ImageAddress(number, address))
        for address in facts.takes:
            self._take(ImageAddress(number, address))
        for address in facts.reaches:
            self._reach(ImageAddress(number, address))
        for name in facts.imports:
            self._import(number, name)
            if name not in self.exports and name not in self.images[number].weak:
                self.unclear[cell] = Why.NO_FILE, name
            for place in self.exports.get(name, ()):
                self.callers[place].add(cell)
                self._reach(place)
        for name in facts.takes_imports:
            self._take_import(number, name)
        for address, foreign in facts.entrances:
            self.entrances.append(Entrance(ImageAddress(number, address), foreign))
        for address, why, detail in facts.unclear:
            self.unclear[ImageAddress(number, address)] = why, detail
        if facts.after is not None and not self._never_returns(number, facts.after):
            self._reach(ImageAddress(number, facts.end))

    def _never_returns(self, number: int, called: int | str) -> bool:
        targets = (
            [ImageAddress(number, called)]
            if isinstance(called, int)
            else self.exports.get(called, [])
        )
        return bool(targets) and all(_is_endless(self.known, target) for target in targets)
