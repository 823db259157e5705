"""Follow a page of docs/deploy: its commands, in a copy of the example that it is about.

Every console block is a visit of its own: ``cd examples/NAME`` goes into a fresh copy, a command
that ends in ``&`` is a server, and lines without a prompt are what the command before them writes
to standard output. Where a page says port 8000, the server takes one that the kernel chooses, and
the commands after it use that.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import ROOT, seccompgen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES = sorted(path.parents[1] for path in ROOT.glob("examples/*/sandbox/_runtime.py"))
"""The examples that commit their filters."""

PAGES = ROOT / "docs" / "deploy"
TIMEOUT = 60.0
_PORT = re.compile(r"\b8000\b")
_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Step:
    """A command, and what the page says that it writes."""

    command: str
    shown: str


@dataclass
class Visit:
    """A console block that was run: the output of each command, the logs of the servers."""

    written: list[tuple[Step, str]] = field(default_factory=list)
    log: str = ""

    def differences(self) -> list[tuple[str, str, str]]:
        """Return (command, shown, written) where the two are not the same."""
        return [(step.command, step.shown, out) for step, out in self.written if out != step.shown]


def visits(page: str) -> list[list[Step]]:
    """Return the steps of each console block of docs/deploy/PAGE.md."""
    blocks = re.findall(
        r"^```console\n(.*?)^```", (PAGES / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL
    )
    return [
        [
            Step(command, "".join(f"{line}\n" for line in shown))
            for command, *shown in (
                part.splitlines() for part in re.split(r"^\$ ", block, flags=re.M)[1:]
            )
        ]
        for block in blocks
    ]


def copy(name: str, place: Path) -> Path:
    """Copy an example, and the policies that it includes, as they lie in a checkout."""
    with contextlib.suppress(FileExistsError):
        shutil.copytree(ROOT / "policies", place / "policies")
        # Where these count as one project, as in a checkout, policies may include each other.
        (place / "pyproject.toml").write_text("[tool.seccompgen]\n")
    example = place / "examples" / name
    leave = shutil.ignore_patterns("__pycache__", "queue")
    shutil.copytree(ROOT / "examples" / name, example, ignore=leave)
    return example


def with_python(python: str) -> Callable[[Path], None]:
    """Return a change that has python3 be another one, which has to have no packages."""

    def change(example: Path) -> None:
        commands = example.parents[1] / "bin"
        commands.mkdir()
        (commands / "python3").symlink_to(python)

    return change


def free(example: Path) -> None:
    """Take the filters out: installing does nothing."""
    _replace_install(example, "pass")


def broken(example: Path) -> None:
    """Have installing fail, as where the kernel has no filters."""
    _replace_install(example, "raise OSError(38, 'no filters here')")


def killing(example: Path) -> None:
    """Have the policy kill where it says EPERM, and build it."""
    (policy,) = (example / "seccomp").glob("*.yml")
    text = policy.read_text().replace("errno(EPERM)", "kill_process")
    if "compute_only.yml" in text or "web_worker.yml" in text:
        text += "default_action: kill_process\n"
    policy.write_text(text)
    assert seccompgen("build", cwd=example).code == 0


def _replace_install(example: Path, body: str) -> None:
    for path in (example / "sandbox").glob("[a-z]*/__init__.py"):
        path.write_text(f"def install():\n    {body}\n")


def follow(page: str, place: Path, change: Callable[[Path], None] | None = None) -> list[Visit]:
    """Run all that a page shows; ``change`` does something to each copy of its example first.

    What a page says about building is left out where a change was made: it would be undone.
    """
    found = []
    for number, steps in enumerate(visits(page)):
        name = steps[0].command.removeprefix("cd examples/")
        example = copy(name, place / str(number))
        if change:
            change(example)
        builds = "seccompgen" if change else "cd"
        rest = [step for step in steps[1:] if not step.command.startswith(builds)]
        found.append(_visit(example, rest))
    assert found
    return found


def assert_free(found: list[Visit]) -> None:
    """Assert that what a page shows as refused was done or failed otherwise, and all else is so."""
    refused = 0
    for visit in found:
        for step, written in visit.written:
            if "PermissionError" in step.shown:
                refused += 1
                assert written
                assert "PermissionError" not in written
                assert "done" in written or "error" not in written.lower()
            else:
                assert written == step.shown
    assert refused


def _visit(example: Path, steps: list[Step]) -> Visit:
    visit = Visit()
    with contextlib.ExitStack() as stack:
        port, servers = "", []
        for step in steps:
            if step.command.endswith(" &"):
                server = stack.enter_context(serving(step.command.removesuffix(" &"), example))
                servers.append(server)
                port = server.port or port
                continue
            run = subprocess.run(
                ["bash", "-c", _PORT.sub(port, step.command)],
                cwd=example,
                env=environment(example),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
            visit.written.append((step, run.stdout))
    visit.log = "".join(server.log() for server in servers)
    return visit


def environment(example: Path) -> dict[str, str]:
    """Return the environment: this Python's commands first, a home of the example's own."""
    home = example.parents[1]
    path = os.pathsep.join(
        map(str, (home / "bin", Path(sys.executable).parent, os.environ["PATH"]))
    )
    return {**os.environ, "PATH": path, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}


@dataclass
class Server:
    """A server in a session of its own, and what it logs; ``port`` is "" where it has none."""

    process: subprocess.Popen[bytes]
    output: Path
    port: str = ""

    def log(self) -> str:
        """Return what was logged so far."""
        return self.output.read_text()

    def wait_for(self, what: Callable[[], object]) -> None:
        """Wait until ``what`` holds; fail if the server ends before, or it takes too long."""
        end = time.monotonic() + TIMEOUT
        while not what():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.02)

    def listens(self) -> bool:
        """Tell whether something listens at the address that is in the log; nothing connects."""
        address = _ADDRESS.search(self.log())
        if not address:
            return False
        self.port = address[1]
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        local = f"0100007F:{int(self.port):04X}"
        return [local, "0A"] in [[fields[1], fields[3]] for fields in sockets]

    def get(self, path: str) -> str:
        """Ask for a page as curl does; return what it writes."""
        url = f"127.0.0.1:{self.port}{path}"
        run = subprocess.run(["curl", "-s", url], capture_output=True, timeout=TIMEOUT, check=False)
        return run.stdout.decode()


@contextlib.contextmanager
def started(command: str, example: Path) -> Iterator[Server]:
    """Start a server of an example, and end it; for port 8000 the kernel chooses another."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    output = example / f"{len(list(example.glob('*.log')))}.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {_PORT.sub('0', command)}"],
            cwd=example,
            env=environment(example),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Server(process, output)
        process.terminate()
        process.wait(TIMEOUT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def serving(command: str, example: Path) -> Iterator[Server]:
    """Start a server as above; where it has a port, wait until it listens there."""
    with started(command, example) as server:
        if _PORT.search(command):
            server.wait_for(server.listens)
        yield server
