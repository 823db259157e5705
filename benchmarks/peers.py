"""The tools that are compared: whether they are there, and their programs for policies."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import corpus

from benchmarks.policies import for_peers
from benchmarks.results import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.policies import Entry

WORKER = Path(__file__).parent / "worker.py"
SYSTEM_PYTHON = "/usr/bin/python3"
"""The only one for which Debian builds its binding."""


class Missing(Exception):  # noqa: N818 - the run goes on without it
    """A tool that is not on this machine, and how to have it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another tool; ``remedy`` says where to get it."""

    name: str
    python: str
    remedy: str


DEBIAN = "apt-get install libseccomp2"
BENCH = "it is in the extra 'bench' of pyproject.toml"
PEERS = (
    Peer("libseccomp-O1", sys.executable, DEBIAN),
    Peer("libseccomp-O2", sys.executable, DEBIAN),
    Peer("python3-seccomp", SYSTEM_PYTHON, "apt-get install python3-seccomp"),
    Peer("pyseccomp", sys.executable, BENCH),
    Peer("seccompy", sys.executable, BENCH),
)


def version(peer: Peer) -> str:
    """Return the version of ``peer``. Raises Missing."""
    try:
        return work(peer.python, ["version", peer.name])
    except (OSError, RuntimeError) as error:
        raise Missing(f"{peer.name} is left out ({error}): {peer.remedy}") from None


def programs(peer: Peer, entries: Mapping[str, Entry]) -> dict[str, bytes | Problem]:
    """Return what ``peer`` makes of each policy."""
    told = {name: for_peers(entry) for name, entry in entries.items()}
    answers = json.loads(work(peer.python, ["export", peer.name], told))
    return {
        name: bytes.fromhex(answer["program"])
        if "program" in answer
        else Problem("refused", answer["error"])
        for name, answer in answers.items()
    }


def our_programs(entries: Mapping[str, Entry]) -> dict[str, bytes | Problem]:
    """Return what seccompgen makes of each policy."""
    with TemporaryDirectory() as directory:
        generate(entries, Path(directory), "--format", "bpf")
        return {name: Path(directory, f"{name}.x86_64.bpf").read_bytes() for name in entries}


def our_module(name: str, entry: Entry, directory: Path) -> str:
    """Generate a filter module below ``directory``; return its name from there."""
    package = directory / "filters"
    package.mkdir()
    (package / "__init__.py").touch()
    generate({name: entry}, package)
    (module,) = [path.parent.name for path in package.glob("*/__init__.py")]
    return f"{package.name}.{module}"


_AS_IT_IS = "# lint: ignore[ignored-bits]: others run it so, and it is measured as it is"
"""Docker's rule for socket compares more bits than the kernel reads."""


def generate(entries: Mapping[str, Entry], directory: Path, *options: str) -> None:
    """Run ``seccompgen build`` on the policies, each written to a file of ``directory``."""
    files = [directory / f"{name}.yml" for name in entries]
    for file, entry in zip(files, entries.values(), strict=True):
        file.write_text(f"{_AS_IT_IS}\n{json.dumps(corpus.translated(entry))}\n")
    build = [sys.executable, "-m", "seccompgen", "build", *options, "-o"]
    command: list[str | Path] = [*build, directory, *files]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"seccompgen build failed:\n{run.stderr}")


def work(python: str, arguments: list[str], given: Any = None) -> str:
    """Run the worker. Raises RuntimeError with the last line that it left on stderr."""
    run = subprocess.run(
        [python, "-I", WORKER, *arguments],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError((run.stderr.strip() or f"exit status {run.returncode}").splitlines()[-1])
    return run.stdout.strip()
