"""Cache compiled programs, so that unchanged ones are not compiled again.

The name of an entry is a hash of exactly what determines a program: the policy with its positions,
but without the directory of its files; the tables, the objective, the ABI; the source of the
compiler and of the proof; the versions of Python and numpy. An entry is JSON after a hash of that
JSON; any other content is ignored and overwritten. Nothing here ever raises an error: without a
usable directory, everything is compiled.
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
        # All tables, since the compiler also uses those of other ABIs of the same kernel.
        numbers = tables.digest(tables.tables)
        self._common = repr((self._compiler, tables.tag, numbers, objective))

    def load(self, policy: ResolvedPolicy, abis: Iterable[Abi]) -> dict[Abi, CompiledProgram]:
        """Return the cached programs of ``policy`` for ``abis``, and mark them as used."""
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
        """Add the programs ``made`` of each policy; drop entries that were not read for 30 days."""
        with self._opened() as place, contextlib.suppress(OSError):
            # The compiler's source may have been edited since this run or a worker loaded it.
            if place is None or _fingerprint() != self._compiler:
                return
            written = 0.0
            for policy, programs in made:
                names = self._names(policy, (program.abi for program in programs))
                for (_, name), program in zip(names, programs, strict=True):
                    written = write_entry(place, name, _entry(program, _numbers(policy)))
            drop_unused(place, before=written - KEPT_SECONDS)

    def _names(self, policy: ResolvedPolicy, abis: Iterable[Abi]) -> Iterator[tuple[Abi, str]]:
        # The repr of these values contains all their fields and is equal for equal values, except
        # for sets, whose order differs between processes.
        of_rules = [one.abis and sorted(one.abis) for one in policy.rules]
        about = repr((_placeless(policy), of_rules))
        for abi in abis:
            yield abi, sha256(repr((self._common, about, abi.name)).encode())

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int | None]:
        """Yield a descriptor of the directory, or None if it must not be used."""
        with opened(self._directory) as place:
            yield place if self._compiler else None


_ROOTS = ("seccompgen.pipeline.proved", "seccompgen.pipeline.cache")
"""The modules that determine a program, and that cache it."""


def deciding_files(package: Path) -> list[Path]:
    """Return the source files that determine a program; ``package`` is seccompgen's directory."""
    return entry_store.deciding_files(package, _ROOTS)


def _fingerprint() -> str:
    """Return a hash of all that determines a program; empty if its source is not available.

    The search for a program adds floating-point numbers with numpy, whose releases may round
    differently: a program made with an older one would be stale to `--check`, which does not use
    the cache.
    """
    package = Path(__file__).parents[1]
    sources = entry_store.hashed(package, deciding_files(package))
    if not sources:
        return ""
    versions = sys.implementation.name, tuple(sys.version_info), _numpy_release()
    return sha256(repr((sources, versions)).encode())


def _numpy_release() -> bytes:
    """Return the file that holds numpy's version: importing numpy takes long.

    `importlib.metadata` has the version, too, but imports the parser of e-mail.
    """
    found = find_spec("numpy")
    assert found and found.origin
    return Path(found.origin).with_name("version.py").read_bytes()


def _numbers(policy: ResolvedPolicy) -> dict[str, str]:
    """Return numbers to replace the names of a policy's files, which differ between checkouts."""
    return {file: str(i) for i, (file, _) in enumerate(policy.sources)}


def _placed(position: Position, files: Mapping[str, str]) -> Position:
    return replace(position, file=files.get(position.file, position.file))


def _placeless(policy: ResolvedPolicy) -> ResolvedPolicy:
    """Return the parts of a policy that determine its programs, with its files by number."""
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
        io_uring=None,
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
    """Return the directory of cached downloads and programs (XDG); None if there is no home."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    if Path(base).is_absolute():
        return Path(base) / "seccompgen"
    try:
        return Path.home() / ".cache" / "seccompgen"
    except RuntimeError:
        return None
