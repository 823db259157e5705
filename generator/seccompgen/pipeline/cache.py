"""Keep compiled programs, so that what has not changed is not compiled again.

An entry is named by a hash over all that determines a program, and no more: the policy with its
positions, but not the place that its files lie in; the tables, the objective, the ABI; the source
of the compiler and of the proof; Python and numpy, by their versions. It is JSON behind a hash of
its own; whatever is not exactly that is passed over and written anew. Nothing here is ever an
error: without a directory to use, everything is compiled.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import astuple, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import Position
from seccompgen.core.model import Origin
from seccompgen.core.program import CompiledProgram, Cost, decode
from seccompgen.io import entry_store
from seccompgen.io.entry_store import (
    KEPT_SECONDS,
    drop_unused,
    opened,
    read_entry,
    sha256,
    write_entry,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.objective import Objective
    from seccompgen.core.tables import Tables


class ProgramCache:
    """The programs in ``directory`` that this compiler made from ``tables`` for ``objective``."""

    def __init__(self, directory: Path, tables: Tables, objective: Objective) -> None:
        self._directory = directory
        self._compiler = _fingerprint()
        # All tables, since the compiler also looks at those of other ABIs of the same kernel.
        numbers = tables.digest(tables.tables)
        self._common = repr((self._compiler, tables.tag, numbers, objective))

    def load(self, policy: ResolvedPolicy, abis: Iterable[Abi]) -> dict[Abi, CompiledProgram]:
        """Return the programs of ``policy`` for ``abis`` that are here, and mark them as used."""
        found: dict[Abi, CompiledProgram] = {}
        with self._opened() as place, contextlib.suppress(OSError):
            if place is None:
                return found
            for abi, name in self._names(policy, abis):
                program = _read(place, name, policy, abi)
                if program:
                    found[abi] = program
                    os.utime(name, dir_fd=place)
        return found

    def save(self, made: Iterable[tuple[ResolvedPolicy, Sequence[CompiledProgram]]]) -> None:
        """Add the programs ``made`` of each policy; drop what nobody has read for 30 days."""
        with self._opened() as place, contextlib.suppress(OSError):
            # Somebody may have edited the compiler after this run, or a worker of it, loaded it.
            if place is None or _fingerprint() != self._compiler:
                return
            written = 0.0
            for policy, programs in made:
                names = self._names(policy, (program.abi for program in programs))
                for (_, name), program in zip(names, programs, strict=True):
                    written = write_entry(place, name, _entry(program, _numbers(policy)))
            drop_unused(place, before=written - KEPT_SECONDS)

    def _names(self, policy: ResolvedPolicy, abis: Iterable[Abi]) -> Iterator[tuple[Abi, str]]:
        # The repr of these values holds all their fields, and is the same for the same value; but
        # for that of a set, whose order is another in each process.
        of_rules = [one.abis and sorted(one.abis) for one in policy.rules]
        about = repr((_placeless(policy), of_rules))
        for abi in abis:
            yield abi, sha256(repr((self._common, about, abi.name)).encode())

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int | None]:
        """Give a descriptor of the directory, or None where it is not to be used."""
        with opened(self._directory) as place:
            yield place if self._compiler else None


_ROOTS = ("seccompgen.pipeline.proved", "seccompgen.pipeline.cache")
"""The modules that decide a program, and that cache it."""


def deciding_files(package: Path) -> list[Path]:
    """Return the source files that decide a program; ``package`` is where seccompgen is."""
    return entry_store.deciding_files(package, _ROOTS)


def _fingerprint() -> str:
    """Hash what decides a program; return an empty string where its source is not at hand.

    The search for a program adds floating-point numbers by numpy, whose releases may round
    otherwise: what an older one made would be stale to `--check`, which takes nothing from here.
    """
    package = Path(__file__).parents[1]
    sources = entry_store.hashed(package, deciding_files(package))
    if not sources:
        return ""
    versions = sys.implementation.name, tuple(sys.version_info), _numpy_release()
    return sha256(repr((sources, versions)).encode())


def _numpy_release() -> bytes:
    """Return the file that has numpy's version: numpy itself takes long to import.

    `importlib.metadata` knows, too, but brings the parser of e-mail along.
    """
    found = find_spec("numpy")
    assert found and found.origin
    return Path(found.origin).with_name("version.py").read_bytes()


def _numbers(policy: ResolvedPolicy) -> dict[str, str]:
    """Return the names that an entry has for a policy's files: another checkout has others."""
    return {file: str(i) for i, (file, _) in enumerate(policy.sources)}


def _placed(position: Position, files: Mapping[str, str]) -> Position:
    return replace(position, file=files.get(position.file, position.file))


def _placeless(policy: ResolvedPolicy) -> ResolvedPolicy:
    """Return the parts of a policy that decide its programs, with its files by number."""
    files = _numbers(policy)

    def origin(one: Origin) -> Origin:
        return Origin(one.label, _placed(one.position, files))

    return replace(
        policy,
        name="",
        description="",
        arches_origin=origin(policy.arches_origin),
        default_origin=origin(policy.default_origin),
        unknown_origin=origin(policy.unknown_origin),
        bad_arch_origin=origin(policy.bad_arch_origin),
        kernel_origin=None,
        without_flags=None,
        unsaid=frozenset(),
        rules=tuple(
            replace(
                rule,
                position=_placed(rule.position, files),
                origin=origin(rule.origin),
                abis=None if rule.abis is None else frozenset(),
            )
            for rule in policy.rules
        ),
        sources=(),
    )


def _entry(program: CompiledProgram, files: Mapping[str, str]) -> bytes:
    numbers: dict[Origin, int] = {}
    of, in_order = (
        [[numbers.setdefault(o, len(numbers)) for o in each] for each in some]
        for some in (program.origins, [program.in_order])
    )
    where = [(o.label, _placed(o.position, files)) for o in numbers]
    places = [(label, at.file, at.line, at.column, at.path) for label, at in where]
    data = {
        "code": program.to_bytes().hex(),
        "cost": astuple(program.cost),
        "bound": astuple(program.bound),
        "origins": places,
        "of": of,
        "in_order": in_order[0],
    }
    return json.dumps(data, separators=(",", ":")).encode()


def _read(place: int, name: str, policy: ResolvedPolicy, abi: Abi) -> CompiledProgram | None:
    """Return the program in entry ``name``, or None if it is missing or damaged."""
    try:
        data = read_entry(place, name)
        if data is None:
            return None
        files = {number: file for file, number in _numbers(policy).items()}
        origins = [
            Origin(label, _placed(Position(file, line, column, tuple(path)), files))
            for label, file, line, column, path in data["origins"]
        ]
        instructions = decode(bytes.fromhex(data["code"]), abi)
        return CompiledProgram(
            abi,
            instructions,
            tuple(
                tuple(origins[i] for i in each)
                for _, each in zip(instructions, data["of"], strict=True)
            ),
            compat=policy.compat_of(abi),
            cost=Cost(*data["cost"]),
            bound=Cost(*data["bound"]),
            in_order=tuple(origins[i] for i in data["in_order"]),
        )
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None


def cache_directory() -> Path | None:
    """Return the directory of cached downloads and programs (XDG), or None without a home."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    if Path(base).is_absolute():
        return Path(base) / "seccompgen"
    try:
        return Path.home() / ".cache" / "seccompgen"
    except RuntimeError:
        return None
