"""Read the table of companions: the calls that functions of libraries make, by release.

`make companions` generates it from the files of real releases (docs/companions.md). It has the
functions whose calls, constants or fallbacks differ between releases.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.errors import Diagnostic, InputError, Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

TABLE_NAME = "companions.csv"
LOCK_NAME = "companions.lock.toml"
HEADER = "library,abis,functions / ,call,constant,fallback,releases"

ANY = "any"
UNKNOWN = "unknown"
NONE = "none"


class Retry(NamedTuple):
    """A ``call`` that is made next only if one failed with one of ``errnos``.

    ``errnos`` are names, or only ``any`` if the errno does not matter.
    """

    errnos: tuple[str, ...]
    call: str

    def follows(self, errno: str) -> bool:
        """Return True if the call is made after a failure with ``errno``, a name."""
        return errno in self.errnos or ANY in self.errnos


class Fallback(NamedTuple):
    """The calls that a function makes next only if a call failed.

    If not ``known``, some code was not understood: there may be more than ``retries``.
    """

    retries: tuple[Retry, ...] = ()
    known: bool = True

    def __str__(self) -> str:
        """Return the text of the table: ``ENOSYS>clone``, ``any>close;unknown``, ``none``."""
        parts = [f"{' '.join(one.errnos)}>{one.call}" for one in self.retries]
        return ";".join(parts if self.known else [*parts, UNKNOWN]) or NONE


class Companion(NamedTuple):
    """A call that each of ``functions`` makes in some releases of a library, on each of ``abis``.

    ``constant`` is a constant that they pass, such as ``behavior=MADV_GUARD_INSTALL``, or empty for
    the row of all arguments. A row of all arguments has a ``fallback``, except if all releases make
    the call: then that is None. Several rows of one call have different fallbacks, each in other
    releases.
    """

    library: str
    abis: tuple[str, ...]
    functions: tuple[str, ...]
    call: str
    constant: str
    fallback: Fallback | None
    releases: tuple[str, ...]


class LibraryRelease(NamedTuple):
    """A release of a library, the ``bases`` that have it (``debian:12``), and its packages.

    A package has suite, architecture, name, version and sha256, separated by spaces.
    """

    library: str
    release: str
    bases: tuple[str, ...]
    packages: tuple[str, ...]


class LibraryChange(NamedTuple):
    """The rows that functions gained, lost and kept from one release to a newer one."""

    functions: tuple[str, ...]
    gained: tuple[Companion, ...]
    lost: tuple[Companion, ...]
    kept: tuple[Companion, ...]


_Comparison: TypeAlias = tuple[tuple[LibraryChange, ...], tuple[LibraryChange, ...]]


@dataclass(frozen=True)
class Companions:
    """The table: ``rows`` by library, ABIs and functions; ``releases`` by library, oldest first."""

    rows: tuple[Companion, ...]
    releases: tuple[LibraryRelease, ...]

    @cached_property
    def libraries(self) -> Mapping[str, tuple[str, ...]]:
        """The releases of each library, oldest first."""
        return releases_of(self.releases)

    @cached_property
    def shares(self) -> Mapping[tuple[str, str], Mapping[str, float]]:
        """By library and ABI: the share of functions that make a call in any release, 0 to 1."""
        functions: dict[tuple[str, str], set[str]] = {}
        making: dict[tuple[str, str], dict[str, set[str]]] = {}
        for row in self.rows:
            for abi in row.abis:
                key = row.library, abi
                functions.setdefault(key, set()).update(row.functions)
                making.setdefault(key, {}).setdefault(row.call, set()).update(row.functions)
        return {
            key: {call: len(those) / len(functions[key]) for call, those in calls.items()}
            for key, calls in making.items()
        }

    def base(self, name: str) -> Mapping[str, str]:
        """Return the release of each library that a base has; none for an unknown base."""
        return {one.library: one.release for one in self.releases if name in one.bases}

    @property
    def bases(self) -> tuple[str, ...]:
        """The known bases, in the order of the lock."""
        return tuple(dict.fromkeys(base for one in self.releases for base in one.bases))

    def of(self, library: str, release: str, abi: str) -> Iterator[Companion]:
        """Yield the rows of one release of a library on an ABI."""
        return (row for row in self.on(library, abi) if release in row.releases)

    def on(self, library: str, abi: str) -> Sequence[Companion]:
        """Return the rows of all releases of a library on an ABI."""
        return self._places.get((library, abi), ())

    def changes(self, library: str, old: str, new: str, abi: str) -> tuple[LibraryChange, ...]:
        """Return the functions whose calls differ between the releases ``old`` and ``new``.

        A function that only one of them has is not a change: nobody calls it there.
        """
        return self._compared(library, old, new, abi)[0]

    def appeared(self, library: str, old: str, new: str, abi: str) -> tuple[LibraryChange, ...]:
        """Return the functions that release ``new`` has but not ``old``, with all their rows.

        Programs built for the older release called others instead, such as `__xstat` for `stat`.
        """
        return self._compared(library, old, new, abi)[1]

    def _compared(self, library: str, old: str, new: str, abi: str) -> _Comparison:
        # Each filter on the ABI compares the same releases.
        key = library, old, new, abi
        if key not in self._comparisons:
            self._comparisons[key] = _comparison(self.on(library, abi), old, new)
        return self._comparisons[key]

    @cached_property
    def _comparisons(self) -> dict[tuple[str, str, str, str], _Comparison]:
        return {}

    @cached_property
    def _places(self) -> Mapping[tuple[str, str], Sequence[Companion]]:
        """The rows by library and ABI."""
        found: dict[tuple[str, str], list[Companion]] = {}
        for row in self.rows:
            for abi in row.abis:
                found.setdefault((row.library, abi), []).append(row)
        return found


def _comparison(rows: Iterable[Companion], old: str, new: str) -> _Comparison:
    """Return the functions that changed between two releases, and those that appeared."""
    groups: dict[tuple[str, ...], list[Companion]] = {}
    for row in rows:
        groups.setdefault(row.functions, []).append(row)
    changed, appeared = [], []
    for functions, several in groups.items():
        before = [row for row in several if old in row.releases]
        after = [row for row in several if new in row.releases]
        if before == after:
            continue
        gained = tuple(row for row in after if row not in before)
        lost = tuple(row for row in before if row not in after)
        if after and not before:
            appeared.append(LibraryChange(functions, gained, (), ()))
        elif after:
            kept = tuple(row for row in after if row in before)
            changed.append(LibraryChange(functions, gained, lost, kept))
    return tuple(changed), tuple(appeared)


@lru_cache(maxsize=1)
def shipped_companions() -> Companions:
    """Return the table that is part of seccompgen."""
    directory = Path(__file__).parent
    return read(
        (directory / TABLE_NAME).read_bytes(), (directory / LOCK_NAME).read_bytes(), directory
    )


def read(table: bytes, lock: bytes, where: Path) -> Companions:
    """Return the table from its files in ``where``. Raises InputError if they are malformed."""
    place = str(where / LOCK_NAME)
    try:
        data = tomllib.loads(lock.decode())
        releases = tuple(
            LibraryRelease(
                str(one["library"]),
                str(one["release"]),
                tuple(map(str, one["bases"])),
                tuple(map(str, one["packages"])),
            )
            for one in data["releases"]
        )
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise InputError(
            Diagnostic(f"is not a valid lock of the companions table: {error}", Position(place))
        ) from None
    if data.get("sha256") != hashlib.sha256(table).hexdigest():
        message = f"{TABLE_NAME} is not what this lock names: run `make companions`"
        raise InputError(Diagnostic(message, Position(place)))
    libraries = releases_of(releases)
    return Companions(tuple(_rows(table.decode(), libraries, str(where / TABLE_NAME))), releases)


def _rows(text: str, libraries: Mapping[str, Sequence[str]], place: str) -> Iterator[Companion]:
    head: tuple[str, tuple[str, ...], tuple[str, ...]] | None = None
    # Thousands of rows share a few fallbacks and ranges.
    fallbacks: dict[str, Fallback | None] = {"": None}
    ranges: dict[tuple[str, str], tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines()[1:], start=2):
        fields = line.split(",")
        try:
            if fields[0]:
                library, abis, functions = fields
                known = libraries[library]
                head = library, tuple(abis.split()), tuple(functions.split())
                continue
            _, call, constant, fallback, having = fields
            if head is None or not having:
                raise ValueError
            if fallback not in fallbacks:
                fallbacks[fallback] = _fallback(fallback)
            if (library, having) not in ranges:
                ranges[library, having] = tuple(_in_ranges(having, known))
            yield Companion(*head, call, constant, fallbacks[fallback], ranges[library, having])
        except (ValueError, KeyError):
            message = "is no row of companions: " + HEADER
            raise InputError(Diagnostic(message, Position(place, number, 1))) from None


def _fallback(text: str) -> Fallback:
    parts = text.split(";")
    pairs = [one.partition(">") for one in parts if one not in {UNKNOWN, NONE}]
    retries = tuple(Retry(tuple(errnos.split()), call) for errnos, _, call in pairs)
    return Fallback(retries, UNKNOWN not in parts)


def releases_of(releases: Iterable[LibraryRelease]) -> dict[str, tuple[str, ...]]:
    """Return the releases of each library, oldest first."""
    found: dict[str, tuple[str, ...]] = {}
    for one in releases:
        found[one.library] = (*found.get(one.library, ()), one.release)
    return found


def _in_ranges(text: str, known: Sequence[str]) -> Iterator[str]:
    for part in text.split():
        first, dots, last = re.fullmatch(r"(.+?)(?:(\.\.)(.*))?", part).groups()  # type: ignore[union-attr]
        start = known.index(first)
        end = known.index(last) if last else len(known) - 1 if dots else start
        yield from known[start : end + 1]
