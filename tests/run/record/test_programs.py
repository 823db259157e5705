"""Real programs: each recorded, then held to what was recorded, and it does the same."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from recording import calls, confined, record, run
from running_kernel import require_x86_64

if TYPE_CHECKING:
    from pathlib import Path

require_x86_64()

JSON = """
import json
text = json.dumps({"a": list(range(1000)), "b": {"c": None}})
assert json.loads(text)["a"][-1] == 999
print(len(text))
"""
SQLITE = """
import os, sqlite3, sys
path = sys.argv[1]
if os.path.exists(path): os.remove(path)
with sqlite3.connect(path) as base:
    base.execute("create table t (n integer)")
    base.executemany("insert into t values (?)", [(n,) for n in range(100)])
print(sqlite3.connect(path).execute("select sum(n) from t").fetchone()[0])
"""
MULTIPROCESSING = """
import multiprocessing, sys
if __name__ == "__main__":
    pool = multiprocessing.get_context(sys.argv[1]).Pool(2)
    print(sum(pool.map(abs, range(-100, 0))))
    pool.close()
    pool.join()
"""
"""Ended in order: whether a pool that is dropped has to kill its processes is a matter of luck."""
SERVER = """
import http.server, threading, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode())
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = "http://127.0.0.1:%d/" % server.server_address[1]
bodies = []
def load(n):
    for m in range(20):
        with urllib.request.urlopen(url + str(n * 100 + m)) as answer:
            bodies.append(answer.read())
clients = [threading.Thread(target=load, args=(n,)) for n in range(8)]
for client in clients: client.start()
for client in clients: client.join()
server.shutdown()
print(len(set(bodies)))
"""
SOCKETS = """
import socket, sys
error = None
try: socket.socket(getattr(socket, sys.argv[1])).close()
except OSError as caught: error = caught.strerror
print(error)
"""


def python(source: str, *args: str | Path) -> list[str]:
    return [sys.executable, "-I", "-c", source, *map(str, args)]


def repeat(tmp_path: Path, command: list[str], *options: str) -> tuple[str, Path]:
    """Record a command and run it under the result; return what it printed, and the policy."""
    policy = tmp_path / "recorded.yml"
    seen = record(policy, command, *options)
    assert seen.code == 0, seen.err
    again = run(confined(policy, command))
    assert again.returncode == 0, again.stderr
    assert again.stdout == seen.out
    return again.stdout, policy


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="calls", marks=pytest.mark.long("less than with arguments")),
        pytest.param(("--args",), id="arguments"),
    ],
)
def test_python_reads_and_writes_json(tmp_path: Path, options: tuple[str, ...]) -> None:
    out, _ = repeat(tmp_path, python(JSON), *options)
    assert out == "4915\n"


@pytest.mark.long("records programs, and runs them under the result")
def test_python_keeps_a_database(tmp_path: Path) -> None:
    out, policy = repeat(tmp_path, python(SQLITE, tmp_path / "base"))
    assert out == "4950\n"
    assert {"pwrite64", "fdatasync"} <= {*calls(policy)}


@pytest.mark.parametrize(
    "method",
    [
        "forkserver",
        *[
            pytest.param(method, marks=pytest.mark.long("other ways to start processes"))
            for method in ("fork", "spawn")
        ],
    ],
)
def test_python_computes_in_processes(tmp_path: Path, method: str) -> None:
    script = tmp_path / "main.py"
    script.write_text(MULTIPROCESSING)
    out, _ = repeat(tmp_path, [sys.executable, "-I", str(script), method])
    assert out == "5050\n"


@pytest.mark.long("records programs, and runs them under the result")
def test_python_serves_under_load(tmp_path: Path) -> None:
    out, policy = repeat(tmp_path, python(SERVER), "--args")
    assert out == "160\n"
    assert {"accept4", "listen", "socket"} <= {*calls(policy)}


@pytest.mark.long("records programs, and runs them under the result")
def test_coreutils_die_of_nothing(tmp_path: Path) -> None:
    """With kill_process for the rest, a single call that was not seen would be the end."""
    shell = shutil.which("sh")
    assert shell
    (tmp_path / "in").write_text("b\na\n")
    script = f"sort {tmp_path}/in | tr a-z A-Z; find {tmp_path}/in -name i*; tar -cf - /dev/null"
    command = [shell, "-c", f"({script}) 2>&1 | head -c 40"]
    out, _ = repeat(tmp_path, command, "--args", "--default-action", "kill_process")
    assert out.startswith("A\nB\n")


def test_what_was_not_recorded_is_refused(tmp_path: Path) -> None:
    """The other half of every test above: the policies are not empty promises."""
    policy = tmp_path / "recorded.yml"
    assert record(policy, python(SOCKETS, "AF_UNIX"), "--args").code == 0
    denied = run(confined(policy, python(SOCKETS, "AF_INET")))
    assert denied.stdout == "Operation not permitted\n"
    same = run(confined(policy, python(SOCKETS, "AF_UNIX")))
    assert same.stdout == "None\n", same.stderr
