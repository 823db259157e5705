"""The code that can run from a function on: for a filter that a program installs itself.

If that is main(), left out is what only the start leads to: ld.so's entry point, the initialisers
of the program and of the files that it is loaded with, and `__libc_early_init`. All else counts
that may come later: the program's entry point, which calls main() and then exit(), finalisers, what
pointers in data lead to, and each function whose address code of the start takes, such as handlers
for signals and exit, and functions of threads. What the start looks up by dlsym() counts as well,
and what is in the data objects that it reaches. Initialisers of libraries that are loaded while the
program runs count, too. From a later function on, `marker` says what of main(), and of what it
calls, counts.

The entry point of glibc's ld.so hands functions to others as arguments, such as its own main part,
to be called at once (elf/rtld.c, elf/dl-error-skeleton.c). In the releases that `gates` names, none
is assumed to be kept, so an address that code of the start makes only for the next call does not
count there, nor does that of the entry point, which is compared with the program's. Another
interpreter's entry point counts whole, and so does all of a static program, whose start is one
function with its end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seccompgen.scan.gates import is_known_loader
from seccompgen.scan.graph import Begun, ControlOrigin, explore
from seccompgen.scan.marker import passed
from seccompgen.scan.processor import EffectKind
from seccompgen.scan.result import Caveat, Lead
from seccompgen.scan.ways import ImageAddress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.scan.analysis import Analysis
    from seccompgen.scan.graph import CodeGraph
    from seccompgen.scan.image import Image
    from seccompgen.scan.processor import Instruction, Machine

MAIN = "main"
_LOADER = 1
"""The index of the interpreter."""
_AT_START = "__libc_early_init"
"""Called once for each namespace: again only after dlmopen()."""
_NEW_NAMESPACE = "dlmopen"


def after_start(
    whole: CodeGraph,
    analyses: Sequence[Analysis],
    loaded: Iterable[int],
    without: Iterable[str],
    marker: str = MAIN,
) -> tuple[CodeGraph, frozenset[Caveat]]:
    """Return the part of ``whole`` that can run once ``marker`` has been called; see `explore`.

    The second value are its caveats. Raises InputError if there is no such function.
    """
    images = whole.images
    later = frozenset(loaded)
    over = frozenset(
        ImageAddress(i, address)
        for i, image in enumerate(images)
        if i not in later
        for address in image.starters
    )
    found, entry = frozenset[str](), frozenset[ImageAddress]()
    if is_known_loader(images):
        entry = frozenset({ImageAddress(_LOADER, images[_LOADER].roots[0])})
        new = frozenset({_NEW_NAMESPACE})
        if not any(
            new & (image.imports | image.texts_among(new) | known.texts)
            for image, known in zip(images, whole.known, strict=True)
        ):
            found = frozenset({_AT_START})
    begun = Begun(over | entry, found, frozenset(_looked_up(whole)))
    caveats = frozenset[Caveat]()
    if marker != MAIN:
        known = passed(whole, marker)
        begun = begun._replace(
            parts=known.parts,
            starts=known.starts,
            main=known.main,
            taken=begun.taken - {known.main},
        )
        caveats = frozenset() if known.main else frozenset({Caveat.ANY_TIME})
    while True:
        graph = explore(images, whole.machine, analyses, later, without, begun)
        gone = [cell for cell in whole.cells if cell not in graph.cells]
        taken = begun.taken.union(*(_kept_by(whole, cell) for cell in gone)) - entry
        touched = begun.touched.union(
            ImageAddress(cell.image, start) for cell in gone for start in whole.cells[cell].touches
        )
        if (taken, touched) == (begun.taken, begun.touched):
            unclear = {place: why for place, why in whole.unclear.items() if why[0].leads_on}
            return replace(graph, unclear={**unclear, **graph.unclear}), caveats
        begun = begun._replace(taken=taken, touched=touched)


def _looked_up(graph: CodeGraph) -> Iterator[ImageAddress]:
    """Yield the functions that are found by dlsym()."""
    for origin, targets in graph.leads.items():
        if isinstance(origin, ControlOrigin) and origin.lead is Lead.LOOKUP:
            yield from (one for one in targets if isinstance(one, ImageAddress))


def _kept_by(graph: CodeGraph, cell: ImageAddress) -> Iterator[ImageAddress]:
    """Yield the functions whose addresses the function ``cell`` takes, and may have kept."""
    facts = graph.cells[cell]
    for name in facts.takes_imports:
        yield from graph.exports.get(name, ())
    in_loader = cell.image == _LOADER and is_known_loader(graph.images)
    handed = _only_handed_over(graph, cell) if in_loader else frozenset()
    yield from (ImageAddress(cell.image, one) for one in facts.takes if one not in handed)


def _only_handed_over(graph: CodeGraph, cell: ImageAddress) -> frozenset[int]:
    """Return the addresses that ``cell`` makes only as arguments of the next call."""
    machine, image, code = graph.machine, graph.images[cell.image], graph.read(cell).code
    events = list(machine.events(image, code))
    made = [one for one in events if one.kind is EffectKind.REFERENCE]
    calls = {one.address for one in events if one.kind is EffectKind.CALL}
    places = {instruction[0]: i for i, instruction in enumerate(code)}
    kept = {
        one.value
        for one in made
        if not _is_handed_over(machine, image, code, places[one.address], calls)
    }
    return frozenset(one.value for one in made) - kept


def _is_handed_over(
    machine: Machine, image: Image, code: Sequence[Instruction], index: int, calls: set[int]
) -> bool:
    """Return True if nothing uses the register that ``code[index]`` sets before one of ``calls``.

    Nothing uses it after the call either, since functions do not preserve it.
    """
    register = machine.sets(code[index])
    if not register or machine.preserves(image, register):
        return False
    for instruction in code[index + 1 :]:
        if machine.is_call(instruction):
            return instruction[0] in calls
        if machine.mentions(instruction, register) or machine.leaves(instruction):
            return False
        if machine.branches(instruction) or machine.stops(instruction):
            return False
    return False
