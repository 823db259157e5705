"""Find what a program is loaded with: its interpreter and, again and again, what is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.errors import Diagnostic, InputError, Position
from seccompgen.reading import read_file
from seccompgen.scan.elf import read_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.architectures import Abi
    from seccompgen.scan.image import Image

_TRIPLETS = {
    "x86_64": "x86_64-linux-gnu",
    "aarch64": "aarch64-linux-gnu",
    "i386": "i386-linux-gnu",
}
_MAX_INCLUDES = 100


def load(
    program: Image, extra: Sequence[Path], directories: Sequence[Path], root: Path
) -> tuple[Image, ...]:
    """Return ``program``, its interpreter, the libraries ``extra``, and all that these need.

    Libraries are looked for as ld.so does: where a file's own RUNPATH says, in ``directories``,
    then in those of ld.so.conf and the usual ones, these below ``root``. Raises InputError, with
    a line for each, for those that are not found.
    """
    images = [program]
    if program.interpreter:
        images.append(_interpreter(program, root))
    images += [read_image(path) for path in extra]
    problems = [
        Diagnostic(
            f"is for {image.abi.name}, but {program.path} for {program.abi.name}",
            Position(image.path),
        )
        for image in images
        if image.abi != program.abi
    ]
    usual = tuple(dict.fromkeys(_usual(program.abi, root)))
    known = {name for image in images for name in (image.soname, image.name)}
    for image in images:  # which grows
        for needed in image.needed:
            if needed in known:
                continue
            known.add(needed)
            places = [*_runpath(image, root), *directories, *usual]
            found = _find(needed, places, program.abi)
            if found:
                images.append(found)
                known.add(found.soname)
                continue
            problems.append(
                Diagnostic(
                    f"needs {needed}, which is not found: name its directory with "
                    "--library-path, or the root of the system it is on with --root",
                    Position(image.path),
                )
            )
    if problems:
        raise InputError(*problems)
    return tuple(images)


def _interpreter(program: Image, root: Path) -> Image:
    path = root / program.interpreter.lstrip("/")
    if not path.is_file():
        raise InputError(
            Diagnostic(
                f"is started by {program.interpreter}, which is not below {root}: name the root "
                "of the system it is on with --root",
                Position(program.path),
            )
        )
    return read_image(path)


def _find(name: str, places: Iterable[Path], abi: Abi) -> Image | None:
    """Return the first library of that name that is for ``abi``; others are passed by."""
    for place in places:
        path = Path(name) if "/" in name else place / name
        if path.is_file():
            try:
                image = read_image(path)
            except InputError:
                continue  # a linker script, or another machine's
            if image.abi == abi:
                return image
    return None


def _runpath(image: Image, root: Path) -> Iterator[Path]:
    origin = str(Path(image.path).resolve().parent)
    for part in image.runpath:
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
