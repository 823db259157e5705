"""Start servers in tests, wait until they answer, ask them, and end them."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

GRACE = 60.0
"""Seconds that a server may take to begin, or to end."""


def program(name: str, *places: str) -> str:
    """Return the path of a program; skip where it is not installed."""
    found = shutil.which(name, path=":".join([os.environ["PATH"], "/usr/sbin", *places]))
    if found is None:
        pytest.skip(f"{name} is missing: `make test-ecosystem` installs it")
    return found


def free_port() -> int:
    """Return a port that nobody uses, nor is given who asks for any, before the server has it."""
    given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(1024, given)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


def wait_for(what: Callable[[], object], log: Path) -> None:
    """Wait until ``what`` holds; fail with the log if that takes too long."""
    deadline = time.monotonic() + GRACE
    while not what():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Tell whether somebody accepts connections."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def serving(
    command: Sequence[str],
    log: Path,
    ready: Callable[[], object],
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in the log's directory until the block ends; then end it with SIGTERM, and wait.

    The block begins when ``ready`` holds.
    """
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={**os.environ, **(env or {})},
        )

    def begun() -> object:
        assert server.poll() is None, log.read_text()
        return ready()

    try:
        wait_for(begun, log)
        yield server
        server.send_signal(signal.SIGTERM)
        server.wait(GRACE)
    finally:
        server.kill()
        server.wait()


def get(port: int, path: str) -> tuple[int, bytes]:
    """Return the status and the body of a page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GRACE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
