"""A server on 127.0.0.1 that stands for upstream's, and misbehaves as it is told.

As a script (``python tests/helpers/upstream.py DIRECTORY``) it prints its URL template, and serves.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import pytest
from servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from _pytest.mark import ParameterSet

    _Test = TypeVar("_Test", bound=Callable[..., None])

MINIATURE = Path(__file__).parents[1] / "data" / "kernel"
"""A kernel tree in miniature, by tag; its README says what it is for."""
REAL = Path(__file__).parents[3] / "shared" / "kernel"
"""Real upstream files by tag, beside the checkout; not a part of it."""
TREES = {"miniature": MINIATURE} | ({"real": REAL} if REAL.is_dir() else {})
"""The trees on which tables are tried: the real files only where they are."""


_REAL = pytest.mark.long("real sources of a whole kernel")


def on_real_files(test: _Test) -> _Test:
    """Leave a test of the real files to `make test-long`, and to where they are."""
    there = pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/kernel")
    marked: _Test = _REAL(there(test))
    return marked


def each_tree() -> list[ParameterSet]:
    """Return the trees as parameters; the real ones are for `make test-long`."""
    return [
        pytest.param(root, id=name, marks=[_REAL] if root == REAL else [])
        for name, root in TREES.items()
    ]


NEW, OLD = "v7.3.4", "v6.1.176"
"""The tags of each: with a table for all generic architectures, and before there was one."""

Fault: TypeAlias = Literal[
    "404",  # says that there is no such file
    "403",
    "429-once",
    "500-once",
    "500",
    "html",  # a web page with status 200
    "html-unlabelled",  # the same, as text/plain
    "truncated",  # closes before Content-Length is reached
    "truncated-once",
    "cut-chunk",  # closes in the middle of a chunked body
    "reset-once",  # closes without an answer
    "endless",
    "stalled",  # some bytes, then silence
    "silent",  # takes the request and says nothing
    "drip",  # a byte now and then, for ever
    "redirect-loop",
    "redirect-away",  # to a host that is not this machine, without https
    "redirect-relative",  # to the file itself, once
    "redirect-nonsense",
]


@dataclass
class Upstream:
    """Serves ``/{tag}/{path}`` from ``root``; ``faults`` by path, or ``*`` for every path.

    ``content`` replaces files, by path. ``requests`` records the paths asked for.
    """

    root: Path = MINIATURE
    faults: dict[str, Fault] = field(default_factory=dict)
    content: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    delay: float = 0.0

    def __enter__(self) -> Self:
        self.stopping = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.upstream = self
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The URL template to name as a source."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{{tag}}/{{path}}"


def refused_url() -> str:
    """Return a URL template whose port nobody listens on."""
    return f"http://127.0.0.1:{free_port()}/{{tag}}/{{path}}"


class _Server(ThreadingHTTPServer):
    upstream: Upstream
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""

    def do_GET(self) -> None:
        upstream = self.server.upstream
        target = self.path.partition("?")[0].lstrip("/")
        path = target.partition("/")[2]
        seen = path in upstream.requests
        upstream.requests.append(path)
        upstream.agents.add(self.headers.get("User-Agent", ""))
        upstream.stopping.wait(upstream.delay)
        fault: str = upstream.faults.get(path, upstream.faults.get("*", ""))
        if fault.endswith("-once") or fault == "redirect-relative":
            fault = "" if seen else fault.removesuffix("-once")
        if fault:
            self._misbehave(fault, target)
            return
        file = upstream.root / target
        if path in upstream.content:
            self._send(200, upstream.content[path])
        elif file.is_symlink():
            self._send(200, str(file.readlink()).encode())
        elif file.is_file() and ".." not in target:
            self._send(200, file.read_bytes())
        else:
            self._send(404, b"<!DOCTYPE html><p>no such file", kind="text/html")

    def _send(
        self, status: int, body: bytes, *, kind: str = "text/plain", claim: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body) if claim is None else claim))
        self.end_headers()
        self.wfile.write(body)

    def _redirect(self, location: str) -> None:
        self.send_response(302)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _misbehave(self, fault: str, target: str) -> None:
        stopping = self.server.upstream.stopping
        if fault.isdecimal():
            self._send(int(fault), b"no\n")
        elif fault == "html":
            self._send(200, b"are you a robot?\n", kind="text/html")
        elif fault == "html-unlabelled":
            self._send(200, b"\n <!doctype HTML><p>are you a robot?\n")
        elif fault == "redirect-loop":
            self._redirect(self.path)
        elif fault == "redirect-away":
            self._redirect("http://example.invalid/" + target)
        elif fault == "redirect-relative":
            self._redirect("/" + target)
        elif fault == "redirect-nonsense":
            self._redirect("http://[::1")
        else:
            self.close_connection = True
            if fault == "truncated":
                self._send(200, b"0 common read sys_read\n", claim=4000)
            elif fault == "cut-chunk":
                self._chunked(b"400\r\n0 common read\n")
            elif fault == "endless":
                self._chunked(b"")
                while not stopping.is_set():
                    self.wfile.write(b"1000\r\n" + b"#" * 0x1000 + b"\r\n")
            elif fault == "stalled":
                self._send(200, b"0 common read sys_read\n", claim=4000)
                stopping.wait(60)
            elif fault == "drip":
                self._send(200, b"", claim=100_000)
                while not stopping.wait(0.05):
                    self.wfile.write(b"#")
            elif fault == "silent":
                stopping.wait(60)

    def _chunked(self, start: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(start)


if __name__ == "__main__":
    with Upstream(Path(sys.argv[1]) if len(sys.argv) > 1 else MINIATURE) as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        while True:
            time.sleep(3600)
