"""The table of companions: the calls that functions of libraries make, release by release.

`make companions` makes it from the files of real releases (docs/companions.md); here it is read.
Only functions are in it whose calls, constants or fallbacks differ between releases.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, InputError, Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

TABLE_NAME = "companions.csv"
LOCK_NAME = "companions.lock.toml"
HEADER = "library,abis,functions / ,call,constant,fallback,releases"

ANY = "any"
UNKNOWN = "unknown"
NONE = "none"


class Retry(NamedTuple):
    """The ``call`` that is made next only if one failed with one of ``errnos``.

    ``errnos`` are names, or ``any`` alone, if the errno does not matter.
    """

    errnos: tuple[str, ...]
    call: str

    def follows(self, errno: str) -> bool:
        """Return True if it is made after a failure with ``errno``, a name."""
        return errno in self.errnos or ANY in self.errnos


class Fallback(NamedTuple):
    """The calls that a function makes next only if a call failed.

    Without ``known`` some of the code was not understood: there may be more than ``retries``.
    """

    retries: tuple[Retry, ...] = ()
    known: bool = True

    def __str__(self) -> str:
        """Return it as the table has it: ``ENOSYS>clone``, ``any>close;unknown``, none."""
        parts = [f"{' '.join(one.errnos)}>{one.call}" for one in self.retries]
        return ";".join(parts if self.known else [*parts, UNKNOWN]) or NONE


class Companion(NamedTuple):
    """A call that each of ``functions`` makes in some releases of a library, on each of ``abis``.

    ``constant`` is empty, or a constant that they pass: ``behavior=MADV_GUARD_INSTALL``. The row
    without a constant is there whatever the arguments are. It has the ``fallback`` if not all
    releases make the call; else that is None. Several such rows have several fallbacks, each in
    other releases.
    """

    library: str
    abis: tuple[str, ...]
    functions: tuple[str, ...]
    call: str
    constant: str
    fallback: Fallback | None
    releases: tuple[str, ...]


class Release(NamedTuple):
    """A release of a library, the ``bases`` that have it (``debian:12``), and its packages.

    A package is its suite, architecture, name, version and sha256, apart by spaces.
    """

    library: str
    release: str
    bases: tuple[str, ...]
    packages: tuple[str, ...]


class Change(NamedTuple):
    """The rows that functions have in a newer release of a library, and not in an older one."""

    functions: tuple[str, ...]
    gained: tuple[Companion, ...]
    lost: tuple[Companion, ...]
    kept: tuple[Companion, ...]


@dataclass(frozen=True)
class Companions:
    """The table: ``rows`` by library, ABIs and functions; ``releases``, of a library in order."""

    rows: tuple[Companion, ...]
    releases: tuple[Release, ...]

    @cached_property
    def libraries(self) -> Mapping[str, tuple[str, ...]]:
        """The releases of each library, oldest first."""
        return _libraries(self.releases)

    @cached_property
    def shares(self) -> Mapping[tuple[str, str], Mapping[str, float]]:
        """By library and ABI, how many of its functions make a call in any release: 0 to 1."""
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
        """Return the release of each library that a base has; empty for one that is unknown."""
        return {one.library: one.release for one in self.releases if name in one.bases}

    @property
    def bases(self) -> tuple[str, ...]:
        """The bases that are known, in the order in which they are first named."""
        return tuple(dict.fromkeys(base for one in self.releases for base in one.bases))

    def since(self, row: Companion) -> str:
        """Return the first release that has a row."""
        return row.releases[0]

    def of(self, library: str, release: str, abi: str) -> Iterator[Companion]:
        """Yield the rows of one release of a library on an ABI."""
        return (row for row in self.on(library, abi) if release in row.releases)

    def on(self, library: str, abi: str) -> Sequence[Companion]:
        """Return the rows of all releases of a library on an ABI."""
        return self._places.get((library, abi), ())

    def changes(self, library: str, old: str, new: str, abi: str) -> tuple[Change, ...]:
        """Return what functions do otherwise in release ``new`` than in ``old``, or as before.

        A function that only one of them has is no change: nobody calls it there.
        """
        # Each filter on the ABI is looked at for the same releases.
        key = library, old, new, abi
        if key not in self._changed:
            self._changed[key] = tuple(self._changes(library, old, new, abi))
        return self._changed[key]

    def appeared(self, library: str, old: str, new: str, abi: str) -> tuple[Change, ...]:
        """Return the functions that release ``new`` has and ``old`` has not, with all their rows.

        Programs that were built for the older one called others, such as `__xstat` for `stat`.
        """
        key = library, old, new, abi
        if key not in self._new:
            self._new[key] = tuple(self._appeared(library, old, new, abi))
        return self._new[key]

    @cached_property
    def _places(self) -> Mapping[tuple[str, str], Sequence[Companion]]:
        """The rows by library and ABI."""
        found: dict[tuple[str, str], list[Companion]] = {}
        for row in self.rows:
            for abi in row.abis:
                found.setdefault((row.library, abi), []).append(row)
        return found

    @cached_property
    def _changed(self) -> dict[tuple[str, str, str, str], tuple[Change, ...]]:
        return {}

    @cached_property
    def _new(self) -> dict[tuple[str, str, str, str], tuple[Change, ...]]:
        return {}

    def _changes(self, library: str, old: str, new: str, abi: str) -> Iterator[Change]:
        groups: dict[tuple[str, ...], list[Companion]] = {}
        for row in self.on(library, abi):
            groups.setdefault(row.functions, []).append(row)
        for functions, rows in groups.items():
            before = [row for row in rows if old in row.releases]
            after = [row for row in rows if new in row.releases]
            gained = tuple(row for row in after if row not in before)
            lost = tuple(row for row in before if row not in after)
            if before and after and (gained or lost):
                kept = tuple(row for row in after if row in before)
                yield Change(functions, gained, lost, kept)

    def _appeared(self, library: str, old: str, new: str, abi: str) -> Iterator[Change]:
        groups: dict[tuple[str, ...], list[Companion]] = {}
        for row in self.of(library, new, abi):
            groups.setdefault(row.functions, []).append(row)
        known = {row.functions for row in self.of(library, old, abi)}
        for functions, rows in groups.items():
            if functions not in known:
                yield Change(functions, tuple(rows), (), ())


@lru_cache(maxsize=1)
def shipped_companions() -> Companions:
    """Return the table that is part of seccompgen."""
    directory = Path(__file__).parent
    return read(
        (directory / TABLE_NAME).read_bytes(), (directory / LOCK_NAME).read_bytes(), directory
    )


def render(rows: Iterable[Companion], releases: Sequence[Release]) -> dict[str, bytes]:
    """Return the content of the table and of its lock, by name."""
    libraries = _libraries(releases)
    lines = [HEADER]
    last = None
    for row in sorted(rows, key=_order(libraries)):
        head = (row.library, row.abis, row.functions)
        if head != last:
            lines.append(f"{row.library},{' '.join(row.abis)},{' '.join(row.functions)}")
            last = head
        fallback = "" if row.fallback is None else str(row.fallback)
        ranges = _ranges(row.releases, libraries[row.library])
        lines.append(f",{row.call},{row.constant},{fallback},{ranges}")
    table = "".join(f"{line}\n" for line in lines).encode()
    lock = [
        "# Written by `make companions`: the packages that companions.csv was made from.",
        f'sha256 = "{hashlib.sha256(table).hexdigest()}"',
    ]
    for one in releases:
        lock += ["", "[[releases]]", f'library = "{one.library}"', f'release = "{one.release}"']
        lock.append(f"bases = [{', '.join(f'{base!r}' for base in one.bases)}]".replace("'", '"'))
        lock += ["packages = [", *(f'  "{package}",' for package in one.packages), "]"]
    return {TABLE_NAME: table, LOCK_NAME: "".join(f"{line}\n" for line in lock).encode()}


def read(table: bytes, lock: bytes, where: Path) -> Companions:
    """Return the table from its files in ``where``; raise InputError for what is no such table."""
    place = str(where / LOCK_NAME)
    try:
        data = tomllib.loads(lock.decode())
        releases = tuple(
            Release(
                str(one["library"]),
                str(one["release"]),
                tuple(map(str, one["bases"])),
                tuple(map(str, one["packages"])),
            )
            for one in data["releases"]
        )
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise InputError(
            Diagnostic(f"is no lock of companions: {error}", Position(place))
        ) from None
    if data.get("sha256") != hashlib.sha256(table).hexdigest():
        message = f"{TABLE_NAME} is not what this lock names: run `make companions`"
        raise InputError(Diagnostic(message, Position(place)))
    libraries = _libraries(releases)
    return Companions(tuple(_rows(table.decode(), libraries, str(where / TABLE_NAME))), releases)


def _rows(text: str, libraries: Mapping[str, Sequence[str]], place: str) -> Iterator[Companion]:
    head: tuple[str, tuple[str, ...], tuple[str, ...]] | None = None
    # Thousands of rows have few fallbacks and ranges.
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


def _libraries(releases: Iterable[Release]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for one in releases:
        found[one.library] = (*found.get(one.library, ()), one.release)
    return found


def _ranges(releases: Sequence[str], known: Sequence[str]) -> str:
    """Return releases as ranges of neighbours: ``2.31``, ``2.31..2.36``, ``2.36..`` to the end."""
    texts = []
    at = sorted(map(known.index, releases))
    while at:
        run = 1
        while run < len(at) and at[run] == at[0] + run:
            run += 1
        first, last = known[at[0]], known[at[run - 1]]
        end = "" if at[run - 1] == len(known) - 1 else last
        texts.append(first if run == 1 and end else f"{first}..{end}")
        at = at[run:]
    return " ".join(texts)


def _in_ranges(text: str, known: Sequence[str]) -> Iterator[str]:
    for part in text.split():
        first, dots, last = re.fullmatch(r"(.+?)(?:(\.\.)(.*))?", part).groups()  # type: ignore[union-attr]
        start = known.index(first)
        end = known.index(last) if last else len(known) - 1 if dots else start
        yield from known[start : end + 1]


def _order(libraries: Mapping[str, Sequence[str]]) -> Callable[[Companion], tuple[object, ...]]:
    names = list(libraries)
    return lambda row: (
        names.index(row.library),
        row.functions,
        row.abis,
        row.call,
        row.constant,
        tuple(map(libraries[row.library].index, row.releases)),
    )
