"""The user lands: root directories with the packages of the programs, made by debootstrap.

Two kinds: a whole release of Debian; and Debian 11 with nothing newer than the C library of a
release, for what breaks where the program did not change.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PLACE = Path("/var/tmp/userlands")  # noqa: S108 - root's; four of them take 3 GB
RECORDED = "bullseye"
RELEASES = {"bullseye": "11", "bookworm": "12", "trixie": "13", "testing": "testing"}
LATER = [suite for suite in RELEASES if suite != RECORDED]
LIBRARIES = [f"{suite}-libc" for suite in LATER]
EVERYWHERE = ["adduser", "ca-certificates", "procps"]
CONFIGURATION = 'Acquire::Check-Valid-Until "false";\nAPT::Sandbox::User "root";\n'
NO_SERVICES = "#!/bin/sh\nexit 101\n"
IN_ROOT = "mount -t proc proc /proc; export DEBIAN_FRONTEND=noninteractive LC_ALL=C; "
INSTALL = (
    "apt-get -q update && apt-get -q install -y --no-install-recommends"
    " -o Dpkg::Options::=--force-unsafe-io"
)


class UnavailableError(Exception):
    """A user land cannot be made here."""


@dataclass(frozen=True, slots=True)
class UserLand:
    """A root directory in layers, the topmost first; ``release`` is what ``lint`` calls it."""

    name: str
    release: str
    layers: tuple[Path, ...]

    @property
    def whole(self) -> bool:
        """Return True if all of it is of one release."""
        return len(self.layers) == 1

    def version(self, package: str) -> str:
        """Return the version of a package that is installed."""
        words = ("-W", "-f", "${Version}", package)
        return chroot(self.layers[-1], "dpkg-query", *words).stdout.strip()

    @property
    def libc(self) -> str:
        """Return the release of the C library, such as 2.31."""
        library = self.layers[0] / "usr/lib/x86_64-linux-gnu/libc.so.6"
        found = library.read_bytes().partition(b"stable release version ")[2]
        return found.partition(b".\n")[0].decode()[:4]


def user_land(name: str, place: Path = PLACE) -> UserLand:
    """Return a user land by its name, whether it was made or not."""
    suite = name.removesuffix("-libc")
    layers = (place / name,) if name == suite else (place / name, place / RECORDED)
    return UserLand(name, f"debian:{RELEASES[suite]}", layers)


def make(name: str, packages: Sequence[str], place: Path = PLACE) -> UserLand:
    """Make a user land, unless it is there with all its packages."""
    land = user_land(name, place)
    if not land.whole:
        suite = make(name.removesuffix("-libc"), packages, place)
        make(RECORDED, packages, place)
        copy_libc(suite.layers[0], land.layers[0])
        return land
    root = land.layers[0]
    made = root.with_name(f"{name}.made")
    there = set(made.read_text().split()) if made.exists() else set()
    wanted = sorted({*EVERYWHERE, *packages} - there)
    if not wanted:
        return land
    if not (root / "usr/bin/apt-get").exists():
        place.mkdir(parents=True, exist_ok=True)
        succeed("debootstrap", "--variant=minbase", "--merged-usr", name, root)
    (root / "etc/apt/apt.conf.d/99userlands").write_text(CONFIGURATION)
    (root / "usr/sbin/policy-rc.d").write_text(NO_SERVICES)
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    namespaces = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
    script = f"{IN_ROOT}{INSTALL} {' '.join(wanted)}"
    succeed(*namespaces, "chroot", root, "/bin/sh", "-c", script)
    made.write_text("\n".join(sorted({*there, *wanted})))
    return land


def succeed(*words: str | Path) -> None:
    """Run a command; raise UnavailableError with the end of what it writes if it fails."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        said = done.stdout.decode(errors="replace").splitlines()[-3:]
        raise UnavailableError(f"{words[0]} failed: {' / '.join(said)}")


def chroot(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a root directory, and return what it wrote."""
    return subprocess.run(["chroot", root, *words], capture_output=True, text=True, check=True)


def copy_libc(root: Path, layer: Path) -> None:
    """Copy the C library of a root directory into a layer."""
    if layer.exists():
        return
    for line in chroot(root, "dpkg", "-L", "libc6").stdout.splitlines():
        path = Path("usr", line.lstrip("/").removeprefix("usr/"))
        file = root / path
        if path.parts[1:2] in {("lib",), ("lib64",)} and not (
            file.is_dir() and not file.is_symlink()
        ):
            (layer / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, layer / path, follow_symlinks=False)
