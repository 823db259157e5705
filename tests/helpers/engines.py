"""Docker and Podman with all that they keep in one directory: storage, state, sockets.

They run in a mount namespace in which /run is theirs. So nothing of them stays on the machine, and
nothing that is on it has a say: no profile that crun compiled before, no image, no daemon.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# crun wants one hierarchy of control groups; in a mount namespace of its own it sees one.
ALONE = "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup"
TIMEOUT = 60.0


@dataclass(frozen=True)
class Engine:
    """``docker`` or ``podman``, the environment for its commands, and where it keeps things."""

    name: str
    env: dict[str, str]
    directory: Path

    def run(self, *options: str, root: Path, command: list[str]) -> str:
        """Run a command in a new container with the tree ``root``; return all that is printed."""
        if self.name == "docker":
            self.load(root, "demo")
            where = ["demo"]
        else:
            where = ["--rootfs", str(root)]
        return self("run", "--network", "none", *options, *where, *command)

    def __call__(self, *args: str) -> str:
        """Run one of its commands; return all that it prints."""
        return self.ended(*args)[1]

    def ended(self, *args: str, timeout: float = TIMEOUT) -> tuple[int, str]:
        """Run one of its commands; return its exit code and all that it prints."""
        done = self._shell('exec "$0" "$@"', self.name, *args, timeout=timeout)
        return done.returncode, done.stdout

    def load(self, root: Path, image: str) -> None:
        """Make an image of a tree."""
        pack = f"tar --create --directory {root} . | {self.name} import - {image}"
        done = self._shell(pack)
        assert not done.returncode, done.stdout

    def _shell(
        self, script: str, *args: str, timeout: float = TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", f"exec 2>&1; {script}", *args],
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=False,
        )


@contextlib.contextmanager
def podman(directory: Path) -> Iterator[Engine]:
    """Give Podman with crun; no control groups, which not every machine lets it make."""
    places = [directory / name for name in ("bin", "run", "storage", "tmp")]
    for place in places:
        place.mkdir(parents=True)
    binaries, run, storage, temporary = places
    (directory / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{storage}"\nrunroot = "{run}/storage"\n'
    )
    (directory / "containers.conf").write_text(
        f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nruntime = "crun"\n'
        f'tmp_dir = "{temporary}"\n[containers]\ncgroups = "disabled"\n'
    )
    command = binaries / "podman"
    command.write_text(
        f"#!/bin/sh\nexec unshare -m sh -c 'mount --bind {run} /run; {ALONE}; exec \"$@\"' "
        f'sh {shutil.which("podman")} "$@"\n'
    )
    command.chmod(0o755)
    path = f"{binaries}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    settings = {
        "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
        "CONTAINERS_CONF": str(directory / "containers.conf"),
    }
    yield Engine("podman", {"PATH": path, **settings}, directory)
    # There is no daemon to end, but what tidies up after each container goes on a little.
    end = time.monotonic() + TIMEOUT
    while _named(directory):
        assert time.monotonic() < end
        time.sleep(0.05)


def _named(directory: Path) -> list[bytes]:
    """Return the command lines of all processes that name a directory."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(file.read_bytes())
    return [line for line in lines if os.fsencode(directory) in line]


@contextlib.contextmanager
def docker(directory: Path) -> Iterator[Engine]:
    """Start a Docker daemon without a network, and end it; skip if it does not start here."""
    run = directory / "run"
    run.mkdir(parents=True)
    (directory / "daemon.json").write_text("{}")
    group, socket, log = f"seccompgen-{os.getpid()}", directory / "socket", directory / "log"
    options = [
        *("--config-file", f"{directory}/daemon.json", "--host", f"unix://{socket}"),
        *("--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec"),
        *("--pidfile", f"{directory}/pid", "--storage-driver", "vfs", "--bridge", "none"),
        *("--iptables=false", "--ip6tables=false", "--cgroup-parent", f"/{group}"),
    ]
    script = f'mount --bind {run} /run; exec dockerd "$@"'
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script, "sh", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    settings = {"DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": f"{directory}/config"}
    engine = Engine("docker", settings, directory)
    try:
        end = time.monotonic() + TIMEOUT
        while "Server Version" not in engine("info"):
            if daemon.poll() is not None or time.monotonic() > end:
                lines = log.read_text().splitlines() or ["it said nothing"]
                pytest.skip(f"dockerd does not start here: {lines[-1]}")
            time.sleep(0.1)
        yield engine
    finally:
        daemon.terminate()
        daemon.wait(TIMEOUT)
        for place in Path("/sys/fs/cgroup").glob(f"**/{group}"):
            place.rmdir()
