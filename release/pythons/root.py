"""The root directory with Debian's Pythons, and free-threaded ones built from its sources.

Packages are those of sid. Sources are those of testing: mirrors have them longer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interpreters import find_interpreter

if TYPE_CHECKING:
    from collections.abc import Sequence

PLACE = Path("/var/tmp/pythons")  # noqa: S108 - root's; 1.5 GB
ROOT = PLACE / "sid"
SUITE = "sid"
DEBIAN = ("3.13", "3.14", "3.15")
"""The releases that the suite has."""
FREE_THREADED = tuple(f"{version}t" for version in DEBIAN)
VERSIONS = ("3.9", "3.10", "3.11", "3.12", *sorted((*DEBIAN, *FREE_THREADED)))
PACKAGES = (
    *("ca-certificates", "curl", "gcc", "libc6-dev", "make", "xz-utils"),
    *("libbz2-dev", "libffi-dev", "liblzma-dev", "libsqlite3-dev", "libssl-dev", "zlib1g-dev"),
    *(f"python{version}-venv" for version in DEBIAN),
)
# What runs in the root directory has these folders of the machine, at their places.
_ENTER = """
root=$1; shift
for shared in /proc /dev /tmp /etc/ssl {place}; do
  mkdir -p "$root$shared"
  mount --rbind "$shared" "$root$shared"
done
exec chroot "$root" /bin/sh -ec 'cd "$1"; shift; exec "$@"' sh "$(pwd)" "$@"
"""
_INSTALL = """
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
cd /etc/apt
sed 's/^deb /deb-src /; s/ sid / testing /' sources.list > sources.list.d/sources.list
apt-get -q -o Acquire::Check-Valid-Until=false update  # a mirror may be behind
apt-get -q install -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io "$@"
"""
# Its own tests are not needed, and the quickest to build is quick enough.
_BUILD = """
mkdir -p /usr/src/$1
cd /usr/src/$1
apt-get -q -o APT::Sandbox::User=root source --download-only python$1
tar --strip-components=1 -xf python$1_*.orig.tar.xz
./configure --quiet --prefix=/opt/python/$1t --disable-gil --disable-test-modules CFLAGS=-O1
make --quiet -j2
make --quiet altinstall
rm -rf /usr/src/$1
"""


class UnavailableError(Exception):
    """A Python, or the root directory, cannot be had here."""


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter, and the words that go before each command that has to do with it."""

    version: str
    path: str
    enter: tuple[str, ...] = ()

    @property
    def free_threaded(self) -> bool:
        """Return True if this build has no global lock."""
        return self.version.endswith("t")


def find(version: str) -> Python | None:
    """Return a Python of this machine or of the root directory; None if neither has it."""
    free_threaded = version.endswith("t")
    found = shutil.which(f"python{version}") if free_threaded else find_interpreter(version)
    if found:
        return Python(version, found)
    path = f"/opt/python/{version}/bin/python{version}"
    path = path if free_threaded else f"/usr/bin/python{version}"
    if os.geteuid() == 0 and (ROOT / path.lstrip("/")).exists():
        return Python(version, path, _entering())
    return None


def obtain(version: str) -> Python:
    """Return a Python, built if need be. Raises UnavailableError where it cannot be had."""
    found = find(version)
    if found is None and version in FREE_THREADED and (ROOT / "usr/src").exists():
        _inside(_BUILD, version.removesuffix("t"))
        found = find(version)
    if found is None:
        raise UnavailableError("neither this machine nor the root directory has it")
    return found


def make() -> None:
    """Make the root directory, or what of it is missing."""
    if os.geteuid() != 0:
        raise UnavailableError("it takes root: root directories are entered by chroot(2)")
    if missing := [tool for tool in ("debootstrap", "unshare") if not shutil.which(tool)]:
        raise UnavailableError(f"not installed: {', '.join(missing)}")
    PLACE.mkdir(exist_ok=True)
    if not (ROOT / "usr/bin/apt-get").exists():
        _succeed("debootstrap", "--variant=minbase", SUITE, str(ROOT))
    if not all((ROOT / "usr/share/doc" / package).exists() for package in PACKAGES):
        shutil.copyfile("/etc/resolv.conf", ROOT / "etc/resolv.conf")
        _inside(_INSTALL, *PACKAGES)


def _entering() -> tuple[str, ...]:
    script = _ENTER.format(place=PLACE)
    return ("unshare", "--mount", "/bin/sh", "-ec", script, "enter", str(ROOT))


def _inside(script: str, *words: str) -> None:
    _succeed(*_entering(), "/bin/sh", "-ec", script, "sh", *words)


def _succeed(*words: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own tools
        words, cwd=PLACE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        said: Sequence[str] = done.stdout.decode(errors="replace").splitlines()[-5:]
        raise UnavailableError(f"{words[0]} failed: {' / '.join(said)}")
