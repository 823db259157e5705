"""Scan the programs of Debian packages into a table.

All packages are unpacked into one root, so that programs find the libraries of other packages. The
table is written program by program, so an interrupted scan goes on where it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeAlias, cast

from seccompgen.core.errors import Diagnostic, InputError, OutsideError, Position
from seccompgen.io.reading import decode_text, read_input, read_start
from seccompgen.scan.binary import read_binary
from seccompgen.scan.code import forget_images
from seccompgen.scan.inside import file_inside
from seccompgen.scan.layers import UnpackBudget, unpack_package
from seccompgen.scan.scanner import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from subprocess import Popen

    from seccompgen.core.tables import Tables
    from seccompgen.scan.call_table import CallTable
    from seccompgen.scan.scanner import ScanOptions

_MERGED = ("bin", "sbin", "lib", "lib64")
"""Links to the same names in usr, as all Debian systems have them since release 12."""


class DebianPackage(NamedTuple):
    """A package file, with its name and version."""

    path: Path
    name: str
    version: str


class PackagedProgram(NamedTuple):
    """A program of a package: its name in the system, and where it is unpacked."""

    package: DebianPackage
    name: str
    place: Path


@dataclass(frozen=True, slots=True)
class ScannedProgram:
    """A row of the table: ``problem`` says why a program could not be scanned, or is ""."""

    package: str
    version: str
    file: str
    build_id: str
    calls: tuple[str, ...]
    unknown: int
    seconds: float
    problem: str


Rows: TypeAlias = """Callable[
    [Sequence[PackagedProgram], Path], Generator[ScannedProgram | None]
]"""
"""Yields the row of each program below a root, in any order; None for a library."""


def packages_in(place: Path) -> list[DebianPackage]:
    """Return the packages in the directory or list ``place``, sorted by path.

    A list has the path of a package in each line, relative to its own directory. Raises InputError
    if there are none.
    """
    if not shutil.which("dpkg-deb"):
        raise OutsideError("scan --packages needs dpkg-deb, which is in the package dpkg")
    where = Position(str(place))
    found = [_described(path) for path in sorted(_listed(place))]
    if not found:
        raise InputError(Diagnostic("has no packages: no *.deb", where))
    counts = Counter(one.name for one in found)
    double = sorted(name for name, count in counts.items() if count > 1)
    if double:
        raise InputError(Diagnostic(f"has several packages of {', '.join(double)}", where))
    return found


def _listed(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from place.glob("*.deb")
        return
    for line in decode_text(read_input(place), str(place)).splitlines():
        if line.strip() and not line.startswith("#"):
            yield place.parent / line.strip()


def _described(path: Path) -> DebianPackage:
    form = "--showformat=${Package}\\n${Version}\\n"
    command = ["dpkg-deb", form, "--show", str(path.absolute())]
    run = subprocess.run(  # noqa: S603 - dpkg's own reader of packages
        command, capture_output=True, text=True, check=False
    )
    words = run.stdout.split("\n")
    if run.returncode or len(words) < 2:
        raise InputError(Diagnostic("is no Debian package", Position(str(path))))
    return DebianPackage(path, words[0], words[1])


def set_of(packages: Sequence[DebianPackage]) -> str:
    """Return a hash of the packages' files: programs depend on the libraries of all."""
    whole = hashlib.sha256()
    for package in packages:
        with package.path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def scan_packages(
    packages: Sequence[DebianPackage],
    table: CallTable,
    rows: Rows,
    report: Callable[[int, int], None] | None,
    directory: Path | None = None,
) -> None:
    """Add to ``table`` the programs of ``packages`` that it lacks, as ``rows`` scans them.

    The packages are unpacked below ``directory``, or where temporary files are.
    """
    with tempfile.TemporaryDirectory(prefix="seccompgen-", dir=directory) as name:
        root = Path(name).resolve()
        for link in _MERGED:
            (root / "usr" / link).mkdir(parents=True)
            (root / link).symlink_to(f"usr/{link}")
        programs = list(_unpacked(packages, root))
        known = table.programs()
        missing = [one for one in programs if (one.package.name, one.name) not in known]
        with contextlib.closing(rows(missing, root)) as scanned:
            for done, row in enumerate(scanned, len(programs) - len(missing) + 1):
                if row:
                    table.add(row)
                if report:
                    report(done, len(programs))
        table.finish()


def _unpacked(packages: Sequence[DebianPackage], root: Path) -> Iterator[PackagedProgram]:
    """Unpack ``packages`` below ``root``, and return their programs."""
    budget = UnpackBudget()
    owners: dict[Path, DebianPackage] = {}
    for package in packages:
        command = ["dpkg-deb", "--fsys-tarfile", str(package.path.absolute())]
        with subprocess.Popen(  # noqa: S603 - dpkg's own reader of packages
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as run:
            for path in _of_one(run, package, root, budget):
                owner = owners.setdefault(path, package)
                if owner is not package:
                    text = f"and {owner.path.name} have both /{path.relative_to(root)}"
                    raise InputError(Diagnostic(text, Position(package.path.name)))
    for path, package in sorted(owners.items()):
        if path.stat().st_mode & 0o111 and read_start(path, 4) == b"\x7fELF":
            yield PackagedProgram(package, f"/{path.relative_to(root)}", path)


def _of_one(
    run: Popen[bytes], package: DebianPackage, root: Path, budget: UnpackBudget
) -> Iterator[Path]:
    files = unpack_package(cast("BinaryIO", run.stdout), package.path.name, root, budget)
    if run.wait():
        raise InputError(Diagnostic("is a broken package", Position(str(package.path))))
    return (path for path in files if file_inside(root, str(path.relative_to(root))) == path)


def rows_here(tables: Tables, means: ScanOptions) -> Rows:
    """Return what scans programs on this machine, one after the other."""

    def rows(programs: Sequence[PackagedProgram], root: Path) -> Generator[ScannedProgram | None]:
        for program in programs:
            yield scanned(program, tables, root, means)

    return rows


def scanned(
    program: PackagedProgram, tables: Tables, root: Path, means: ScanOptions
) -> ScannedProgram | None:
    """Return the row of a program; None for a library."""
    started = time.monotonic()
    build_id, unknown, problem = "", 0, ""
    calls: tuple[str, ...] = ()
    try:
        binary = read_binary(program.place, program.name)
        if not binary.is_program:
            return None
        build_id = binary.build_id
        found = scan(program.place, tables, (), (), root, means, is_image=True)
        calls, unknown = found.names, len(found.unknown)
    except InputError as error:
        problem = "; ".join(str(one) for one in error.diagnostics)
    finally:
        forget_images()
    return ScannedProgram(
        *(program.package.name, program.package.version, program.name, build_id),
        *(calls, unknown, time.monotonic() - started, problem),
    )
