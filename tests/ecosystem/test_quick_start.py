"""The README's quick start by a new user: its six commands, a wheel, an empty directory."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import ROOT
from transcript import blocks, play, section, steps

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.ecosystem

QUICK_START = section(ROOT / "README.md", "## Quick start: confine a Flask application")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment of somebody who has Flask, gunicorn and pytest, and can get our wheel."""
    place = tmp_path_factory.mktemp("newcomer")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, ROOT)
    (wheel,) = place.glob("seccompgen-*.whl")
    pins = (ROOT / "requirements" / "ecosystem.txt").read_text().splitlines()
    dev = (ROOT / "requirements" / "dev.txt").read_text().splitlines()
    lines = {line.removesuffix(" \\") for line in (*pins, *dev) if "==" in line}
    constraints = place / "constraints.txt"
    constraints.write_text("\n".join([*sorted(lines), f"seccompgen @ {wheel.as_uri()}"]))
    run(sys.executable, "-m", "venv", place / "venv")
    found = {
        "PATH": f"{place / 'venv' / 'bin'}:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(place / "venv"),
        "PIP_CONSTRAINT": str(constraints),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_QUIET": "1",
    }
    run(place / "venv" / "bin" / "pip", "install", "flask", "gunicorn", "pytest", **found)
    return found


def run(*args: str | Path, **env: str) -> None:
    done = subprocess.run(
        args, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def served(command: str, cwd: Path, env: dict[str, str]) -> Iterator[tuple[str, Path]]:
    """Run a server until it is no more needed; give its address, and the file of its log."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = cwd / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=cwd,
            env={**os.environ, **env, "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        ) as server,
    ):
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}", log
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_six_commands_confine_a_worker(tmp_path: Path, environment: dict[str, str]) -> None:
    (app,) = blocks("python", QUICK_START)
    (tmp_path / "app.py").write_text(app)
    (shown,) = blocks("console", QUICK_START)
    commands = [step.command for step in steps(shown)]
    assert len(commands) == 6
    *before, serve = commands
    hole = "/look-up?host=;echo%20$((6*7))"

    # There is a hole, which is not gone for want of a shell or a route.
    with served(serve, tmp_path, environment) as (address, _):
        assert get(f"{address}/") == (200, "hello")
        code, text = get(address + hole)
        assert (code, text.splitlines()[-1]) == (200, "42")

    for command, (code, said) in zip(before, play(before, tmp_path, environment), strict=True):
        assert code == 0, command + said
    with served(serve, tmp_path, environment) as (address, log):
        for _ in range(3):
            assert get(f"{address}/") == (200, "hello")
        assert get(address + hole)[0] == 500
        assert get(f"{address}/") == (200, "hello")
        (message,) = re.findall(r"`(PermissionError.*?)`", QUICK_START)
        assert f"\n{message}\n" in log.read_text()
        assert confined(tmp_path) == [False, True], "gunicorn's master and its worker"


def confined(cwd: Path) -> list[bool]:
    """Return, for each process in that directory, the oldest first, if a filter is in force."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == cwd:
                status = (process / "status").read_text()
                found.append((int(process.name), "\nSeccomp:\t2\n" in status))
    return [filtered for _, filtered in sorted(found)]
