"""Find the files that a program is loaded with: its interpreter and libraries, recursively."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.io.reading import read_file
from seccompgen.scan.binary import read_binary
from seccompgen.scan.debug_files import debug_place, read_debug_file
from seccompgen.scan.inside import file_inside, located

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.scan.binary import Binary

_TRIPLETS = {
    "x86_64": "x86_64-linux-gnu",
    "aarch64": "aarch64-linux-gnu",
    "i386": "i386-linux-gnu",
}
_MAX_INCLUDES = 100
_OF_MUSL = frozenset(
    f"lib{name}.so" for name in ("c", "pthread", "rt", "m", "dl", "util", "xnet", "resolv", "crypt")
)


class System(NamedTuple):
    """The system that a program is for: its root, and directories to search for libraries first.

    Links below a root other than the machine's own are followed as the program will follow them.
    If ``is_image``, files are called by their names in the system.
    """

    root: Path
    directories: tuple[Path, ...] = ()
    is_image: bool = False

    @property
    def advice(self) -> str:
        """The end of an error about a file that is not found."""
        if self.is_image:
            return " below its root directory"
        return ": name its directory with --library-path, or the root of the system with --root"

    def file(self, path: Path) -> Path | None:
        """Return where the regular file ``path`` is; None if there is none."""
        if self._is_inside(path):
            return file_inside(self.root, str(path.relative_to(self.root)))
        return path if path.is_file() else None

    def files(self, directory: Path, pattern: str) -> list[Path]:
        """Return the files in ``directory`` whose names match ``pattern``, sorted."""
        place: Path | None = directory
        if self._is_inside(directory):
            place = located(self.root, str(directory.relative_to(self.root)))
        inside = place.iterdir() if place and place.is_dir() else ()
        names = fnmatch.filter((one.name for one in inside), pattern)
        found = [self.file(directory / name) for name in sorted(names)]
        return [one for one in found if one]

    def read(self, path: Path) -> Binary:
        """Read the ELF file at ``path``, and its debug file if there is one."""
        binary = read_binary(path, f"/{path.relative_to(self.root)}" if self.is_image else "")
        if binary.is_stripped and binary.build_id:
            place = self.file(self.root / debug_place(binary.build_id))
            binary.debug = read_debug_file(place, binary.build_id) if place else None
        return binary

    def _is_inside(self, path: Path) -> bool:
        return self.root != Path("/") and path.is_relative_to(self.root)


def load(program: Binary, extra: Sequence[Path], system: System) -> tuple[Binary, ...]:
    """Return ``program``, its interpreter, the libraries ``extra``, and all that these need.

    Libraries are searched for as by ld.so: in the file's own RUNPATH, in the directories of
    ``system``, then, below its root, in those of ld.so.conf and the default ones. Raises InputError
    with a line for each that is not found.
    """
    binaries = [program]
    if program.interpreter:
        binaries.append(_interpreter(program, system))
    binaries += [system.read(path) for path in extra]
    problems = [
        Diagnostic(
            f"is for {binary.abi.name}, but {program.path} for {program.abi.name}",
            Position(binary.path),
        )
        for binary in binaries
        if binary.abi != program.abi
    ]
    binaries, missing = _with_needed(binaries, program.abi, system)
    problems += [
        Diagnostic(f"needs {needed}, which is not found{system.advice}", Position(binary.path))
        for binary, needed in missing
    ]
    if problems:
        raise InputError(*problems)
    return tuple(binaries)


def missing_libraries(library: Binary, system: System) -> list[str]:
    """Return the names of libraries that ``library`` needs, itself or indirectly, and lacks."""
    return [needed for _, needed in _with_needed([library], library.abi, system)[1]]


def _with_needed(
    binaries: list[Binary], abi: Abi, system: System
) -> tuple[list[Binary], list[tuple[Binary, str]]]:
    """Return ``binaries`` with all that they need, and what is missing, with who needs it."""
    missing: list[tuple[Binary, str]] = []
    usual = tuple(dict.fromkeys(_usual(abi, system)))
    known = {name for binary in binaries for name in (binary.soname, binary.name)}
    if Path(binaries[0].interpreter).name.startswith("ld-musl-"):
        known |= _OF_MUSL  # the interpreter's file contains them all
    for binary in binaries:  # the list grows meanwhile
        for needed in binary.needed:
            if needed in known:
                continue
            known.add(needed)
            places = [*_runpath(binary, system), *system.directories, *usual]
            found = _find(needed, places, abi, system)
            if found:
                binaries.append(found)
                known.add(found.soname)
            else:
                missing.append((binary, needed))
    return binaries, missing


def _interpreter(program: Binary, system: System) -> Binary:
    path = system.file(system.root / program.interpreter.lstrip("/"))
    if path is None:
        text = f"is started by {program.interpreter}, which is not found{system.advice}"
        raise InputError(Diagnostic(text, Position(program.path)))
    return system.read(path)


def _find(name: str, places: Iterable[Path], abi: Abi, system: System) -> Binary | None:
    """Return the first library of that name that is for ``abi``; None if there is none."""
    if "/" in name:
        is_own = system.root == Path("/")
        places = [Path()] if is_own else [system.root]
        name = name if is_own else name.lstrip("/")
    for place in places:
        path = system.file(place / name)
        if path:
            try:
                binary = system.read(path)
            except InputError:
                continue  # a linker script, or for another machine
            if binary.abi == abi:
                return binary
    return None


def _runpath(binary: Binary, system: System) -> Iterator[Path]:
    origin = str(binary.place.resolve().parent)
    for part in binary.runpath:
        for spelling in ("$ORIGIN", "${ORIGIN}"):
            if spelling in part:
                yield Path(part.replace(spelling, origin))
                break
        else:
            yield system.root / part.lstrip("/")


def _usual(abi: Abi, system: System) -> Iterator[Path]:
    triplet = _TRIPLETS[abi.name]
    for place in _configured(system.root / "etc/ld.so.conf", system, set()):
        yield system.root / place.lstrip("/")
    for directory in ("lib", "usr/lib", "usr/local/lib"):
        yield system.root / directory / triplet
        yield system.root / f"{directory}{abi.bits}"
        yield system.root / directory


def _configured(path: Path, system: System, seen: set[Path]) -> Iterator[str]:
    """Yield the directories that an ld.so.conf lists (ldconfig(8))."""
    place = system.file(path)
    if place is None or path in seen or len(seen) > _MAX_INCLUDES:
        return
    seen.add(path)
    try:
        lines = read_file(place).decode(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if words and words[0] == "include":
            for pattern in words[1:]:
                base = system.root if pattern.startswith("/") else path.parent
                whole = base / pattern.lstrip("/")
                for included in system.files(whole.parent, whole.name):
                    yield from _configured(included, system, seen)
        elif words:
            yield words[0]
