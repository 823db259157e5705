"""Find the constants that functions of a library pass to calls, by their names in Linux."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING

from seccompgen.core.argument_families import families_of, known_families
from seccompgen.core.spelling import number
from seccompgen.scan.processor import Register, Slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from seccompgen.core.tables import Tables
    from seccompgen.scan.processor import Location
    from seccompgen.scan.ways import ImageAddress

    from companions.library import Library, Made

_KERNEL = {
    "x86_64": ("rdi", "rsi", "rdx", "r10", "r8", "r9"),
    "i386": ("rbx", "rcx", "rdx", "rsi", "rdi", "rbp"),
    "aarch64": ("x0", "x1", "x2", "x3", "x4", "x5"),
}
_C = {
    "x86_64": ("rdi", "rsi", "rdx", "rcx", "r8", "r9"),
    "aarch64": ("x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"),
}
"""The registers of arguments for the kernel, and for C functions, which use the stack on i386."""
_LEFT_OUT = frozenset(
    known_families().named[name] for name in ("directory_descriptors", "file_modes", "signals")
)
"""Families of constants that do not change what a call does."""
_ADDRESS = re.compile(r"\|0x[0-9a-f]{5}")
"""A remainder that shows that a value is an address, some of whose bits have names."""
_MOST_STATES = 3000
"""The limit of the search for an argument; constants are set near the call."""


class Arguments:
    """The constants of one library's calls."""

    def __init__(self, library: Library, tables: Tables) -> None:
        self._library = library
        self._tables = tables
        self._abi = library.table.abi
        self._values = lru_cache(maxsize=1 << 16)(self._values_of)

    def constants(self, function: str, made: Iterable[Made]) -> frozenset[str]:
        """Return the constants that ``function`` passes in ``made``: ``advice=MADV_DONTNEED``."""
        own = self._library.own_of(function)
        return frozenset(
            text
            for one in made
            for site, texts in self._values(one).items()
            if any(cell in own for cell in self._library.graph.cells_at(site))
            for text in texts
        )

    def _values_of(self, made: Made) -> Mapping[ImageAddress, frozenset[str]]:
        """Return the constants of one call, by the instruction that determines each."""
        abi, naming = self._abi, self._tables.naming
        prototype = self._tables.facts.prototype(made.name, abi)
        if prototype is None:
            return {}
        found: dict[ImageAddress, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        for i, parameter in enumerate(prototype.parameters[:6]):
            families = families_of(made.name, parameter.name)
            if not families or not _LEFT_OUT.isdisjoint(families):
                continue
            for value in self._library.follower.values(
                made.site, self._place(made, i), _MOST_STATES
            ):
                if value.number is not None:
                    found[value.site][i].add(value.number)
        texts: dict[ImageAddress, frozenset[str]] = {}
        for site, values in found.items():
            known = [next(iter(values[i])) if len(values.get(i, ())) == 1 else 0 for i in range(6)]
            texts[site] = frozenset(
                f"{naming.argument(made.name, i, abi)}={text}"
                for i, several in values.items()
                for one in several
                for text in _named(naming.value(made.name, i, _with(known, i, one), abi), one)
            )
        return texts

    def _place(self, made: Made, index: int) -> Location:
        """Return the location of argument ``index`` just before the instruction at the site."""
        abi = self._abi.name
        if made.site == made.entrance:
            return Register(_KERNEL[abi][index])
        index += self._is_syscall_function(made.site)
        if abi == "i386":
            return Slot("rsp", 4 * index)
        registers = _C[abi]
        return Register(registers[index]) if index < len(registers) else Slot("rsp", 0)

    def _is_syscall_function(self, site: ImageAddress) -> bool:
        """Return True if the instruction at ``site`` calls syscall(2), with the number first."""
        graph = self._library.graph
        for cell in graph.cells_at(site):
            for source, way in graph.read(cell).ways:
                if source == site.address and getattr(way, "name", "") == "syscall":
                    return True
                target = getattr(way, "address", None)
                if source == site.address and any(
                    place == (site.image, target) for place in graph.exports.get("syscall", ())
                ):
                    return True
        return False


def _with(values: list[int], index: int, value: int) -> list[int]:
    return [value if i == index else one for i, one in enumerate(values)]


def _named(text: str, value: int) -> Iterator[str]:
    """Yield ``text`` if it consists of names; others may be addresses."""
    if text[0].isalpha() and text not in {number(value), str(value)} and not _ADDRESS.search(text):
        yield text
