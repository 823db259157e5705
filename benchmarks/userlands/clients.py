"""Clients that ask the servers, from outside their filter; each returns what was answered."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Lives = Callable[[], bool]

BEGINNING = 90.0
GRACE = 20.0
"""Seconds that a server may take to begin, and to answer."""


def connect(port: int, lives: Lives) -> socket.socket:
    """Connect to a server that may still be beginning, as long as it lives."""
    deadline = time.monotonic() + BEGINNING
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=GRACE)
        except OSError:
            if time.monotonic() > deadline or not lives():
                raise
            time.sleep(0.05)


def redis(lives: Lives) -> str:
    """Set, get, script, save in the background and rewrite the log, by several connections."""

    def ask(*words: str) -> str:
        request = f"*{len(words)}\r\n" + "".join(f"${len(one)}\r\n{one}\r\n" for one in words)
        stream.write(request.encode())
        stream.flush()
        answer = stream.readline().decode().strip()
        if answer.startswith("$") and answer != "$-1":
            answer = stream.read(int(answer[1:]) + 2).decode().strip()
        return answer

    def wait_for(line: str) -> str:
        deadline = time.monotonic() + GRACE
        while line not in ask("INFO", "persistence"):
            if time.monotonic() > deadline or not lives():
                return f"no {line}"
            time.sleep(0.05)
        return line

    with connect(6379, lives) as connection, connection.makefile("rwb") as stream:
        answers = [ask("PING"), ask("SET", "key", "value" * 100), ask("GET", "key")]
        answers += [ask("INCRBY", "number", "4"), ask("RPUSH", "list", *map(str, range(100)))]
        answers += [
            ask("EVAL", "return redis.call('get', 'number')", "0"),
            ask("EXPIRE", "key", "9"),
        ]
        answers += [
            ask("BGSAVE"),
            wait_for("rdb_bgsave_in_progress:0"),
            wait_for("rdb_last_bgsave_status:ok"),
        ]
        answers += [
            ask("BGREWRITEAOF"),
            wait_for("aof_rewrite_in_progress:0"),
            wait_for("aof_last_bgrewrite_status:ok"),
        ]
        answers += [ask("FLUSHALL", "ASYNC"), ask("DBSIZE"), ask("CLIENT", "SETNAME", "client")]
    return "\n".join(answers)


def memcached(lives: Lives) -> str:
    """Store and fetch by several connections, one for each thread."""
    answers = []
    for number in range(8):
        with connect(11211, lives) as connection, connection.makefile("rwb") as stream:
            stream.write(
                b"set key%d 0 0 5\r\nvalue\r\nget key%d\r\ndelete key%d\r\nquit\r\n"
                % ((number,) * 3)
            )
            stream.flush()
            answers.append(stream.read().decode())
    return "".join(answers)


def get(
    port: int, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> str:
    """Return the status and the length of an answer, and its start."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GRACE)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        return f"{path} {answer.status} {len(content)} {content[:200]!r}"
    except http.client.HTTPException as error:
        raise ConnectionError(f"{path}: {type(error).__name__}") from error
    finally:
        connection.close()


def nginx(lives: Lives) -> str:
    """Fetch files whole and in part, compressed, by a proxy; upload one."""
    connect(8000, lives).close()
    answers = [
        get(8000, "/large.txt"),
        get(8000, "/large.txt", Range="bytes=5-50"),
        get(8000, "/small"),
    ]
    answers += [
        get(8000, "/large.txt", "GET", None, **{"Accept-Encoding": "gzip"}),
        get(8000, "/none"),
    ]
    answers += [get(8000, "/proxied/small"), get(8000, "/upload", "POST", b"x" * 100_000)]
    listed = get(8000, "/list/")
    return "\n".join([*answers, str("large.txt" in listed and "small" in listed)])


def php(lives: Lives) -> str:
    """Call the same page several times."""
    connect(8000, lives).close()
    return "\n".join(get(8000, f"/index.php?n={number}") for number in range(4))


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers curl."""

    def do_GET(self) -> None:
        """Answer with the path, or send to another."""
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/one")
        else:
            self.send_response(200)
        content = self.path.encode() * 1000
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Set-Cookie", "name=value")
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        """Read all, and say how much it was not zero."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving_http() -> Iterator[None]:
    """Serve port 8000 as long as the block runs."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 8000), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()
