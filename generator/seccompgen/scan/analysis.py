"""Find the facts of all functions of an image, once: by several processes, or from the cache."""

from __future__ import annotations

import sys
from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.errors import SeccompgenError
from seccompgen.scan.code import FunctionFacts, code_of
from seccompgen.scan.touches import standing_objects
from seccompgen.scan.unknown import Why
from seccompgen.scan.ways import Imports, Reaches, Takes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from seccompgen.scan.code import ImageCode
    from seccompgen.scan.image import Image

_NO_CODE = frozenset({Why.NO_INSTRUCTION, Why.NO_WAY})
"""Reasons why decoded bytes are data: also jumps out of all code, as few bytes make on Arm."""
_JOB_BYTES = 1 << 17
"""The bytes of code that one process gets at a time."""


class ObjectFacts(NamedTuple):
    """The ways on from a data object that counts; ``leads`` are the starts of other objects."""

    start: int
    taken: tuple[int, ...]
    reached: tuple[int, ...]
    imported: tuple[str, ...]
    leads: tuple[int, ...]


class Analysis(NamedTuple):
    """The facts about an image that a scan needs, apart from the code of single functions.

    ``functions`` are sorted by their start. ``overlays`` begin within another function, where
    control arrives in the middle of an apparent instruction. ``taken`` are the code addresses in
    the image's data, ``reached`` addresses there that are only compared, ``imported`` names whose
    addresses the loader puts there; but for what is in ``objects``. ``standing`` are the starts of
    objects to which other data points.
    """

    functions: tuple[FunctionFacts, ...]
    overlays: tuple[FunctionFacts, ...]
    taken: tuple[int, ...]
    reached: tuple[int, ...]
    imported: tuple[str, ...]
    objects: tuple[ObjectFacts, ...]
    standing: tuple[int, ...]


class KnownAnalysis:
    """An analysis, with lookups by address."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self._starts = [facts.start for facts in analysis.functions]

    def cell(self, address: int) -> FunctionFacts | None:
        """Return the function that contains ``address``; None outside code."""
        i = bisect_right(self._starts, address) - 1
        if i < 0 or address >= self.analysis.functions[i].end:
            return None
        return self.analysis.functions[i]

    @cached_property
    def objects(self) -> Mapping[int, ObjectFacts]:
        """The data objects by their start."""
        return {facts.start: facts for facts in self.analysis.objects}

    @cached_property
    def overlays(self) -> Mapping[int, FunctionFacts]:
        """The overlays by their start."""
        return {facts.start: facts for facts in self.analysis.overlays}

    @cached_property
    def texts(self) -> frozenset[str]:
        """The words of text whose addresses some code makes."""
        facts = (*self.analysis.functions, *self.analysis.overlays)
        return frozenset(text for one in facts for text in one.texts)

    def facts_at(self, start: int) -> FunctionFacts:
        """Return the facts of the function that starts at ``start``."""
        cell = self.cell(start)
        return cell if cell and cell.start == start else self.overlays[start]

    def at(self, address: int) -> Iterator[FunctionFacts]:
        """Yield the functions that may run if control reaches ``address``."""
        cell = self.cell(address)
        if cell:
            yield cell
        if address in self.overlays:
            yield self.overlays[address]


Job: TypeAlias = tuple[int, tuple[int, ...]]
"""The index of an image, and addresses of its code."""

Spread: TypeAlias = """Callable[
    [Callable[[tuple[Image, ...], Job], Sequence[FunctionFacts]], tuple[Image, ...], Sequence[Job]],
    Iterator[Sequence[FunctionFacts] | SeccompgenError],
]"""
"""The type of `pool.spread`, without the number of processes."""


def alone(
    work: Callable[[tuple[Image, ...], Job], Sequence[FunctionFacts]],
    shared: tuple[Image, ...],
    jobs: Sequence[Job],
) -> Iterator[Sequence[FunctionFacts] | SeccompgenError]:
    """Yield the results of ``jobs``, computed in this process alone."""
    for job in jobs:
        yield work(shared, job)


def analyse(
    images: tuple[Image, ...], spread: Spread, report: Callable[[int, int], None] | None
) -> list[Analysis]:
    """Return the analysis of each image; call ``report`` with the steps done and their total."""
    jobs = [job for i, image in enumerate(images) for job in _jobs(i, image)]
    found: list[list[FunctionFacts]] = [[] for _ in images]
    made = spread(functions_in, images, jobs)
    for done, (job, results) in enumerate(zip(jobs, made, strict=True)):
        if isinstance(results, SeccompgenError):
            raise results
        found[job[0]] += results
        if report:
            report(done + 1, len(jobs))
    analyses = []
    for image, functions in zip(images, found, strict=True):
        code = code_of(image)
        data = _leads(code, (*image.roots, *image.standing), image.standing_imports)
        objects = tuple(
            ObjectFacts(one.start, *_leads(code, one.pointers, one.imported), one.leads)
            for one in image.objects
        )
        # Files with objects are relocatable, so that each of their pointers starts a function.
        overlays = tuple(_overlays(image, functions, (*data[0], *data[1])))
        standing = tuple(sorted(standing_objects(image)))
        analyses.append(Analysis(tuple(functions), overlays, *data, objects, standing))
    return analyses


def _jobs(number: int, image: Image) -> Iterator[Job]:
    """Yield the function starts of ``image``, in portions of about `_JOB_BYTES` of code."""
    portion: list[int] = []
    begin = 0
    for start in code_of(image).layout:
        if portion and start - begin > _JOB_BYTES:
            yield number, tuple(portion)
            portion = []
        if not portion:
            begin = start
        portion.append(start)
    if portion:
        yield number, tuple(portion)


def functions_in(images: tuple[Image, ...], job: Job) -> Sequence[FunctionFacts]:
    """Return the facts of the functions that start at the addresses of ``job``."""
    number, starts = job
    code = code_of(images[number])
    cells = (code.layout.cell(start) for start in starts)
    return [code.facts(*cell) for cell in cells if cell]


def _leads(
    code: ImageCode, pointers: Iterable[int], names: Iterable[str]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]:
    """Return what ``pointers`` and ``names`` in data lead to: see `Analysis`."""
    taken, reached, imported = set(), set(), set(names)
    for address in pointers:
        match code.taken(address):
            case Takes(found):
                taken.add(found)
            case Reaches(found):
                reached.add(found)
            case Imports(name, _, _):
                imported.add(name)
    return tuple(sorted(taken)), tuple(sorted(reached)), tuple(sorted(imported))


def _overlays(
    image: Image, functions: Sequence[FunctionFacts], others: Iterable[int]
) -> Iterator[FunctionFacts]:
    """Yield the overlays: code that something leads to, where ``functions`` have no instruction."""
    code = code_of(image)
    starts = {facts.start for facts in functions}
    dead = sorted(span for facts in functions for span in facts.dead)
    gone_to = {one for facts in functions for one in facts.goes}
    seen: set[int] = set()
    waiting = [*others, *(one for facts in functions for one in _targets(facts))]
    while waiting:
        address = waiting.pop()
        if address in starts or address in seen or not image.in_code(address):
            continue
        seen.add(address)
        at = bisect_right(dead, (address, sys.maxsize)) - 1
        if code.begins(address) and not (at >= 0 and address < dead[at][1]):
            continue
        facts = code.facts(address, code.overlay_end(address))
        no_code = any(why in _NO_CODE for _, why, _ in facts.unclear)
        strange = no_code or not all(map(code.begins, facts.goes))
        if strange and address not in gone_to and not image.starts_function(address):
            continue  # a table, whose address is taken
        waiting += _targets(facts)
        gone_to.update(facts.goes)
        yield facts


def _targets(facts: FunctionFacts) -> Iterator[int]:
    yield from facts.goes
    yield from facts.takes
    yield from facts.reaches
