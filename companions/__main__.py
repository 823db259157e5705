"""Make the table of companions again: `make companions`, from the packages that its lock names.

What apt offers is compared with the lock first. Where a version or a hash differs, nothing is
written; `--update` takes the new ones into the lock. `--library` makes the rows of some libraries
alone, and keeps those of all others; it takes in one that the lock does not have yet.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from guests import packages
from seccompgen.core.errors import InputError
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint import companions as table

from companions import table_files, wheels
from companions.compare import compare, rows
from companions.library import Library
from companions.sources import ARCHITECTURES, BESIDE, SOURCES, SUITES, WHEELS, Source

_ROOM = Path(table.__file__).parent
_LIBC = SOURCES[0]


class _Maker:
    """The rows of libraries, from packages below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tables = shipped_tables()
        self._fetched: dict[tuple[str, str], dict[str, packages.Package]] = {}

    def packages(self, suite: str, architecture: str) -> dict[str, packages.Package]:
        """Return the packages of a suite by the patterns of their names."""
        key = suite, architecture
        if key not in self._fetched:
            abi = next(one for one, name in ARCHITECTURES.items() if name == architecture)
            wanted = [name for one in SOURCES if abi in one.abis for name in one.packages]
            self._fetched[key] = packages.fetch(suite, architecture, wanted)
        return self._fetched[key]

    def releases(self, source: Source) -> list[tuple[table.LibraryRelease, dict[str, list[Path]]]]:
        """Return the releases of a library, oldest first, with the files of each by ABI.

        Where several suites have the same release, the oldest suite's package is read.
        """
        found = dict(self._of_wheel(source, one) for one in source.wheels)
        for suite, base in SUITES.items():
            here = (base,) if source.used else ()
            together = [source.packages] if source.library == "systemd" else []
            for names in together or [(name,) for name in source.packages]:
                by_abi = {
                    abi: [self.packages(suite, ARCHITECTURES[abi])[name] for name in names]
                    for abi in source.abis
                }
                version = next(iter(by_abi.values()))[0].version
                release = _release(version, source.parts)
                if release in found:
                    known, files = found[release]
                    bases = dict.fromkeys((*known.bases, *here))
                    found[release] = known._replace(bases=tuple(bases)), files
                    continue
                lines = [
                    f"{suite} {ARCHITECTURES[abi]} {one.name} {one.version} {_sha256(one.path)}"
                    for abi, several in by_abi.items()
                    for one in several
                ]
                entry = table.LibraryRelease(source.library, release, here, tuple(lines))
                files = {
                    abi: [file for one in several for file in self._files(one.path, source.files)]
                    for abi, several in by_abi.items()
                }
                found[release] = entry, files
        return [found[key] for key in sorted(found, key=lambda one: [*map(_order, one.split("."))])]

    def _of_wheel(
        self, source: Source, requirement: str
    ) -> tuple[str, tuple[table.LibraryRelease, dict[str, list[Path]]]]:
        """Return the release of the library in a wheel, taken from the library's file name."""
        wheel = wheels.fetch(requirement, self._directory / "wheels" / requirement)
        files = self._files(wheel, source.files)
        release = files[0].name.partition(".so.")[2]
        name, _, version = requirement.partition("==")
        (abi,) = source.abis
        line = f"{WHEELS} {abi} {name} {version} {_sha256(wheel)}"
        return release, (table.LibraryRelease(source.library, release, (), (line,)), {abi: files})

    def _files(self, package: Path, patterns: tuple[str, ...]) -> list[Path]:
        place = self._directory / package.stem
        if not place.exists() and package.suffix == ".whl":
            shutil.unpack_archive(package, place, "zip")
        elif not place.exists():
            subprocess.run(["dpkg-deb", "-x", package, place], check=True)
        files = [
            path
            for pattern in patterns
            for path in sorted(place.rglob(pattern))
            if path.is_file() and path.parent.name != "lib64"
        ]
        return list({one.resolve(): one for one in reversed(files)}.values())[::-1]

    def rows(self, source: Source) -> list[table.Companion]:
        """Return the rows of a library."""
        found = {}
        releases = self.releases(source)
        if not source.files:
            return []
        for abi in source.abis:
            beside: list[Path] = []
            if not source.alone:
                libc = self.packages(BESIDE, ARCHITECTURES[abi])[_LIBC.packages[0]]
                beside = self._files(libc.path, ("libc.so.6",))
            libraries = {}
            for one, files in releases:
                print(f"{source.library} {one.release} {abi}", file=sys.stderr, flush=True)
                libraries[one.release] = Library(files[abi], self._tables.tables[abi], beside)
            found[abi] = compare(libraries, self._tables)
        return list(rows(source.library, found))


def _release(version: str, parts: int) -> str:
    upstream = re.sub(r"^\d+:", "", version).partition("-")[0]
    return ".".join(re.split(r"[.~+]", upstream)[:parts])


def _order(text: str) -> tuple[int, str]:
    digits = re.match(r"\d*", text)
    return int((digits and digits[0]) or 0), text


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _differences(old: table.Companions, new: list[table.LibraryRelease]) -> list[str]:
    """Return the packages that are new, or gone, compared with the lock."""
    before = {one: release for release in old.releases for one in release.packages}
    after = {one: release for release in new for one in release.packages}
    made = {one.library for one in new}
    lines = [f"new: {one}" for one in after if one not in before]
    gone = [one for one, release in before.items() if one not in after and release.library in made]
    return lines + [f"gone: {one}" for one in gone]


def main() -> int:
    """Make the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="companions", description=__doc__)
    parser.add_argument("--update", action="store_true", help="take new packages into the lock")
    parser.add_argument("--library", action="append", help="make the rows of this one alone")
    wanted = parser.parse_args()
    try:
        old = table.shipped_companions()
    except OSError:
        old = table.Companions((), ())
    except InputError as error:
        print(f"companions: {error}", file=sys.stderr)
        return 2
    names = wanted.library or list(old.libraries)
    sources = [one for one in SOURCES if one.library in names]
    with tempfile.TemporaryDirectory() as directory:
        maker = _Maker(Path(directory))
        try:
            new = {one.library: [each for each, _ in maker.releases(one)] for one in sources}
        except (packages.Unavailable, packages.AptError, wheels.PipError) as error:
            print(f"companions: {error}", file=sys.stderr)
            return 3
        differences = _differences(old, [one for several in new.values() for one in several])
        if differences and not wanted.update:
            print("\n".join(differences), file=sys.stderr)
            print("companions: not the packages of the lock: see --update", file=sys.stderr)
            return 1
        made = {one.library: maker.rows(one) for one in sources}
    releases, table_rows = [], []
    for source in SOURCES:
        name = source.library
        releases += new.get(name) or [one for one in old.releases if one.library == name]
        table_rows += made.get(name) or [one for one in old.rows if one.library == name]
    for name, content in table_files.render(table_rows, releases).items():
        (_ROOM / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
