"""Each stock policy in force in a real Python: its work gets done, what it forbids is refused.

Everything refused is also tried without the filter, where it must come to something else.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from command import seccompgen
from confine import POLICIES, TIMEOUT, Confine, all_are, end, finish, none_is

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

kernel.require_x86_64()


@contextlib.contextmanager
def echo_server(connections: int) -> Iterator[int]:
    """Serve as many connections on a port of the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(TIMEOUT)

        def serve() -> None:
            # A client that is refused the network never comes; then the shutdown ends accept.
            with contextlib.suppress(OSError):
                for _ in range(connections):
                    connection, _peer = server.accept()
                    with connection:
                        while data := connection.recv(100):
                            connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("free", [False, True], ids=["confined", "free"])
def test_no_network(confine: Confine, free: bool) -> None:
    with echo_server(1) as port, echo_server(1) as early_port:
        result = confine.run("no_network", str(port), str(early_port), free=free)
    all_are("done", result["works"])
    if free:
        none_is("EACCES", result["refused"])
        assert result["refused"]["inet"] == result["refused"]["connect"] == "done"
        none_is("ENOSYS", result["io_uring"])
    else:
        all_are("EACCES", result["refused"])
        all_are("ENOSYS", result["io_uring"])


@pytest.mark.parametrize("free", [False, True], ids=["confined", "free"])
def test_no_exec(confine: Confine, free: bool) -> None:
    result = confine.run("no_exec", free=free)
    all_are("done", result["works"])
    if free:
        none_is("EACCES", result["refused"])
        assert result["refused"]["run"] == result["refused"]["system"] == "done"
    else:
        all_are("EACCES", result["refused"])


@pytest.mark.parametrize("free", [False, True], ids=["confined", "free"])
def test_compute_only(confine: Confine, tmp_path: Path, free: bool) -> None:
    secret = tmp_path / "secret"
    secret.touch()
    result = confine.run("compute_only", str(secret), stdin=b"text " * 1000, free=free)
    all_are("done", result["works"])
    all_are("done", result["early thread"])
    if free:
        none_is("EPERM", result["refused"])
        none_is("ENOSYS", result["absent"])
        none_is("ENOTTY", result["no terminal"])
        all_are("done", result["no thread"])
    else:
        all_are("EPERM", result["refused"])
        all_are("ENOSYS", result["absent"])
        all_are("ENOTTY", result["no terminal"])
        all_are("RuntimeError", result["no thread"])
        assert [x.name for x in tmp_path.iterdir()] == ["secret"]


def get(port: int, path: str) -> bytes:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as link:
        link.request("GET", path)
        response = link.getresponse()
        assert response.status == 200
        return response.read()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "words").write_text("several words " * 500)
    (tmp_path / "old").write_text("content")
    with contextlib.closing(sqlite3.connect(tmp_path / "database")) as database:
        database.execute("create table numbers (number)")
        database.execute("insert into numbers values (7)")
        database.commit()
    return tmp_path


def serve(
    confine: Confine, folder: Path, *, free: bool = False
) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Ask a worker from many threads; return its answers, what it tried, and what it says."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        port = listening.getsockname()[1]
        arguments = str(listening.fileno()), str(folder / "words"), str(folder)
        worker = confine.start("web_worker", *arguments, free=free, fds=(listening.fileno(),))
        try:
            with ThreadPoolExecutor(16) as pool:
                answers = list(pool.map(lambda _: json.loads(get(port, "/work")), range(100)))
            tried = json.loads(get(port, "/attempts"))
            assert get(port, "/quit") == b"bye"
        except OSError as error:
            worker.kill()
            error.add_note(end(worker)[2].decode())
            raise
        return answers, tried, finish(worker)


def test_web_worker(confine: Confine, folder: Path) -> None:
    answers, tried, said = serve(confine, folder)
    assert len(answers) == 100
    assert {json.dumps(answer) for answer in answers} == {json.dumps(answers[0])}
    assert answers[0][0] == 1000
    all_are("done", tried["works"])
    all_are("EPERM", tried["refused"])
    all_are("EPERM", said)
    all_are("ENOSYS", tried["absent"])
    assert (folder / "old").read_text() == "content"
    assert sorted(x.name for x in folder.iterdir()) == ["database", "old", "words"]


ROOTS_OWN = ("bpf", "userfaultfd", "perf", "sleep by an alarm clock", "attach filter")
"""Attempts that a kernel may refuse to everybody but root, by its settings, filter or none."""


def test_what_the_web_worker_is_refused_would_be_possible(confine: Confine, folder: Path) -> None:
    _, tried, said = serve(confine, folder, free=True)
    all_are("done", tried["works"])
    for name in ROOTS_OWN if os.geteuid() != 0 else ():
        del tried["refused"][name]
    none_is("EPERM", tried["refused"])
    none_is("EPERM", said)
    none_is("ENOSYS", tried["absent"])
    assert (folder / "new").exists()


def test_web_worker_serves_with_asyncio(confine: Confine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        worker = confine.start("web_worker", str(number), role="asyncio_worker", fds=(number,))
        try:
            assert get(listening.getsockname()[1], "/") == b"x" * (4 << 20)
        finally:
            assert finish(worker) == {}


@pytest.mark.parametrize("policy", [path.stem for path in POLICIES])
def test_an_unhandled_exception_leaves_a_traceback(confine: Confine, policy: str) -> None:
    code, out, err = end(confine.start(policy, role="fail"))
    assert (code, out) == (1, b"")
    assert err.startswith(b"Traceback (most recent call last):\n")
    assert b"\n    raise" in err or policy == "compute_only"  # which cannot read its own source
    assert err.endswith(b"ArithmeticError: on purpose\n")


@pytest.mark.parametrize("policy", [path.stem for path in POLICIES])
def test_abort_ends_the_process(confine: Confine, policy: str) -> None:
    code, _, _ = end(confine.start(policy, role="abort"))
    # SIGABRT, or what the C library does where it may not send that.
    assert code == (-11 if policy in ("compute_only", "web_worker") else -6)


def test_an_including_policy_adds_unix_sockets(confine: Confine, tmp_path: Path) -> None:
    """As the comment in web_worker.yml tells."""
    web_worker = next(path for path in POLICIES if path.stem == "web_worker")
    lines = web_worker.read_text().splitlines()
    first = lines.index("#   include: [web_worker.yml]")
    example = [line.removeprefix("#   ") for line in lines[first : first + 6]]
    example[0] = f"include: [{web_worker}]"
    policy = tmp_path / "client.yml"
    policy.write_text("\n".join(example))
    package = tmp_path / "stock"
    # For this ABI: all of them take 12 seconds.
    assert seccompgen("build", policy, "--arch", "x86_64", "-o", package).code == 0
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        client = Confine(confine.python, tmp_path)
        result = client.run("client", path, role="unix_client")
        refused = confine.run("web_worker", path, role="unix_client_refused")
    assert result == {"works": {"connect": "done"}, "refused": {"inet": "EPERM"}}
    assert refused == {"unix": "EPERM"}
