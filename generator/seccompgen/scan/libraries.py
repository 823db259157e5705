"""Find the files that a program is loaded with: its interpreter and libraries, recursively."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.io.reading import read_file
from seccompgen.scan.binary import read_binary

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


def load(
    program: Binary, extra: Sequence[Path], directories: Sequence[Path], root: Path
) -> tuple[Binary, ...]:
    """Return ``program``, its interpreter, the libraries ``extra``, and all that these need.

    Libraries are searched for as by ld.so: in the file's own RUNPATH, in ``directories``, then,
    below ``root``, in those of ld.so.conf and the default ones. Raises InputError with a line for
    each that is not found.
    """
    binaries = [program]
    if program.interpreter:
        binaries.append(_interpreter(program, root))
    binaries += [read_binary(path) for path in extra]
    problems = [
        Diagnostic(
            f"is for {binary.abi.name}, but {program.path} for {program.abi.name}",
            Position(binary.path),
        )
        for binary in binaries
        if binary.abi != program.abi
    ]
    usual = tuple(dict.fromkeys(_usual(program.abi, root)))
    known = {name for binary in binaries for name in (binary.soname, binary.name)}
    if Path(program.interpreter).name.startswith("ld-musl-"):
        known |= _OF_MUSL  # the interpreter's file contains them all
    for binary in binaries:  # the list grows meanwhile
        for needed in binary.needed:
            if needed in known:
                continue
            known.add(needed)
            places = [*_runpath(binary, root), *directories, *usual]
            found = _find(needed, places, program.abi)
            if found:
                binaries.append(found)
                known.add(found.soname)
                continue
            problems.append(
                Diagnostic(
                    f"needs {needed}, which is not found: name its directory with "
                    "--library-path, or the root of the system it is on with --root",
                    Position(binary.path),
                )
            )
    if problems:
        raise InputError(*problems)
    return tuple(binaries)


def _interpreter(program: Binary, root: Path) -> Binary:
    path = root / program.interpreter.lstrip("/")
    if not path.is_file():
        raise InputError(
            Diagnostic(
                f"is started by {program.interpreter}, which is not below {root}: name the root "
                "of the system it is on with --root",
                Position(program.path),
            )
        )
    return read_binary(path)


def _find(name: str, places: Iterable[Path], abi: Abi) -> Binary | None:
    """Return the first library of that name that is for ``abi``; None if there is none."""
    for place in places:
        path = Path(name) if "/" in name else place / name
        if path.is_file():
            try:
                binary = read_binary(path)
            except InputError:
                continue  # a linker script, or for another machine
            if binary.abi == abi:
                return binary
    return None


def _runpath(binary: Binary, root: Path) -> Iterator[Path]:
    origin = str(Path(binary.path).resolve().parent)
    for part in binary.runpath:
        for spelling in ("$ORIGIN", "${ORIGIN}"):
            if spelling in part:
                yield Path(part.replace(spelling, origin))
                break
        else:
            yield root / part.lstrip("/")


def _usual(abi: Abi, root: Path) -> Iterator[Path]:
    triplet = _TRIPLETS[abi.name]
    for place in _configured(root / "etc/ld.so.conf", root, set()):
        yield root / place.lstrip("/")
    for directory in ("lib", "usr/lib", "usr/local/lib"):
        yield root / directory / triplet
        yield root / f"{directory}{abi.bits}"
        yield root / directory


def _configured(path: Path, root: Path, seen: set[Path]) -> Iterator[str]:
    """Yield the directories that an ld.so.conf lists (ldconfig(8))."""
    if path in seen or len(seen) > _MAX_INCLUDES:
        return
    seen.add(path)
    try:
        lines = read_file(path).decode(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if words and words[0] == "include":
            for pattern in words[1:]:
                base = root if pattern.startswith("/") else path.parent
                for included in sorted(base.glob(pattern.lstrip("/"))):
                    yield from _configured(included, root, seen)
        elif words:
            yield words[0]
