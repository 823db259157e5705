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
from typing import TYPE_CHECKING

from guests.cache import directory, locked, write

if TYPE_CHECKING:
    from collections.abc import Iterable

_TIMEOUT = 300.0
"""Seconds that a run of apt may take."""

_ARCHIVE_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
)

_CLEARED = (
    "APT::Architectures",
    "APT::Update::Pre-Invoke",
    "APT::Update::Post-Invoke",
    "APT::Update::Post-Invoke-Success",
)
"""Lists of settings that are not for us: what to do around an update of this machine's own."""

_UNREACHABLE = re.compile(
    r"Could not (resolve|connect)|Temporary failure|Connection (failed|timed out|refused|reset)"
    r"|Unable to connect|Cannot initiate the connection|Network is unreachable|No route to host"
    r"|Error reading from server|Reading from proxy failed|does not have a Release file"
    r"|\s[45]\d\d\s+[A-Z]"  # an answer of HTTP's
)
_REMARK = re.compile(
    r"Some index files failed|Unable to fetch some archives|Download is performed unsandboxed"
)
"""Text that apt adds to the cause of its failure, or to none."""


class Unavailable(Exception):  # noqa: N818 - not an error: whoever asks skips
    """Something could not be had here; the text is a sentence."""


class AptError(RuntimeError):
    """apt failed for a reason other than that something cannot be had, such as a signature."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package, and the file it is in."""

    name: str
    version: str
    path: Path

    @property
    def identity(self) -> str:
        """The identity of a package: name, version, architecture."""
        return self.path.stem


def fetch(suite: str, architecture: str, patterns: Iterable[str]) -> dict[str, Package]:
    """Return by pattern the newest package of a suite whose whole name matches it.

    In a pattern ``{python}`` stands for the version of Python that the suite has. What is chosen
    is remembered until a pattern that is not is asked for with it. Raises Unavailable, or AptError.
    """
    name = f"{suite}-{architecture}"
    record = directory() / "chosen" / f"{name}.json"
    with locked(name):
        remembered = json.loads(record.read_text()) if record.exists() else {}
        packages = _packages(remembered, architecture)
        if all(one in packages and packages[one].path.exists() for one in patterns):
            return packages
        with tempfile.TemporaryDirectory(prefix="seccompgen-") as temporary:
            Path(temporary).chmod(0o755)  # apt gives up root's rights to download
            index = _Index(suite, architecture, Path(temporary))
            chosen = index.choose(patterns)
            packages = _packages(chosen, architecture)
            index.download([one for one in packages.values() if not one.path.exists()])
        record.parent.mkdir(parents=True, exist_ok=True)
        write(record, json.dumps({**remembered, **chosen}, indent=1).encode())
    return packages


def refresh() -> None:
    """Forget what was chosen: what is asked for next is the mirror's newest."""
    for record in (directory() / "chosen").glob("*.json"):
        with locked(record.stem):
            record.unlink(missing_ok=True)


def _packages(chosen: dict[str, tuple[str, str]], architecture: str) -> dict[str, Package]:
    """Return packages by pattern, from names and versions."""
    packages = {}
    for pattern, (name, version) in chosen.items():
        file = f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"
        packages[pattern] = Package(name, version, directory() / "packages" / file)
    return packages


class _Index:
    """The packages of a suite for an architecture, in apt's own form; it lives in ``state``."""

    def __init__(self, suite: str, architecture: str, state: Path) -> None:
        uri, keyring = _mirror()
        self._name = f"{suite} for {architecture}"
        self._configuration = state / "apt.conf"
        settings = {
            "Dir::State": state,
            "Dir::State::status": state / "status",
            "Dir::Cache": state,
            "Dir::Cache::pkgcache": "pkgcache.bin",
            "Dir::Etc::sourcelist": state / "sources.list",
            "Dir::Etc::sourceparts": os.devnull,
            "Dir::Etc::preferences": os.devnull,
            "Dir::Etc::preferencesparts": os.devnull,
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Default-Release": "",
            "APT::Get::AllowUnauthenticated": "false",
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::AllowDowngradeToInsecureRepositories": "false",
            "Acquire::GzipIndexes": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "1",
        }
        lines = [f"#clear {name};\n" for name in _CLEARED]
        lines += [f'{name} "{value}";\n' for name, value in settings.items()]
        self._configuration.write_text("".join(lines))
        options = f"arch={architecture} target=Packages pdiffs=no signed-by={keyring}"
        (state / "sources.list").write_text(f"deb [{options}] {uri} {suite} main\n")
        (state / "lists" / "partial").mkdir(parents=True)
        (state / "archives" / "partial").mkdir(parents=True)
        (state / "status").touch()
        self._apt("apt-get", "update", "--error-on=any")

    def choose(self, patterns: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Return names and versions by pattern."""
        names = sorted(self._apt("apt-cache", "pkgnames").split())
        version = ""
        if any("{python}" in pattern for pattern in patterns):  # a suite of backports has none
            (python,) = self._versions(["python3-minimal"]).values()
            version = re.escape(".".join(python.split(".")[:2]))
        matching = {}
        for pattern in patterns:
            expression = re.compile(pattern.replace("{python}", version))
            matching[pattern] = [name for name in names if expression.fullmatch(name)]
            if not matching[pattern]:
                raise Unavailable(f"Debian {self._name} has no package {pattern}")
        versions = self._versions(sorted({name for some in matching.values() for name in some}))
        return {
            pattern: max(
                ((name, versions[name]) for name in some), key=functools.cmp_to_key(_compare)
            )
            for pattern, some in matching.items()
        }

    def _versions(self, names: list[str]) -> dict[str, str]:
        shown = self._apt("apt-cache", "show", "--no-all-versions", *names)
        return dict(re.findall(r"^Package: (.*)\n(?:.+\n)*?Version: (.*)$", shown, re.MULTILINE))

    def download(self, packages: list[Package]) -> None:
        """Put packages where they belong, each whole or not at all."""
        packages = list(dict.fromkeys(packages))  # two patterns may mean the same
        if not packages:
            return
        target = directory() / "packages"
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".") as temporary:
            names = [f"{package.name}={package.version}" for package in packages]
            self._apt("apt-get", "download", *names, where=temporary)
            for package in packages:
                (Path(temporary) / package.path.name).rename(package.path)

    def _apt(self, command: str, *arguments: str, where: str | None = None) -> str:
        """Run a command of apt's in the directory ``where``; return what it wrote."""
        environment = os.environ | {"LC_ALL": "C"}
        try:
            done = subprocess.run(
                [command, "-c", str(self._configuration), "-q", *arguments],
                capture_output=True,
                text=True,
                env=environment,
                cwd=where,
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{command} {arguments[0]} takes over {_TIMEOUT:.0f} s") from None
        if done.returncode == 0:
            return done.stdout
        complaints = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
        causes = [line[3:] for line in complaints if not _REMARK.search(line)]
        message = "\n".join(causes) or done.stderr
        # Only what is known to be harmless is: a failed verification must not pass for a skip.
        if causes and all(_UNREACHABLE.search(cause) for cause in causes):
            raise Unavailable(message)
        raise AptError(message)


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


def _compare(one: tuple[str, str], other: tuple[str, str]) -> int:
    """Compare packages by version, as Debian does."""
    for relation, result in (("lt", -1), ("gt", 1)):
        command = ["dpkg", "--compare-versions", one[1], relation, other[1]]
        if subprocess.run(command, check=False).returncode == 0:
            return result
    return 0
