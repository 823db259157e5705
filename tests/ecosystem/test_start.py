"""*Which policy do I start with?*: what docs/start.md shows is run, does its work, and is refused.

Each program has an attack of its own, of the kind that its first policy is there for.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import ROOT
from go_programs import go_program
from running_kernel import require_x86_64
from servers import free_port, get, listens, program, serving, wait_for
from shown import named_in, same
from transcript import BIN, blocks, play, section, steps

if TYPE_CHECKING:
    from collections.abc import Iterator

require_x86_64()
pytestmark = pytest.mark.ecosystem

PAGE = ROOT / "docs" / "start.md"
HOLE = "echo $((6 * 7)) > made"
"""What attackers have a shell do, if they get one."""


@dataclass(frozen=True)
class Shown:
    """A section of the page in a directory, with the files that it shows written there."""

    place: Path
    commands: list[str]
    outputs: list[str]

    @property
    def env(self) -> dict[str, str]:
        """The environment of its commands: our Python first, a home of its own."""
        servers = map(str, Path("/usr/lib/postgresql").glob("*/bin"))
        path = [str(BIN), os.environ["PATH"], "/usr/sbin", *servers]
        home = self.place.parent
        data = str(home / ".local" / "share")
        return {"PATH": os.pathsep.join(path), "HOME": str(home), "XDG_DATA_HOME": data}

    def play(self, commands: slice = slice(None), **env: str) -> None:
        """Run some of the commands: each says what is shown, and fails only if that does."""
        chosen = self.commands[commands]
        played = play(chosen, self.place, {**self.env, **env})
        for command, shown, (code, said) in zip(
            chosen, self.outputs[commands], played, strict=True
        ):
            assert code == 0 or "error" in shown.lower(), command + said
            assert not shown or same(shown, said), command + said

    @contextlib.contextmanager
    def serving(self, port: int, **env: str) -> Iterator[Path]:
        """Run the commands, of which the last is a server; give the file of its log."""
        self.play(slice(-1))
        log = self.place / "log"
        server = ["bash", "-c", f"exec {self.commands[-1]}"]
        with serving(server, log, lambda: listens(port), {**self.env, **env}):
            yield log


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return an empty directory, which is not its user's home."""
    found = tmp_path / "work"
    found.mkdir()
    return found


def shown(heading: str, place: Path) -> Shown:
    """Prepare a section of the page."""
    text = section(PAGE, f"## {heading}")
    for name, content in named_in(text).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    found = [step for block in blocks("console", text) for step in steps(block)]
    return Shown(place, [step.command for step in found], [step.output for step in found])


def write(place: Path, name: str, text: str) -> None:
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / name).write_text(textwrap.dedent(text))


def test_each_row_shows_how_its_section_begins(place: Path) -> None:
    rows = re.findall(r"^\| \[.*?\]\(#(\S+)\) \| `(.+?)` \|", PAGE.read_text(), re.MULTILINE)
    headings = re.findall(r"^## (.+)$", PAGE.read_text(), re.MULTILINE)
    assert [anchor for anchor, _ in rows] == [
        heading.lower().replace(" ", "-") for heading in headings[:-1]
    ]
    assert len(rows) == 12
    for (_, command), heading in zip(rows, headings, strict=False):
        assert shown(heading, place).commands[0].startswith(command)


def test_gunicorn(place: Path) -> None:
    write(
        place,
        "app.py",
        f"""\
        import os

        def app(environ, start_response):
            start_response("200 OK", [])
            if environ["PATH_INFO"] == "/hole":
                os.popen({HOLE!r}).close()
            return [b"hello"]
        """,
    )
    port = free_port()
    page = shown("gunicorn", place)
    with page.serving(port, GUNICORN_CMD_ARGS=f"--bind 127.0.0.1:{port}") as log:
        assert get(port, "/") == (200, b"hello")
        refused(port, log)
        assert get(port, "/") == (200, b"hello")
    assert not (place / "made").exists()


LATER = f"""
import os, socket
from sandbox import web_worker
web_worker.install()
with socket.socket(fileno=0) as server:
    socket.create_connection(server.getsockname()).close()
try:
    os.popen({HOLE!r}).close()
except PermissionError:
    print("refused")
"""


def test_gunicorn_with_the_rule_for_connections(place: Path) -> None:
    page = shown("gunicorn", place)
    page.play(slice(1))
    (rule,) = blocks("yaml", section(PAGE, "## gunicorn"))
    with (place / "seccomp" / "web_worker.yml").open("a") as policy:
        policy.write(rule)
    page.play(slice(1, 2))
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = [sys.executable, "-c", LATER]
        run = subprocess.run(
            words, cwd=place, stdin=server.fileno(), stdout=subprocess.PIPE, text=True, check=True
        )
    assert run.stdout == "refused\n"


def refused(port: int, log: Path) -> None:
    """Have an application run its hole, which the log says was refused."""
    with contextlib.suppress(OSError):  # gunicorn ends the connection
        get(port, "/hole")
    wait_for(lambda: "PermissionError" in log.read_text(), log)


def test_uvicorn_and_fastapi(place: Path) -> None:
    page = shown("uvicorn and FastAPI", place)
    with (place / "app.py").open("a") as app:
        app.write(f"@app.get('/hole')\ndef hole():\n    __import__('os').popen({HOLE!r}).close()\n")
    port = free_port()
    with page.serving(port, UVICORN_PORT=str(port)) as log:
        wait_for(lambda: "startup complete" in log.read_text(), log)
        assert get(port, "/double/21") == (200, b'{"double":42}')
        assert get(port, "/double/x")[0] == 422
        refused(port, log)
        before = log.read_text().count("Traceback")
    assert log.read_text().count("Traceback") == before, "when it was stopped"
    assert not (place / "made").exists()


DJANGO = f"""
import os
from django.http import HttpResponse
from django.urls import path

def visits(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    request.session.save()
    return HttpResponse(str(request.session["visits"]))

def hole(request):
    os.popen({HOLE!r}).close()

urlpatterns = [path("visits", visits), path("hole", hole)]
"""


def test_django(place: Path) -> None:
    page = shown("Django", place)
    wsgi = (place / "mysite" / "wsgi.py").read_text()
    shutil.rmtree(place / "mysite")
    for command in (
        ["-m", "django", "startproject", "mysite", "."],
        ["manage.py", "migrate", "-v0"],
    ):
        subprocess.run([sys.executable, *command], cwd=place, check=True)
    (place / "mysite" / "wsgi.py").write_text(wsgi)
    (place / "mysite" / "urls.py").write_text(DJANGO)
    port = free_port()
    with page.serving(port, GUNICORN_CMD_ARGS=f"--bind 127.0.0.1:{port}") as log:
        assert get(port, "/visits") == (200, b"1"), "it writes to SQLite"
        refused(port, log)
    assert not (place / "made").exists()


TASKS = f"""\
import os
import pathlib

from celery import Celery

QUEUE = pathlib.Path("queue").resolve()
for folder in ("messages", "control", "results"):
    (QUEUE / folder).mkdir(parents=True, exist_ok=True)
app = Celery("tasks", broker="filesystem://", backend=f"file://{{QUEUE / 'results'}}")
app.conf.broker_transport_options = {{
    "data_folder_in": QUEUE / "messages",
    "data_folder_out": QUEUE / "messages",
    "control_folder": QUEUE / "control",
}}


@app.task
def count(text):
    return len(text.split())


@app.task
def hole():
    os.popen({HOLE!r}).close()
"""
ASK = """\
import tasks

print(tasks.count.delay("a b").get(timeout=50))
print(type(tasks.hole.delay().get(timeout=50, propagate=False)).__name__)
"""


def test_celery(place: Path) -> None:
    page = shown("Celery", place)
    write(place, "tasks.py", TASKS)
    page.play(slice(-1))
    log = place / "log"
    server = ["bash", "-c", f"exec {page.commands[-1]} --concurrency 1"]
    with serving(server, log, lambda: "ready." in log.read_text(), page.env):
        words = [sys.executable, "-c", ASK]
        answer = subprocess.run(
            words, cwd=place, stdout=subprocess.PIPE, text=True, check=True, timeout=120
        )
    assert answer.stdout == "2\nPermissionError\n"
    assert not (place / "made").exists()


def test_a_jupyter_kernel(place: Path) -> None:
    page = shown("A Jupyter kernel", place)
    page.play()
    for cell, expected in (
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "PermissionError"),
        ("!echo $((6 * 7)) > made; cat made", "42"),
    ):
        run = subprocess.run(
            [BIN / "jupyter", "run", "--kernel", "confined"],
            input=cell,
            cwd=place,
            env={**os.environ, **page.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        assert expected in run.stdout


def test_pytest(place: Path) -> None:
    page = shown("pytest", place)
    write(
        place,
        "test_it.py",
        """\
        import socket
        import subprocess

        def test_work(tmp_path):
            (tmp_path / "file").write_text("x")
            assert subprocess.run(["true"]).returncode == 0

        def test_home():
            socket.create_connection(("127.0.0.1", 9))
        """,
    )
    ((code, said),) = play(page.commands, place, page.env)
    assert code == 1
    assert "FAILED test_it.py::test_home - PermissionError" in said
    assert "1 failed, 1 passed" in said


NGINX = """\
user root;
pid nginx.pid;
error_log error.log;
events {{ }}
http {{
    access_log off;
    server {{ listen 127.0.0.1:{port}; root {place}/www; }}
}}
"""


def test_nginx(place: Path) -> None:
    program("nginx")
    page = shown("nginx", place)
    port = free_port()
    (place / "nginx.conf").write_text(NGINX.format(port=port, place=place))
    write(place, "www/hello", "hello")
    log = place / "error.log"
    page.play()
    master = int((place / "nginx.pid").read_text())
    try:
        assert get(port, "/hello") == (200, b"hello")
        os.kill(master, signal.SIGUSR2)
        wait_for(lambda: "(13: Permission denied)" in log.read_text(), log)
        assert "execve() failed while executing new binary" in log.read_text()
        assert get(port, "/hello") == (200, b"hello")
    finally:
        os.kill(master, signal.SIGTERM)


REDIS = """\
bind 127.0.0.1
port {port}
enable-module-command local
"""
MODULE = f'''int system(const char *);
int RedisModule_OnLoad(void) {{ system("{HOLE}"); return 1; }}
'''


def test_redis(place: Path) -> None:
    program("redis-server")
    page = shown("redis", place)
    port = free_port()
    (place / "redis.conf").write_text(REDIS.format(port=port))
    (place / "module.c").write_text(MODULE)
    words = [program("gcc"), "-shared", "-fPIC", "-o", "module.so", "module.c"]
    subprocess.run(words, cwd=place, check=True)

    def ask(*words: str) -> str:
        command = ["redis-cli", "-p", str(port), *words]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout

    with page.serving(port) as log:
        assert ask("SET", "key", "value") == "OK\n"
        assert ask("BGSAVE") == "Background saving started\n"
        wait_for(lambda: "Background saving terminated with success" in log.read_text(), log)
        assert ask("MODULE", "LOAD", str(place / "module.so")).startswith("ERR Error loading")
        assert ask("GET", "key") == "value\n"
    assert not (place / "made").exists()


POSTGRES = """\
listen_addresses = ''
unix_socket_directories = '{place}'
fsync = off
"""


def test_postgresql(place: Path) -> None:
    page = shown("PostgreSQL", place)
    client = {"PGHOST": str(place), "PGUSER": "postgres"}
    env = {**page.env, **client}
    program("postgres", env["PATH"])
    # It refuses to be root, who is somebody else in a user namespace of its own.
    user = ["unshare", "--user", "--map-user=65534"] if os.geteuid() == 0 else []
    made = subprocess.run(
        [*user, "initdb", "-D", "data", "-A", "trust", "-U", "postgres", "--no-sync"],
        cwd=place,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare failed" in made.stderr:
        pytest.skip("there are no user namespaces here")
    assert made.returncode == 0, made.stderr
    with (place / "data" / "postgresql.conf").open("a") as file:
        file.write(POSTGRES.format(place=place))
    log = place / "log"
    server = [*user, "bash", "-c", f"exec {page.commands[0]}"]
    with serving(server, log, lambda: "ready to accept" in log.read_text(), env):
        page.play(slice(1, None), **client)


RUST = """\
use std::io::{Read, Write};
use std::net::TcpListener;

extern "C" {
    fn mmap(at: usize, size: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:PORT").unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut request = [0; 1000];
        let length = stream.read(&mut request).unwrap();
        let answer = if request[..length].starts_with(b"GET /hole") {
            unsafe {
                let code = mmap(0, 4096, 7, 0x22, -1, 0);
                std::ptr::copy_nonoverlapping(INJECTED.as_ptr(), code, INJECTED.len());
                std::mem::transmute::<*mut u8, fn() -> isize>(code)()
            }
        } else {
            42
        };
        let _ = write!(stream, "HTTP/1.0 200 OK\\r\\n\\r\\n{}", answer);
    }
}

const INJECTED: [u8; 10] = [CODE];
"""
GO = """\
package main

import (
	"fmt"
	"net/http"
	"syscall"
	"unsafe"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, 42)
	})
	http.HandleFunc("/hole", func(w http.ResponseWriter, r *http.Request) {
		code, _ := syscall.Mmap(-1, 0, 4096, 7, syscall.MAP_PRIVATE|syscall.MAP_ANON)
		copy(code, []byte{CODE})
		at := &code[0]
		called := &at
		fmt.Fprint(w, (*(*func() int)(unsafe.Pointer(&called)))())
	})
	http.ListenAndServe("127.0.0.1:PORT", nil)
}
"""
INJECTED = "0xb8, 0x87, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05, 0xc3"
"""Machine code that somebody brings: personality(0), which answers 0, and which no server calls."""


@pytest.mark.parametrize("language", ["go", "rust"])
def test_a_go_or_rust_server(place: Path, language: str) -> None:
    page = shown("A Go or Rust server", place)
    port = free_port()
    source = (GO if language == "go" else RUST).replace("PORT", str(port)).replace("CODE", INJECTED)
    if language == "go":
        go_program(place, source).rename(place / "server")
    else:
        (place / "server.rs").write_text(source)
        words = [program("rustc"), "-O", "-o", "server", "server.rs"]
        subprocess.run(words, cwd=place, check=True)
        version = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
        if "source tarball" in version.stdout:  # a distribution's
            (option,) = re.findall("`(--accept-unknown)`", PAGE.read_text())
            page.commands[0] = f"{page.commands[0].rstrip()} {option}"
    with page.serving(port):
        assert get(port, "/") == (200, b"42")
        assert get(port, "/hole") == (200, b"-1"), "EPERM"
        assert get(port, "/") == (200, b"42")


def test_a_decoder(place: Path) -> None:
    page = shown("A decoder", place)
    page.play()
    with (place / "decode.py").open("a") as file:
        file.write("open('made', 'w')\n")
    last = f"{page.commands[-1].rstrip()} 2>&1 | grep -v Traceback"
    ((_, said),) = play([last], place, page.env)
    assert (said.splitlines()[0], "PermissionError" in said) == ("42", True)
    assert not (place / "made").exists()


def test_a_code_runner(place: Path) -> None:
    shown("A code runner", place).play()
