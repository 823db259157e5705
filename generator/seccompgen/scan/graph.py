"""Find the code that can run, from the entry points on, and record how it is reached.

In doubt, code is assumed to run. A function can run if its address is in data, or is computed by
code that can run. All of a Go program can run, since the linker has already removed unused code. If
it is unknown which code can run from a location, the graph records the location and the reason.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.scan.analysis import KnownAnalysis
from seccompgen.scan.code import code_of
from seccompgen.scan.gates import closed_functions
from seccompgen.scan.lookups import ANY_NAME, LOOKUPS
from seccompgen.scan.result import Lead
from seccompgen.scan.unknown import Why
from seccompgen.scan.ways import Goes, ImageAddress, Imports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from seccompgen.scan.analysis import Analysis
    from seccompgen.scan.code import DecodedFunction, FunctionFacts
    from seccompgen.scan.image import Image
    from seccompgen.scan.processor import Machine
    from seccompgen.scan.result import Caveat


class Edge(NamedTuple):
    """A way to a location: the instruction that leads there, and True if by a call."""

    source: ImageAddress
    is_call: bool


class Entrance(NamedTuple):
    """An instruction that enters the kernel; ``foreign`` if by an ABI other than the program's."""

    place: ImageAddress
    foreign: bool


class ControlOrigin(NamedTuple):
    """An origin of control in the image with index ``image``; ``name`` is that of an import."""

    image: int
    lead: Lead
    name: str = ""


Cause: TypeAlias = ImageAddress | ControlOrigin
"""The start of a function, or an origin: what leads to a function or an import."""


@dataclass(frozen=True, slots=True)
class CodeGraph:
    """The code that can run.

    ``cells`` are the functions that can run, by start; one may begin within another, where control
    arrives in the middle of an apparent instruction. ``callers`` are the cells that lead to a
    location. ``taken`` are locations that may be reached by a pointer. ``exports`` are the
    locations of each exported name. ``unclear`` are locations whose targets are unknown, with the
    reason and a detail. ``leads`` lists what each cause leads to. ``gates`` are those that kept
    functions out (see `gates`). ``live`` are the instructions that count of functions of which only
    a part does.
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
    leads: Mapping[Cause, Mapping[Cause, None]]
    gates: frozenset[Caveat]
    live: Mapping[ImageAddress, frozenset[int]]

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
            live = self.live.get(caller)
            for source, way in self.read(caller).ways:
                if live is not None and source not in live:
                    continue
                if isinstance(way, Goes | Imports) and place in self._targets(caller.image, way):
                    yield Edge(ImageAddress(caller.image, source), way.is_call)

    def is_stub(self, jump: ImageAddress) -> bool:
        """Return True if the jump at ``jump`` is a stub that a linker made for an import.

        Who calls or jumps to a stub, or takes its address, counts as an origin of the import
        itself. So the stub is not another origin, and nothing else runs on into it.
        """
        return self.machine.is_lazy_stub(self.images[jump.image], jump.address)

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


class PartOfFunction(NamedTuple):
    """The part of a function that still counts: its facts, and the addresses of instructions.

    Among ``live`` are the calls that are under way.
    """

    facts: FunctionFacts
    live: frozenset[int]


class Begun(NamedTuple):
    """The state of a program that has run for a while.

    Nothing will call ``over``, and nothing will look up the names ``found``, as at its start.
    ``taken`` are functions whose addresses have been taken, ``touched`` data objects that code has
    reached. ``parts`` are functions that are under way. The facts ``starts`` are used instead of
    what the analysis has. Nobody looks up ``main``.
    """

    over: frozenset[ImageAddress] = frozenset()
    found: frozenset[str] = frozenset()
    taken: frozenset[ImageAddress] = frozenset()
    touched: frozenset[ImageAddress] = frozenset()
    parts: Mapping[ImageAddress, PartOfFunction] = MappingProxyType({})
    starts: Mapping[ImageAddress, FunctionFacts] = MappingProxyType({})
    main: ImageAddress | None = None


def explore(
    images: tuple[Image, ...],
    machine: Machine,
    analyses: Sequence[Analysis],
    loaded: Iterable[int] = (),
    without: Iterable[str] = (),
    begun: Begun | None = None,
) -> CodeGraph:
    """Find the code of ``images`` that can run; the first image is the program.

    All exported functions of images whose index is in ``loaded`` can run. The program is taken not
    to use its imports ``without``. If it has ``begun``, only what can run from then on counts.
    """
    known = tuple(map(KnownAnalysis, analyses))
    options = frozenset(loaded), frozenset(without), begun or Begun()
    return _Explorer(images, machine, known, *options).graph()


class _Explorer:
    def __init__(
        self,
        images: tuple[Image, ...],
        machine: Machine,
        known: tuple[KnownAnalysis, ...],
        loaded: frozenset[int],
        without: frozenset[str],
        begun: Begun,
    ) -> None:
        self.begun = begun
        self.images = images
        self.machine = machine
        self.known = known
        self.loaded = loaded
        self.without = without
        self.exports: dict[str, list[ImageAddress]] = defaultdict(list)
        for i, image in enumerate(images):
            for name, addresses in image.exports.items():
                self.exports[name] += [ImageAddress(i, address) for address in addresses]
        self.cells: dict[ImageAddress, FunctionFacts] = {}
        self.waiting: list[ImageAddress] = []
        self.callers: dict[ImageAddress, set[ImageAddress]] = defaultdict(set)
        self.taken: set[ImageAddress] = set()
        self.imports_taken: set[ControlOrigin] = set()
        self.entrances: list[Entrance] = []
        self.unclear: dict[ImageAddress, tuple[Why, str]] = {}
        self.overlays: set[ImageAddress] = set()
        self.leads: dict[Cause, dict[Cause, None]] = defaultdict(dict)
        self.closed = {
            ImageAddress(image, start): gate
            for image, start, gate in closed_functions(images, known, loaded)
        }
        self.gates: set[Caveat] = set()

    def graph(self) -> CodeGraph:
        begun = self.begun
        for i, (image, known) in enumerate(zip(self.images, self.known, strict=True)):
            analysis = known.analysis
            data, roots = ControlOrigin(i, Lead.DATA), frozenset(image.roots)
            started = ControlOrigin(i, Lead.STARTED)
            for address in analysis.taken:
                if ImageAddress(i, address) in begun.over:
                    continue
                self._take(started if address in roots else data, ImageAddress(i, address))
            for address in analysis.reached:
                self._reach(data, ImageAddress(i, address))
            for name in analysis.imported:
                self._take_import(data, i, name)
            for start in (*analysis.standing, *self._named_outside(i)):
                self._touch(data, i, start)
            for address, why, detail in image.unread:
                self.unclear[ImageAddress(i, address)] = why, detail
            if image.is_go:
                for facts in analysis.functions:
                    self._reach(ControlOrigin(i, Lead.GO_WHOLE), ImageAddress(i, facts.start))
            if i in self.loaded:
                for found in image.exports.values():
                    for address in found:
                        self._take(ControlOrigin(i, Lead.LIBRARY), ImageAddress(i, address))
        self._find_for_interpreter(begun.found)
        for place in begun.taken:
            self._take(ControlOrigin(place.image, Lead.BEFORE), place)
        for place in begun.touched:
            self._touch(ControlOrigin(place.image, Lead.BEFORE), place.image, place.address)
        for cell, part in begun.parts.items():
            self._resume(cell, part)
        while self.waiting:
            cell = self.waiting.pop()
            self._follow(cell, self.cells[cell])
        parts = {cell: part for cell, part in begun.parts.items() if cell not in self.cells}
        whole = {one: self.known[one.image].facts_at(one.address) for one in parts}
        return CodeGraph(
            images=self.images,
            machine=self.machine,
            known=self.known,
            cells=self.cells | whole,
            callers={place: frozenset(found) for place, found in self.callers.items()},
            taken=frozenset(self.taken),
            entrances=tuple(sorted(set(self.entrances))),
            exports=self.exports,
            overlays=tuple(sorted(self.overlays)),
            unclear=self.unclear,
            leads=self.leads,
            gates=frozenset(self.gates),
            live={cell: part.live for cell, part in parts.items()},
        )

    def _resume(self, cell: ImageAddress, part: PartOfFunction) -> None:
        """Follow a function from where it is."""
        known = self.known[cell.image]
        self.leads[ControlOrigin(cell.image, Lead.BEFORE)][cell] = None
        self._follow(cell, part.facts)
        if cell.address in known.overlays:
            self.overlays.add(cell)
        facts = known.facts_at(cell.address)
        called = [ImageAddress(cell.image, address) for address in facts.goes]
        for name in facts.imports:
            called += self.exports.get(name, ())
        for place in called:
            self.callers[place].add(cell)

    def _reach(self, cause: Cause, place: ImageAddress) -> None:
        known = self.known[place.image]
        for facts in known.at(place.address):
            start = ImageAddress(place.image, facts.start)
            if start in self.closed:
                self.gates.add(self.closed[start])
                continue
            self.leads[cause][start] = None
            if start not in self.cells:
                self.cells[start] = self.begun.starts.get(start, facts)
                self.waiting.append(start)
                if facts.start in known.overlays:
                    self.overlays.add(start)

    def _take(self, cause: Cause, place: ImageAddress) -> None:
        self.taken.add(place)
        self._reach(cause, place)

    def _named_outside(self, number: int) -> Iterator[int]:
        """Yield the starts of objects that other images may refer to, by import or by dlsym()."""
        image = self.images[number]
        others = [one for one in self.images if one is not image]
        for name, starts in image.named_objects.items():
            if number in self.loaded or any(one.mentions(name.encode()) for one in others):
                yield from starts

    def _touch(self, cause: Cause, number: int, start: int) -> None:
        """Count a data object and all to which it points, and take what they contain."""
        touching = [(cause, start)]
        while touching:
            before, at = touching.pop()
            origin = ControlOrigin(number, Lead.OBJECT, f"{at:#x}")
            is_new = origin not in self.leads
            self.leads[before][origin] = None
            if not is_new:
                continue
            self.leads[origin] = {}
            facts = self.known[number].objects[at]
            for address in facts.taken:
                self._take(origin, ImageAddress(number, address))
            for address in facts.reached:
                self._reach(origin, ImageAddress(number, address))
            for name in facts.imported:
                self._take_import(origin, number, name)
            touching += [(origin, other) for other in facts.leads]

    def _find_for_interpreter(self, found: frozenset[str]) -> None:
        """Take what the program's interpreter looks up by name.

        It finds these without dlsym(): glibc's ld.so __libc_early_init(), malloc() and free() in
        libc, musl's its own later stages. Its code hands their names over, or points to them. Its
        other text, such as musl's list of names that programs may ask for, is not looked up.
        """
        if self.images[0].interpreter:
            texts = (self.images[1].pointed_texts | self.known[1].texts) - found
            self._find(ControlOrigin(1, Lead.INTERPRETER), texts)

    def _find(self, cause: Cause, texts: AbstractSet[str]) -> None:
        """Take each export whose name is among ``texts``."""
        for name in sorted(texts & self.exports.keys()):
            for place in self.exports[name]:
                if place != self.begun.main:
                    self._take(cause, place)

    def _take_import(self, cause: Cause, number: int, name: str) -> None:
        origin = ControlOrigin(number, Lead.IMPORT, name)
        if origin in self.imports_taken:
            self.leads[cause][origin] = None
            return
        for place in self._import(cause, number, name, (ANY_NAME,)):
            self._take(origin, place)
            self.imports_taken.add(origin)

    def _import(
        self, cause: Cause, number: int, name: str, lookups: Sequence[str]
    ) -> Sequence[ImageAddress]:
        """Note that image ``number`` imports ``name``, and return its functions.

        With dlsym(), it can get the exports with the names ``lookups``. Where these are unknown, it
        can get all exports whose names are in its data, or in the data of images that may have
        passed it the name: those that use one of its exports.
        """
        if self._is_out(number, name):
            return ()
        origin = ControlOrigin(number, Lead.IMPORT, name)
        self.leads[cause][origin] = None
        if name in LOOKUPS:
            if ANY_NAME in lookups:
                self._look_up(origin, number)
            for found in lookups:
                asking = ControlOrigin(number, Lead.LOOKUP, found)
                self.leads[origin][asking] = None
                self._find(asking, frozenset((found,)))
        places = self.exports.get(name, ())
        for place in places:
            self._reach(origin, place)
        return places

    def _is_out(self, number: int, name: str) -> bool:
        return number == 0 and name in self.without

    def _look_up(self, cause: Cause, number: int) -> None:
        asking = ControlOrigin(number, Lead.LOOKUP)
        is_new = asking not in self.leads
        self.leads[cause][asking] = None
        if not is_new:
            return
        self.leads[asking] = {}
        for i, image in enumerate(self.images):
            if not image.imports.isdisjoint(self.images[number].exports):
                self._look_up(asking, i)
        texts = self.images[number].texts_among(self.exports.keys())
        self._find(asking, texts | self.known[number].texts)

    def _follow(self, cell: ImageAddress, facts: FunctionFacts) -> None:
        """Follow all that leads out of one function, or out of a part of it."""
        number = cell.image
        for address in facts.goes:
            self.callers[ImageAddress(number, address)].add(cell)
            self._reach(cell, ImageAddress(number, address))
        for address in facts.takes:
            self._take(cell, ImageAddress(number, address))
        for address in facts.reaches:
            self._reach(cell, ImageAddress(number, address))
        for name in facts.imports:
            missing = name not in self.exports and name not in self.images[number].weak
            if missing and not self._is_out(number, name):
                self.unclear[cell] = Why.NO_FILE, name
            for place in self._import(cell, number, name, facts.lookups):
                self.callers[place].add(cell)
        for name in facts.takes_imports:
            self._take_import(cell, number, name)
        for start in facts.touches:
            self._touch(cell, number, start)
        for address, foreign in facts.entrances:
            self.entrances.append(Entrance(ImageAddress(number, address), foreign))
        for address, why, detail in facts.unclear:
            self.unclear[ImageAddress(number, address)] = why, detail
        if facts.after is not None and not self._never_returns(number, facts.after):
            self._reach(cell, ImageAddress(number, facts.end))

    def _never_returns(self, number: int, called: int | str) -> bool:
        targets = (
            [ImageAddress(number, called)]
            if isinstance(called, int)
            else self.exports.get(called, [])
        )
        return bool(targets) and all(_is_endless(self.known, target) for target in targets)
