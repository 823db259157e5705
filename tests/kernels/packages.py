"""Fetch Debian packages of any suite and architecture, with apt's own client and a state of ours.

apt verifies everything: the signature on the suite's Release file, through it the index, through
that the package. Nothing is installed. Mirror and keyring are those that this machine's own apt is
configured with, as are its proxies and the rest of its options; see apt-secure(8), sources.list(5),
apt.conf(5).

What was chosen is remembered, and so a second run asks neither apt nor the network, whatever the
mirror has by then: `refresh` forgets.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kernels.cache import directory, locked, write

_TIMEOUT = 300.0
"""Seconds that a run of apt may take."""

_ARCHIVE_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
)

_CONFIGURATION = "".join(
    f"#clear APT::Update::{hook};\n"
    for hook in ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success")
)
"""What this machine's apt does around an update of its own is not done around ours."""

_UNREACHABLE = re.compile(
    r"Could not (resolve|connect)|Temporary failure|Connection (failed|timed out|refused|reset)"
    r"|Unable to connect|Cannot initiate the connection|Network is unreachable|No route to host"
    r"|Error reading from server|Reading from proxy failed|does not have a Release file"
    r"|\s[45]\d\d\s+[A-Z]"  # an answer of HTTP's
)
_REMARK = re.compile(
    r"Some index files failed|Unable to fetch some archives|Download is performed unsandboxed"
)
"""What apt adds to the cause of its failure, or to none."""


class Unavailable(Exception):  # noqa: N818 - not an error: whoever asks skips
    """What could not be had here, in a sentence."""


class AptError(RuntimeError):
    """apt failed for a reason other than that something cannot be had, such as a signature."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package, and the file it is in."""

    name: str
    version: str
    architecture: str
    path: Path

    @property
    def identity(self) -> str:
        """What no other package has: name, version, architecture."""
        return self.path.stem


def fetch(suite: str, architecture: str, *patterns: str) -> tuple[Package, ...]:
    """Return for each pattern the newest package of a suite whose whole name matches it.

    Raises Unavailable, or AptError.
    """
    index = _Index(suite, architecture)
    with locked(index.name):
        try:
            return index.packages(patterns)
        except Unavailable:
            if index.is_fresh:
                raise
        # The mirror may have moved on from what the index names.
        index.update()
        return index.packages(patterns)


def refresh() -> None:
    """Forget what was chosen, and the indexes: what is asked for next is the mirror's newest."""
    for index in sorted((directory() / "indexes").glob("*")):
        with locked(index.name):
            shutil.rmtree(index)


class _Index:
    """The list of the packages of a suite and an architecture, in apt's state for it alone."""

    def __init__(self, suite: str, architecture: str) -> None:
        self.name = f"{suite}-{architecture}"
        self.is_fresh = False
        self._suite = suite
        self._architecture = architecture
        self._directory = directory() / "indexes" / self.name
        self._chosen = self._directory / "chosen.json"

    def packages(self, patterns: tuple[str, ...]) -> tuple[Package, ...]:
        known: dict[str, tuple[str, str]] = {}
        if self._chosen.exists():
            known = json.loads(self._chosen.read_text())
        missing = tuple(pattern for pattern in patterns if pattern not in known)
        chosen = known | self._choose(missing) if missing else known
        packages = [self._package(*chosen[pattern]) for pattern in patterns]
        self._download([package for package in packages if not package.path.exists()])
        if missing:
            write(self._chosen, json.dumps(chosen, indent=1).encode())
        return tuple(packages)

    def update(self) -> None:
        """Replace the index, and forget what was chosen from it: whole or not at all."""
        uri, keyring = _mirror()
        self._directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._directory.parent, prefix=".") as name:
            new = Path(name) / "new"
            (new / "lists" / "partial").mkdir(parents=True)
            (new / "archives" / "partial").mkdir(parents=True)
            (new / "status").touch()
            (new / "apt.conf").write_text(_CONFIGURATION)
            options = f"arch={self._architecture} target=Packages pdiffs=no signed-by={keyring}"
            (new / "sources.list").write_text(f"deb [{options}] {uri} {self._suite} main\n")
            _apt(new, self._architecture, "apt-get", "update", "--error-on=any")
            if self._directory.exists():
                self._directory.rename(Path(name) / "old")
            new.rename(self._directory)
        self.is_fresh = True

    def _package(self, name: str, version: str) -> Package:
        file = f"{name}_{version.replace(':', '%3a')}_{self._architecture}.deb"
        return Package(name, version, self._architecture, directory() / "packages" / file)

    def _choose(self, patterns: tuple[str, ...]) -> dict[str, tuple[str, str]]:
        if not self._directory.exists():
            self.update()
        names = sorted(self._ask("pkgnames").split())
        matching = {
            pattern: [name for name in names if re.fullmatch(pattern, name)] for pattern in patterns
        }
        for pattern, matches in matching.items():
            if not matches:
                raise Unavailable(f"{self.name} has no package {pattern}")
        wanted = sorted({name for matches in matching.values() for name in matches})
        shown = self._ask("show", "--no-all-versions", *wanted)
        versions = {
            _field(stanza, "Package"): _field(stanza, "Version")
            for stanza in shown.strip().split("\n\n")
        }
        return {
            pattern: max(
                ((name, versions[name]) for name in matches if name in versions),
                key=functools.cmp_to_key(_compare),
            )
            for pattern, matches in matching.items()
        }

    def _ask(self, *arguments: str) -> str:
        return _apt(self._directory, self._architecture, "apt-cache", *arguments)

    def _download(self, packages: list[Package]) -> None:
        if not packages:
            return
        target = directory() / "packages"
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".") as name:
            names = [f"{package.name}={package.version}" for package in packages]
            _apt(self._directory, self._architecture, "apt-get", "download", *names, cwd=name)
            for package in packages:
                (Path(name) / package.path.name).rename(package.path)


def _mirror() -> tuple[str, Path]:
    """Return URI and keyring of the Debian archive that this machine's apt is configured with."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Unavailable("there is no apt here")
    query = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(SIGNED_BY)"]
    targets = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    for line in targets.splitlines():
        # The archive of security updates has another label.
        if line.startswith("Debian|Debian|"):
            _, _, uri, signed_by = line.split("|", 3)
            for keyring in (Path(signed_by), *_ARCHIVE_KEYRINGS):
                if keyring.is_absolute() and keyring.is_file():
                    return uri, keyring
            raise Unavailable("the keyring of the Debian archive is not installed")
    raise Unavailable("apt is not configured with a mirror of the Debian archive")


def _apt(
    directory: Path, architecture: str, command: str, *arguments: str, cwd: str | None = None
) -> str:
    """Run a command of apt's on a state of ours."""
    settings = {
        "Dir::State": directory,
        "Dir::State::status": directory / "status",
        "Dir::Cache": directory,
        "Dir::Cache::pkgcache": "pkgcache.bin",
        "Dir::Etc::sourcelist": directory / "sources.list",
        "Dir::Etc::sourceparts": os.devnull,
        "Dir::Etc::preferences": os.devnull,
        "Dir::Etc::preferencesparts": os.devnull,
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Default-Release": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
    }
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    environment = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            [command, "-c", str(directory / "apt.conf"), *options, "-q", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=cwd,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command} {arguments[0]} did not end in {_TIMEOUT:.0f} s") from None
    if done.returncode == 0:
        return done.stdout
    complaints = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
    causes = [line for line in complaints if not _REMARK.search(line)]
    message = "\n".join(causes or complaints or [done.stderr])
    # Only what is known to be harmless is: a failed verification must not pass for a skip.
    if causes and all(_UNREACHABLE.search(line) for line in causes):
        raise Unavailable(message)
    raise AptError(message)


def _field(stanza: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*)$", stanza, re.MULTILINE)
    if found is None:
        raise AptError(f"no {name} in what apt-cache says:\n{stanza}")
    return found[1]


def _compare(one: tuple[str, str], other: tuple[str, str]) -> int:
    """Compare packages by version, as Debian does."""
    for relation, result in (("lt", -1), ("gt", 1)):
        command = ["dpkg", "--compare-versions", one[1], relation, other[1]]
        if subprocess.run(command, check=False).returncode == 0:
            return result
    return 0
