"""The functions that a library exports, the code that belongs to each, and the calls in it.

Code is a function's own if it is reached without another exported function in between: `malloc` is
not part of all functions that allocate. Two kinds of exported functions do not end a function's
code: wrappers that have the name of a system call, such as `madvise`, and functions that are not in
every compared release, such as `_Fork`. An older release made the latter's calls by itself.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.scan.analysis import alone, analyse
from seccompgen.scan.binary import read_binary
from seccompgen.scan.elf import image_of
from seccompgen.scan.graph import explore
from seccompgen.scan.idioms import resolve
from seccompgen.scan.layout import machine_for
from seccompgen.scan.values import NumberFollower
from seccompgen.scan.ways import ImageAddress

from companions.hidden import with_hidden
from companions.methods import methods

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.core.tables import Table
    from seccompgen.scan.analysis import Spread
    from seccompgen.scan.binary import Binary
    from seccompgen.scan.graph import CodeGraph

START = "(start)"
"""The name for the dynamic loader's work before the program's own code."""

_EXECS = frozenset({"execve", "execveat"})


class Made(NamedTuple):
    """A call: the instruction that determines it, and the one that enters the kernel."""

    site: ImageAddress
    entrance: ImageAddress
    name: str


class Library:
    """The files of one release of a library, read together."""

    def __init__(
        self,
        paths: Sequence[Path],
        table: Table,
        beside: Sequence[Path] = (),
        spread: Spread = alone,
    ) -> None:
        """Read the files at ``paths``, and the files ``beside``, a C library that these may call.

        Raises InputError for a file that cannot be read.
        """
        binaries = [read_binary(path) for path in (*paths, *beside)]
        self._own_images = range(len(paths))
        images = tuple(with_hidden(image_of(one)) for one in binaries)
        self._private = frozenset(name for one in binaries for name in _private_names(one))
        analyses = analyse(images, spread, None)
        self.table = table
        self._python = [one for one in binaries if Path(one.path).name.startswith("libpython")]
        self.machine = machine_for(images[0].abi)
        self.graph: CodeGraph = explore(images, self.machine, analyses, range(len(images)))
        self.follower = NumberFollower(self.graph)
        self._cut: frozenset[ImageAddress] = frozenset()
        self.reading = lru_cache(maxsize=1 << 16)(self.graph.read)
        self.own_of = lru_cache(maxsize=1 << 16)(self._own_of)

    @cached_property
    def functions(self) -> Mapping[str, tuple[ImageAddress, ...]]:
        """The starts of the public functions, by name, in every version.

        A name with a leading underscore is left out if another name denotes the same function.
        """
        graph = self.graph
        public = {
            name: places
            for name, several in graph.exports.items()
            if name not in self._private
            and (places := tuple(one for one in several if one.image in self._own_images))
        }
        plain = {places for name, places in public.items() if name[0] != "_"}
        found = {
            name: places for name, places in public.items() if name[0] != "_" or places not in plain
        }
        for i, binary in enumerate(self._python):
            for name, address in methods(binary).items():
                found[name] = (ImageAddress(i, address),)
        for i, image in enumerate(graph.images):
            if i not in self._own_images:
                continue
            if "__tls_get_addr" in image.exports and image.roots:
                found[START] = (ImageAddress(i, image.roots[0]),)
        return found

    def divide(self, common: Iterable[str]) -> None:
        """Use the functions named in ``common`` as borders of the code of others."""
        borders = {one for one in common if not self._hands_on(one)}
        cut = {place for name in borders & self.functions.keys() for place in self.functions[name]}
        for name, places in self.graph.exports.items():
            if not self._hands_on(name):
                cut |= {one for one in places if one.image not in self._own_images}
        self._cut = frozenset(cut)
        self.own_of.cache_clear()

    def _hands_on(self, name: str) -> bool:
        """Return True if ``name`` is that of a wrapper of a system call."""
        plain = name.lstrip("_")
        numbers = self.table.numbers
        return plain in numbers or plain.removesuffix("64") in numbers or plain == "syscall"

    def _own_of(self, name: str) -> frozenset[ImageAddress]:
        """Return the starts of the pieces of code that belong to function ``name``."""
        graph = self.graph
        starts = self.functions[name]
        own: set[ImageAddress] = set()
        waiting = list(starts)
        while waiting:
            place = waiting.pop()
            for facts in graph.known[place.image].at(place.address):
                cell = ImageAddress(place.image, facts.start)
                if cell in own or cell not in graph.cells:
                    continue
                own.add(cell)
                waiting += (one for one in self._led_to(cell) if one not in self._cut)
        return frozenset(own)

    def _led_to(self, cell: ImageAddress) -> Iterator[ImageAddress]:
        """Yield the targets of a piece of code: of calls, jumps, and addresses that it makes."""
        graph = self.graph
        facts = graph.cells[cell]
        called = [ImageAddress(cell.image, address) for address in facts.goes]
        for name in facts.imports:
            called += graph.exports.get(name, ())
        for place in called:
            if not self.ends(place) or self._becomes_another(place):
                yield place
        for address in (*facts.takes, *facts.reaches):
            yield ImageAddress(cell.image, address)
        for name in facts.takes_imports:
            yield from graph.exports.get(name, ())
        if isinstance(facts.after, int):
            after = [ImageAddress(cell.image, facts.after)]
        else:
            after = list(graph.exports.get(facts.after, ())) if facts.after else []
        if facts.after is not None and not (after and all(map(self.ends, after))):
            yield ImageAddress(cell.image, facts.end)

    def ends(self, place: ImageAddress) -> bool:
        """Return True if the function at ``place`` never returns, as when it ends the program."""
        facts = self.graph.known[place.image].cell(place.address)
        return facts is not None and facts.start == place.address and facts.endless

    def _becomes_another(self, place: ImageAddress) -> bool:
        """Return True if a function does not return because it executes a program."""
        graph = self.graph
        facts = graph.cells.get(place)
        called = [ImageAddress(place.image, address) for address in facts.goes] if facts else []
        for name in facts.imports if facts else ():
            called += graph.exports.get(name, ())
        made = [one.name for each in (place, *called) for one in self.made.get(each, ())]
        return not _EXECS.isdisjoint(made)

    @cached_property
    def made(self) -> Mapping[ImageAddress, tuple[Made, ...]]:
        """The calls, by the piece of code that determines each."""
        graph, table = self.graph, self.table
        found: dict[ImageAddress, dict[Made, None]] = defaultdict(dict)
        for entrance in graph.entrances:
            if entrance.foreign:
                continue
            values = self.follower.numbers(entrance.place)
            for value in resolve(self.follower, dict.fromkeys(values), table.numbers.get):
                name = None if value.number is None else table.names.get(value.number)
                if name is None:
                    continue
                for cell in graph.cells_at(value.site):
                    found[cell][Made(value.site, entrance.place, name)] = None
        return {cell: tuple(made) for cell, made in found.items()}

    def calls_of(self, name: str) -> Mapping[str, tuple[Made, ...]]:
        """Return the calls that function ``name`` makes by itself, by name."""
        found: dict[str, set[Made]] = defaultdict(set)
        for cell in self.own_of(name):
            for made in self.made.get(cell, ()):
                found[made.name].add(made)
        return {call: tuple(sorted(found[call])) for call in sorted(found)}


def _private_names(binary: Binary) -> Iterator[str]:
    """Yield the names for use by the library itself only: those of version ``*_PRIVATE``."""
    sections = {str(one.name): one for one in binary.sections}
    if not {".gnu.version", ".gnu.version_d", ".dynsym"} <= sections.keys():
        return
    private = {
        version["vd_ndx"]
        for version, names in sections[".gnu.version_d"].iter_versions()
        if next(iter(names)).name.endswith("_PRIVATE")
    }
    symbols = zip(
        sections[".dynsym"].iter_symbols(), sections[".gnu.version"].iter_symbols(), strict=True
    )
    for symbol, version in symbols:
        index = version["ndx"]
        if isinstance(index, int) and index & 0x7FFF in private:
            yield symbol.name
