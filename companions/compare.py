"""Compare the releases of a library: the rows of the table of companions."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.lint.companions import Companion, Fallback

from companions.arguments import Arguments
from companions.failure import Failures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from seccompgen.core.tables import Tables

    from companions.library import Library

Facts: TypeAlias = dict[tuple[str, str, Fallback | None], tuple[str, ...]]
"""The releases in which a function has each combination of call, constant and fallback."""
_Same: TypeAlias = frozenset[tuple[tuple[str, str, Fallback | None], tuple[str, ...]]]


def compare(releases: Mapping[str, Library], tables: Tables) -> dict[str, Facts]:
    """Return, by function, how the ``releases`` of a library, oldest first, differ on an ABI.

    Functions that behave the same in all of them are left out.
    """
    common = set.intersection(*(set(one.functions) for one in releases.values()))
    calls: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    found: dict[str, dict[tuple[str, str, Fallback | None], list[str]]] = defaultdict(dict)
    for release, one in releases.items():
        one.divide(common)
        arguments = Arguments(one, tables)
        for function in sorted(one.functions):
            for call, made in one.calls_of(function).items():
                calls[function][call].append(release)
                for constant in sorted(arguments.constants(function, made)):
                    found[function].setdefault((call, constant, None), []).append(release)
    first = next(iter(releases))
    for release, one in releases.items():
        failures = Failures(one)
        for function in sorted(one.functions):
            for call, made in one.calls_of(function).items():
                newer = calls[function][call][0] != first
                fallback = failures.fallback(function, made) if newer else None
                found[function].setdefault((call, "", fallback), []).append(release)
    return {
        function: {row: tuple(having) for row, having in rows.items()}
        for function, rows in sorted(found.items())
        if any(len(having) < len(releases) for having in rows.values())
    }


def rows(library: str, found: Mapping[str, Mapping[str, Facts]]) -> Iterator[Companion]:
    """Yield the rows of a library from the results of `compare`, by ABI.

    Functions with the same facts share their rows, and so do ABIs.
    """
    alike: dict[tuple[str, _Same], list[str]] = defaultdict(list)
    kept: dict[_Same, Facts] = {}
    for abi, functions in found.items():
        for function, facts in functions.items():
            key = frozenset(facts.items())
            kept[key] = facts
            alike[abi, key].append(function)
    abis: dict[tuple[tuple[str, ...], _Same], list[str]] = defaultdict(list)
    for (abi, key), names in alike.items():
        abis[tuple(sorted(names)), key].append(abi)
    for (group, key), having in abis.items():
        for (call, constant, fallback), releases in kept[key].items():
            yield Companion(library, tuple(having), group, call, constant, fallback, releases)
