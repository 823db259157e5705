"""Programs that people run, from Debian: recorded at work, then held to what was recorded."""

from __future__ import annotations

import http.server
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from go_programs import go_program
from recording import calls, confined, record, run
from running_kernel import require_x86_64
from servers import GRACE, free_port, get, listens, program, serving, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

require_x86_64()
pytestmark = pytest.mark.ecosystem


def held_to_what_it_needs(
    tmp_path: Path, command: Sequence[str], port: int, load: Callable[[], object], *options: str
) -> Path:
    """Record a server under ``load`` and run it again under the result; the load sees the same."""
    policy = tmp_path / "server.yml"
    words = [
        sys.executable,
        "-m",
        "seccompgen",
        "record",
        "--exact",
        "-o",
        str(policy),
        *options,
        "--",
    ]
    with serving([*words, *command], tmp_path / "recorded.log", lambda: listens(port)) as recorder:
        expected = load()
    assert policy.exists(), (recorder.returncode, (tmp_path / "recorded.log").read_text())
    with serving(
        confined(policy, command), tmp_path / "confined.log", lambda: listens(port)
    ) as server:
        assert load() == expected, (tmp_path / "confined.log").read_text()
    assert server.returncode == recorder.returncode
    return policy


def under_load(port: int, paths: Sequence[str]) -> list[tuple[int, bytes]]:
    """Get every path from eight threads at once, forty times; return the distinct answers."""
    answers: set[tuple[int, bytes]] = set()

    def client() -> None:
        for _ in range(40):
            answers.update(get(port, path) for path in paths)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(answers)


NGINX = """
daemon off;
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log {directory}/access.log;
    gzip on; gzip_min_length 1; gzip_types text/plain;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    sendfile on;
    server {{ listen 127.0.0.1:{port}; root {directory}/www; }}
}}
"""


@pytest.mark.parametrize("options", [(), ("--args",)], ids=["calls", "arguments"])
def test_nginx(tmp_path: Path, options: tuple[str, ...]) -> None:
    nginx = program("nginx")
    port = free_port()
    # Its workers are another user's, who cannot come into pytest's directories.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "www").mkdir()
        (directory / "www" / "file.txt").write_text("hello\n" * 1000)
        (directory / "nginx.conf").write_text(NGINX.format(directory=directory, port=port))
        command = [nginx, "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]
        paths = ["/file.txt", "/missing"]
        policy = held_to_what_it_needs(
            tmp_path, command, port, lambda: under_load(port, paths), *options
        )
    assert {"accept4", "sendfile", "epoll_wait"} <= {*calls(policy)}


def answers(port: int) -> bool:
    """Return True once a worker answers: its master may lose a signal that comes before."""
    if not listens(port):
        return False
    with socket.create_connection(("127.0.0.1", port), timeout=GRACE) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return connection.recv(4) == b"HTTP"


def test_nginx_and_gunicorn_are_managed_through_their_recorder(tmp_path: Path) -> None:
    """By the signals that logrotate, administrators and service managers send to a main PID."""
    nginx, port = program("nginx"), free_port()
    words = [sys.executable, "-m", "seccompgen", "record", "-o", str(tmp_path / "nginx.yml"), "--"]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "www").mkdir()
        (directory / "nginx.conf").write_text(NGINX.format(directory=directory, port=port))
        command = [nginx, "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]
        told = tmp_path / "nginx.log"
        with serving([*words, *command], told, lambda: answers(port)) as recorder:
            log = directory / "access.log"
            log.rename(directory / "access.log.1")
            recorder.send_signal(signal.SIGUSR1)
            wait_for(log.exists, told)
            for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGQUIT):
                recorder.send_signal(number)
                time.sleep(1)
            recorder.wait(GRACE)
    assert (recorder.returncode, (tmp_path / "nginx.yml").exists()) == (0, True), told.read_text()

    (tmp_path / "app.py").write_text(
        "def app(_, start):\n    start('200 OK', [])\n    return [b'ok']\n"
    )
    gunicorn = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "app:app"]
    words[5], told = str(tmp_path / "gunicorn.yml"), tmp_path / "gunicorn.log"
    signals = [signal.SIGTTIN, signal.SIGUSR1, signal.SIGHUP, signal.SIGHUP, signal.SIGTTOU]
    with serving([*words, *gunicorn], told, lambda: listens(port)) as recorder:
        for count, number in enumerate(signals, 1):
            recorder.send_signal(number)
            wait_for(lambda: told.read_text().count("Handling signal") == count, told)  # noqa: B023 - it ends before the next
    said = [
        line.rpartition(": ")[2] for line in told.read_text().splitlines() if "Handling" in line
    ]
    assert said == ["ttin", "usr1", "hup", "hup", "ttou", "term"]
    assert (recorder.returncode, (tmp_path / "gunicorn.yml").exists()) == (0, True)


def redis_session(port: int) -> list[bytes]:
    """Do a little of everything, with a save in the background, which forks."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=GRACE) as connection,
        connection.makefile("rwb") as stream,
    ):

        def ask(line: str) -> bytes:
            stream.write(line.encode() + b"\r\n")
            stream.flush()
            answer = stream.readline()
            for _ in range(2 * int(answer[1:]) if answer.startswith(b"*") else 0):
                answer += stream.readline()
            if answer.startswith(b"$"):
                answer += stream.read(int(answer[1:]) + 2)
            return answer

        deadline = time.monotonic() + GRACE
        while ask("PING") != b"+PONG\r\n" and time.monotonic() < deadline:
            time.sleep(0.05)  # it answers before it has loaded what it kept
        ask("FLUSHALL")
        lines = ["SET key value", "GET key", "LPUSH list 1 2 3", "LRANGE list 0 -1"]
        answers = [ask(line) for line in [*lines, "EXPIRE key 1000", "SAVE", "BGSAVE"]]
        while b"rdb_bgsave_in_progress:1" in ask("INFO persistence"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    return answers


def test_redis(tmp_path: Path) -> None:
    redis = program("redis-server")
    port = free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(tmp_path)]
    command = [redis, *options, "--appendonly", "yes"]
    policy = held_to_what_it_needs(tmp_path, command, port, lambda: redis_session(port))
    assert {"epoll_wait", "fdatasync", "wait4"} <= {*calls(policy)}


GO = """
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	http.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello")
	})
	http.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		data, err := os.ReadFile(os.Args[2])
		if err != nil { http.Error(w, err.Error(), 500); return }
		w.Write(data)
	})
	server := &http.Server{Addr: os.Args[1]}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go server.ListenAndServe()
	<-ended
	server.Shutdown(context.Background())
}
"""


def test_a_go_web_server(tmp_path: Path) -> None:
    server = go_program(tmp_path, GO)
    (tmp_path / "file").write_text("data")
    port = free_port()
    command = [str(server), f"127.0.0.1:{port}", str(tmp_path / "file")]
    policy = held_to_what_it_needs(
        tmp_path, command, port, lambda: under_load(port, ["/hello", "/file", "/missing"])
    )
    assert {"clone", "epoll_pwait", "futex", "rt_sigreturn"} <= {*calls(policy)}


GIT = """
set -e
directory=$(mktemp -d {directory}/XXXXXX)
git init -q -b main $directory/a
cd $directory/a
for n in 1 2 3 4 5; do echo $n > file$n; git add .; git commit -q -m "commit $n"; done
git checkout -q -b other HEAD~2
echo other > other; git add .; git commit -q -m other
git checkout -q main; git merge -q -m merged other
git gc -q
git clone -q $directory/a $directory/b
cd $directory/b
git log --format=%T | head -1
git diff HEAD~1 --stat | cat
git grep -n other
git archive HEAD | tar -tf - | sort
"""


def same_twice(tmp_path: Path, command: Sequence[str], *options: str, **environment: str) -> str:
    """Record a command, run it under the result, and compare what it printed; return that."""
    policy = tmp_path / "recorded.yml"
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        seen = record(policy, command, *options)
        assert seen.code == 0, seen.err
        again = run(confined(policy, command))
    assert (again.returncode, again.stdout) == (0, seen.out), again.stderr
    return again.stdout


@pytest.mark.parametrize("options", [(), ("--args",)], ids=["calls", "arguments"])
def test_git(tmp_path: Path, options: tuple[str, ...]) -> None:
    program("git")
    names = {
        f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    script = GIT.format(directory=tmp_path)
    out = same_twice(tmp_path, [program("sh"), "-c", script], *options, HOME=str(tmp_path), **names)
    assert "file5" in out


def test_find_and_tar(tmp_path: Path) -> None:
    program("tar")
    source = tmp_path / "source"
    source.mkdir()
    for n in range(20):
        (source / f"file{n}").write_text(str(n) * 1000)
    script = (
        f"cd {tmp_path} && tar -czf out.tgz source && rm -rf copy && mkdir copy && "
        "tar -C copy -xzf out.tgz && find copy -type f -newer /etc/passwd -size -9 | sort && "
        "find copy -name '*1*' -exec wc -c {} +"
    )
    out = same_twice(tmp_path, [program("sh"), "-c", script], "--args")
    assert "copy/source/file19" in out


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_curl(tmp_path: Path) -> None:
    curl = program("curl")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://localhost:{server.server_address[1]}/[1-5]"
            assert same_twice(tmp_path, [curl, "-sS", "-4", url], "--args") == "hello" * 5
        finally:
            server.shutdown()
            thread.join()
