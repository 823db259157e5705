"""Filter packages on disk: their files, which of them we generated, and which are orphaned.

A filter ``x`` is the package ``x``: its ``__init__.py`` contains install(), and ``_<abi>.py`` the
program for an ABI.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.io.reading import read_start
from seccompgen.render.templates import has_banner

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

INIT_NAME = "__init__.py"
_MAX_BANNER = 1 << 20
_LONGEST_BANNER = 80
"""A first line with our mark is never longer, in bytes."""
_PROGRAM_NAMES = frozenset(f"_{name}.py" for name in ABIS)


def holds_program(path: Path) -> bool:
    """Return True if ``path`` is named like the module of a program for an ABI."""
    return path.name in _PROGRAM_NAMES


def is_filter_package(path: Path) -> bool:
    """Return True if the directory ``path`` is a filter, or the remains of one."""
    return any((path / name).is_file() for name in _PROGRAM_NAMES) or bool(
        _banner_lines(path / INIT_NAME, b"#   proved ")
    )


def shadowed_module(package: Path) -> Path:
    """Return the module of the same name, which ``package`` hides from imports."""
    return package.with_name(f"{package.name}.py")


def in_package(package: Path) -> list[Path]:
    """Return the files and packages that Python could import from a filter package, sorted."""
    kinds = {".py", ".pyc", ".so", ".pyd"}
    return sorted(
        path
        for path in package.iterdir()
        if path.suffix in kinds or (path.is_dir() and path.name != "__pycache__")
    )


def orphaned_filters(output: Path, files: Iterable[Path]) -> frozenset[Path]:
    """Return the generated files in a project's ``output`` that nothing generates any more.

    Combined filters have no policy; their files are not returned.
    """
    packages = [path for path in output.glob("*") if is_filter_package(path)]
    combined = [path for path in packages if _banner_lines(path / INIT_NAME, b"#   made ")]
    inside = (path for package in packages for path in package.glob("*.py"))
    found = {path for path in (*output.glob("*.py"), *inside) if is_ours(path)}
    found -= {
        path for path in found if path.parent in combined or _banner_lines(path, b"#   made ")
    }
    return frozenset(found) - set(files)


def orphaned_sources(files: Mapping[Path, bytes], directory: Path) -> frozenset[Path]:
    """Return the generated files in the packages below ``directory`` that are not in ``files``.

    They are programs for ABIs that a policy no longer has, and the single module that a filter was
    before it became a package.
    """
    kinds = {(path.parent, path.suffix) for path, data in files.items() if has_banner(data)}
    there = [
        path
        for package, suffix in kinds
        if package != directory
        for path in package.glob(f"*{suffix}")
    ]
    there += map(shadowed_module, filter_packages(files))
    return frozenset(path for path in there if is_ours(path)) - files.keys()


def filter_packages(files: Iterable[Path]) -> set[Path]:
    """Return the directories of the filter packages that ``files`` are in."""
    return {path.parent for path in files if holds_program(path)}


def heads(paths: Iterable[Path]) -> list[Path]:
    """Return ``paths`` without program modules whose package's __init__.py is also in ``paths``.

    The __init__.py changes with each program: it names all programs and has their hash.
    """
    paths = list(paths)
    packages = {path.parent for path in paths if path.name == INIT_NAME}
    return [path for path in paths if not (holds_program(path) and path.parent in packages)]


def summary(written: Iterable[Path]) -> list[str]:
    """Return a line for each file or filter package that was written or removed."""
    written = list(written)
    packages = filter_packages(written)
    lines: dict[str, int] = {}
    for path in written:
        there = path.exists()
        whole = path.parent in packages and (there or not path.parent.exists())
        line = f"{'wrote' if there else 'removed'} {path.parent if whole else path}"
        lines[line] = lines.get(line, 0) + 1
    return [line + f" ({count} files)" * (count > 1) for line, count in lines.items()]


def refuse_to_overwrite(files: Mapping[Path, bytes]) -> None:
    """Raise InputError if a source file to be written exists and seccompgen did not generate it.

    The same applies to a module that a filter package would hide, or that would become part of one.
    """
    there = {path for path, data in files.items() if has_banner(data)}
    for package in filter_packages(files):
        there |= {*package.glob("*.py"), shadowed_module(package)}
    foreign = [path for path in sorted(there) if path.is_file() and not is_ours(path)]
    foreign = [path for path in foreign if path.stat().st_size]
    if foreign:
        message = "is not seccompgen's to overwrite: rename it, or choose another directory with -o"
        raise InputError(*(Diagnostic(message, Position(str(path))) for path in foreign))


def is_ours(path: Path) -> bool:
    """Return True if seccompgen generated the source file ``path``."""
    # Editors leave dangling links next to the files that they edit.
    return path.is_file() and has_banner(read_start(path, _LONGEST_BANNER))


def _banner_lines(path: Path, start: bytes) -> list[bytes]:
    """Return the lines of a file's banner that begin with ``start``; none if there is no file."""
    if not path.is_file():
        return []
    lines = read_start(path, _MAX_BANNER).splitlines()
    banner = itertools.takewhile(lambda line: line.startswith(b"#"), lines)
    return [line for line in banner if line.startswith(start)]
