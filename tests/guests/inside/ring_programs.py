"""Programs of others, and two of ours, run under sections `io_uring` in a guest.

The plan has ``programs``: for each a name, the package whose ``install()`` confines it, or "" where
nobody or the program itself does, its command and its environment; and ``database``, by name the
packages under which a PostgreSQL server runs. Programs may ask the last of these servers, or, if
there is none, one that only answers. Runs in the guests: standard library only, Python 3.9 or
newer.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
import struct
import time
from typing import Any

from guests.inside.stock import raise_loopback

PLAN = "/trial/plan.json"
FILE = "/tmp/content"
_SECONDS = 240
_USER = 1000
_POSTGRES = "/usr/lib/postgresql/18/bin"
_DATA = "/tmp/database"
ROWS = 20000
"""Rows of more than what the server's buffers hold."""
_SETTINGS = {
    "io_method": "io_uring",
    "listen_addresses": "::1",
    "unix_socket_directories": "",
    "shared_buffers": "1MB",
    "max_connections": "5",
    "autovacuum": "off",
    "fsync": "off",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "jit": "off",
    "lc_messages": "C",
}


def main() -> bytes:
    """Return the report."""
    with open(PLAN) as file:
        plan = json.load(file)
    system = os.uname()
    report: dict[str, Any] = {"version": system.version, "seconds": {}}
    raise_loopback()
    if plan["database"]:
        _databases(plan["database"], report)
    else:
        _answers_only()
    report["programs"] = {}
    for name, package, command, environment in plan["programs"]:
        print(name, flush=True)
        started = time.monotonic()
        with open(FILE, "w") as file:
            file.write("content")
        report["programs"][name] = ran(command, package=package, environment=environment)
        report["seconds"][name] = round(time.monotonic() - started, 1)
    return json.dumps(report).encode()


def _databases(packages: "dict[str, str]", report: "dict[str, Any]") -> None:
    """Run a server under each of some packages; the last goes on."""
    server = 0
    started = time.monotonic()
    report["initdb"], report["database"] = _made(), {}
    report["seconds"]["initdb"] = round(time.monotonic() - started, 1)
    for name, package in packages.items():
        print(name, flush=True)
        started = time.monotonic()
        if server:
            _stopped(server)
        server, report["database"][name] = _served(package)
        report["seconds"][name] = round(time.monotonic() - started, 1)


def _answers_only() -> None:
    """Start a server that answers every client with PostgreSQL's first letter."""
    server = socket.socket(socket.AF_INET6)
    server.bind(("::1", 5432))
    server.listen()
    if os.fork() == 0:
        while True:
            client, _ = server.accept()
            client.recv(64)
            client.send(b"R")
    server.close()


def _start(
    command: "list[str]", out: int, *, package: str, user: int, environment: "dict[str, str]"
) -> int:
    module = importlib.import_module(package) if package else None
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(out, 1)
            os.dup2(out, 2)
            if user:
                os.setgid(user)
                os.setuid(user)
            if module is not None:
                module.install()
            os.execve(command[0], command, {"PATH": "/usr/bin", **environment})
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}".encode())
        os._exit(99)
    return pid


def ran(
    command: "list[str]",
    *,
    package: str = "",
    user: int = 0,
    environment: "dict[str, str] | None" = None,
) -> "list[Any]":
    """Return the exit status of a command, negative for a signal, and what it wrote."""
    out = os.memfd_create("out")
    pid = _start(command, out, package=package, user=user, environment=environment or {})
    ended = os.waitstatus_to_exitcode(_awaited(pid))
    return [ended, _written(out)]


def _awaited(pid: int) -> int:
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        seen, status = os.waitpid(pid, os.WNOHANG)
        if seen:
            return status
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def _written(out: int) -> str:
    return os.pread(out, 1 << 16, 0).decode(errors="replace")


# A PostgreSQL server


def _made() -> "list[Any]":
    os.chmod("/tmp", 0o1777)
    command = [f"{_POSTGRES}/initdb", "-D", _DATA, "-A", "trust", "-U", "postgres"]
    return ran([*command, "--no-sync", "--no-locale", "-E", "UTF8"], user=_USER)


def _served(package: str) -> "tuple[int, list[str]]":
    """Start a server; return its number, and what came of the queries."""
    out = os.memfd_create("server")
    command = [f"{_POSTGRES}/postgres", "-D", _DATA]
    command += [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
    pid = _start(command, out, package=package, user=_USER, environment={})
    until = time.monotonic() + _SECONDS
    while "ready to accept connections" not in _written(out):
        if os.waitpid(pid, os.WNOHANG)[0] or time.monotonic() > until:
            return 0, ["no server", _written(out)]
        time.sleep(0.1)
    queries = ["show io_method"]
    if not package:
        queries.append(
            f"create table t as select i, repeat('x', 100) from generate_series(1, {ROWS}) i"
        )
    queries += ["select count(*) from t", "select count(*) from pg_class where relname = 't'"]
    return pid, [_answer(query) for query in queries]


def _answer(query: str) -> str:
    """Return the first column of a query's last row, its tag, or an error's text."""
    with socket.socket(socket.AF_INET6) as own:
        own.settimeout(_SECONDS)
        own.connect(("::1", 5432))
        words = b"user\0postgres\0database\0postgres\0\0"
        own.sendall(struct.pack(">II", len(words) + 8, 3 << 16) + words)
        answers = own.makefile("rb")
        if refused := _told(answers):
            return refused
        own.sendall(b"Q" + struct.pack(">I", len(query) + 5) + query.encode() + b"\0")
        return _told(answers)


def _told(answers: Any) -> str:
    """Return what matters of the messages to the next that asks for a query."""
    found = ""
    while head := answers.read(5):
        body = answers.read(struct.unpack(">I", head[1:])[0] - 4)
        if head[:1] == b"Z":
            break
        if head[:1] == b"D":
            found = body[6:].decode()
        elif head[:1] == b"C" and not found:
            found = body[:-1].decode()
        elif head[:1] == b"E":
            fields = {field[:1]: field[1:].decode() for field in body.split(b"\0")}
            found = fields[b"M"]
            if fields.get(b"S") == "FATAL":
                break
    return found


def _stopped(server: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(server, signal.SIGINT)
    _awaited(server)
