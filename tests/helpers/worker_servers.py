"""The servers among the roles of `worker.py`."""

# It tries system calls, which os names and pathlib hides.
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH123, PTH208

import asyncio
import http.server
import json
import os
import socket
import subprocess
import threading
import zlib
from typing import Any

from worker_attempts import ARGUMENTS, HIGH, Attempt, early_thread, fork, install, outcomes, raw


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /work with something computed, /attempts with what was refused."""

    protocol_version = "HTTP/1.1"
    file: str
    refused: dict[str, Attempt]
    works: dict[str, Attempt]

    def do_GET(self) -> None:
        content = getattr(self, "get_" + self.path[1:])()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def get_work(self) -> bytes:
        # First imported here: Python modules and, where they are, shared objects.
        import colorsys
        import sqlite3
        import statistics

        with open(self.file) as file:
            text = file.read()
        database = sqlite3.connect(":memory:")
        database.execute("create table words (word)")
        database.executemany("insert into words values (?)", [(x,) for x in text.split()])
        (count,) = database.execute("select count(*) from words").fetchone()
        database.close()
        packed = len(zlib.compress(text.encode()))
        mean = statistics.mean([1, 2, 3])
        return json.dumps([count, packed, mean, colorsys.rgb_to_hsv(0, 0, 0)[2]]).encode()

    def get_attempts(self) -> bytes:
        return json.dumps(
            {
                "refused": outcomes(self.refused),
                "absent": outcomes(
                    {
                        "clone3": raw(435, 0, 0),
                        "openat2": raw(437, HIGH - 100, b"/\0", 0, 0),
                        "io_uring_setup": raw(425, 1, bytes(120)),
                    }
                ),
                "works": outcomes(self.works),
            }
        ).encode()

    def get_quit(self) -> bytes:
        threading.Thread(target=self.server.shutdown).start()
        return b"bye"

    def log_message(self, *_: Any) -> None:
        pass


def web_worker() -> dict[str, Any]:
    """Arguments: a listening socket's descriptor; a file to read; where files may be written."""
    listening = socket.socket(fileno=int(ARGUMENTS[0]))
    address = listening.getsockname()
    Handler.file, folder = ARGUMENTS[1:]
    old, new = folder + "/old", folder + "/new"
    database = folder + "/database"
    heartbeat = os.open(old, os.O_RDWR)
    server = http.server.ThreadingHTTPServer(address, Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.daemon_threads = False  # so that the last answer is sent
    in_thread = early_thread()
    install()
    fast_open = 0x20000000  # MSG_FASTOPEN
    Handler.refused = {
        "run": lambda: subprocess.check_call(["/bin/true"]),
        "exec": lambda: os.execv("/nowhere", ["x"]),
        "fork": fork,
        "write": lambda: os.open(old, os.O_WRONLY),
        "append": lambda: open(old, "a").close(),
        "read and write": lambda: open(old, "r+").close(),
        "truncate": lambda: os.open(old, os.O_RDONLY | os.O_TRUNC),
        "create": lambda: os.open(new, os.O_RDONLY | os.O_CREAT),
        "write with garbage": raw(257, HIGH - 100, old.encode() + b"\0", HIGH | os.O_WRONLY, 0),
        "old open": raw(2, old.encode() + b"\0", os.O_RDONLY | os.O_TRUNC, 0),
        "rename": lambda: os.rename("/nowhere", new),
        "unlink": lambda: os.unlink("/nowhere"),
        "chmod": lambda: os.chmod(old, 0o600),
        "timestamps": lambda: os.utime(old, (0, 0)),
        "mkdir": lambda: os.mkdir("/nowhere/new"),
        "inet": lambda: socket.socket(socket.AF_INET),
        "unix": lambda: socket.socket(socket.AF_UNIX),
        "datagrams": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
        "connect": lambda: listening.connect(address),
        "bind": lambda: listening.bind(address),
        "send to": lambda: listening.sendto(b"x", address),
        "send message to": lambda: listening.sendmsg([b"x"], [], fast_open, address),
        "unshare": raw(272, 0x10000000),  # CLONE_NEWUSER
        # The next three have flags that the kernel does not take together, so they are harmless.
        "process": raw(56, 0x800 | 17, 0, 0, 0, 0),  # CLONE_SIGHAND
        "process in new namespace": raw(56, 0x10000000 | 0x200 | 17, 0, 0, 0, 0),
        "thread in new namespace": raw(56, 0x10000 | 0x10000000, 0, 0, 0, 0),
        "setns": raw(308, 0, 0),
        "ptrace": raw(101, 3, 0, 0, 0),
        "kill": lambda: os.kill(os.getpid(), 0),
        "bpf": raw(321, 99, 0, 0),
        "userfaultfd": raw(323, HIGH - 1),
        "keyctl": raw(250, 99, 0, 0, 0, 0),
        "perf": raw(298, 0, 0, 0, 0, 0),
        "attach filter": lambda: listening.setsockopt(1, 26, bytes(16)),
        "ask for a lifetime": lambda: listening.getsockopt(0, socket.IP_TTL),
        "sleep by an alarm clock": raw(230, 8, 0, bytes(16), 0),
        "make code": raw(10, 0, 4096, 4),
    }

    def tune() -> None:
        for level, name in (
            (6, 1),
            (6, 4),
            (6, 5),
            (6, 6),
            (6, 12),
            (1, 2),
            (1, 7),
            (1, 8),
            (1, 9),
        ):
            listening.setsockopt(level, name, 1)
            listening.getsockopt(level, name)
        assert listening.getsockopt(1, socket.SO_TYPE) == socket.SOCK_STREAM
        listening.setblocking(False)
        listening.setblocking(True)

    def read_database() -> None:
        import sqlite3

        connection = sqlite3.connect(database)
        assert connection.execute("select * from numbers").fetchall() == [(7,)]
        connection.close()

    Handler.works = {
        "pair": socket.socketpair,
        "tune": tune,
        "database": read_database,
        "list": lambda: os.listdir(folder),
        "timestamps": lambda: os.utime(heartbeat, (1, 1)),
        "read with garbage": raw(257, HIGH - 100, old.encode() + b"\0", HIGH << 31, 0),
    }
    early = in_thread(Handler.refused["create"])
    server.serve_forever()
    server.server_close()
    return {"in thread": early}


def asyncio_worker() -> dict[str, Any]:
    listening = socket.socket(fileno=int(ARGUMENTS[0]))
    install()

    async def serve() -> None:
        finished = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            body = b"x" * (4 << 20)  # more than fits, so that it waits for the client
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            writer.writelines([body[: len(body) // 2], body[len(body) // 2 :]])
            await writer.drain()
            writer.close()
            finished.set()

        async with await asyncio.start_server(answer, sock=listening):
            await finished.wait()
            await asyncio.get_running_loop().run_in_executor(None, int)
            await asyncio.sleep(0.05)

    asyncio.run(serve())
    return {}
