"""Servers that get their filter once they serve, with what ``--after`` leaves them; others kill."""

from __future__ import annotations

import platform
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ecosystem.test_record import NGINX, redis_session, under_load
from scanned_filters import INSTALL, make_filter
from servers import GRACE, free_port, get, listens, program, serving, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="it names calls of x86_64"),
]

PRELOADED = """
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
static int done;
static void reached(const char *name) {
  if (__atomic_load_n(&done, __ATOMIC_SEQ_CST) || !strstr(getenv("REACHED"), name)) return;
  if (__atomic_exchange_n(&done, 1, __ATOMIC_SEQ_CST)) return;
  if (install(getenv("FILTER"))) _exit(99);
}
#define BEFORE(name) \\
  static long (*real_##name)(long, long, long, long); \\
  __attribute__((constructor)) static void find_##name(void) { \\
    real_##name = dlsym(RTLD_NEXT, #name); } \\
  long name(long a, long b, long c, long d) { \\
    reached("<" #name ">"); return real_##name(a, b, c, d); }
BEFORE(accept)
BEFORE(accept4)
BEFORE(epoll_wait)
BEFORE(sigsuspend)
BEFORE(event_base_loop)
"""
"""Installs a filter before the first call of one of the functions that $REACHED names."""


def filtered(directory: Path, name: str, marker: str, *options: str) -> set[str]:
    """Make the filter of a server for after ``marker``; return what it allows."""
    return set(make_filter(directory, name, "--after", marker, *options)["policy"])


def preloading(directory: Path, reached: str, command: Sequence[str]) -> list[str]:
    """Return the command that runs ``command`` with the filter from where ``reached`` is."""
    (directory / "preloaded.c").write_text(INSTALL + PRELOADED)
    words = ["gcc", "-shared", "-fPIC", "-w", "-o", "preloaded.so", "preloaded.c"]
    subprocess.run(words, check=True, cwd=directory)
    variables = [f"LD_PRELOAD={directory}/preloaded.so", f"FILTER={directory}/filter"]
    return ["env", *variables, f"REACHED={reached}", *command]


def confined(process: int) -> list[bool]:
    """Return, for a process and its children, if each of their threads has a filter."""
    found = []
    for thread in Path(f"/proc/{process}/task").iterdir():
        found.append("\nSeccomp:\t2\n" in (thread / "status").read_text())
        for child in (thread / "children").read_text().split():
            found += confined(int(child))
    return found


@contextmanager
def held(
    directory: Path, reached: str, command: Sequence[str], port: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server that gets its filter; nothing may end it but SIGTERM."""
    words = preloading(directory, reached, command)
    with serving(words, directory / "log", lambda: listens(port)) as server:
        yield server
        assert server.poll() is None, (directory / "log").read_text()
        assert all(confined(server.pid))
    assert server.returncode in {0, -signal.SIGTERM}, (directory / "log").read_text()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory into which servers' other users can come."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def redis(place: Path, *options: str) -> set[str]:
    server, port = program("redis-server"), free_port()
    allowed = filtered(place, server, "aeMain", *options)
    words = [server, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(place)]
    with held(place, "<epoll_wait>", [*words, "--appendonly", "yes"], port):
        assert redis_session(port)[:2] == [b"+OK\r\n", b"$5\r\nvalue\r\n"]
    return allowed


def test_redis(place: Path) -> None:
    assert {"alarm", "epoll_create", "umask"}.isdisjoint(redis(place))


def test_a_call_that_is_made_kills(place: Path) -> None:
    """Else the other tests show nothing."""
    with pytest.raises((AssertionError, OSError)):
        redis(place, "--deny", "fdatasync")
    assert (place / "filter").exists()


def ask(port: int, lines: bytes, ending: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=GRACE) as connection:
        connection.sendall(lines)
        answer = b""
        while not answer.endswith(ending):
            more = connection.recv(4096)
            assert more, answer
            answer += more
    return answer


def test_memcached(place: Path) -> None:
    server, port = program("memcached"), free_port()
    allowed = filtered(place, server, "event_base_loop")
    assert {"mlockall", "setgid", "setuid"}.isdisjoint(allowed)
    words = [server, "-u", "nobody", "-l", "127.0.0.1", "-p", str(port)]
    with held(place, "<event_base_loop>", words, port):
        for i in range(50):
            lines = f"set key{i} 0 1 5\r\nvalue\r\nget key{i}\r\nstats\r\n".encode()
            answer = ask(port, lines, b"END\r\n")
            assert answer.startswith(b"STORED\r\nVALUE key")
        ask(port, b"flush_all\r\n", b"OK\r\n")


LIGHTTPD = """
server.document-root = "{place}/www"
server.port = {port}
server.bind = "127.0.0.1"
server.errorlog = "{place}/error.log"
server.pid-file = "{place}/lighttpd.pid"
"""


def test_lighttpd_starts_again(place: Path) -> None:
    server, port = program("lighttpd"), free_port()
    assert {"getegid", "rseq"}.isdisjoint(filtered(place, server, "accept"))
    (place / "www").mkdir()
    (place / "www" / "file.txt").write_text("hello\n" * 1000)
    (place / "lighttpd.conf").write_text(LIGHTTPD.format(place=place, port=port))
    words = [server, "-D", "-f", str(place / "lighttpd.conf")]
    paths = ["/file.txt", "/missing"]
    with held(place, "<accept><accept4>", words, port) as process:
        seen = under_load(port, paths)
        assert [status for status, _ in seen] == [200, 404]
        for number in (signal.SIGHUP, signal.SIGUSR1):
            process.send_signal(number)
            wait_for(lambda: listens(port), place / "log")
            assert under_load(port, paths) == seen
        # It ends with 1 if it is told to end while it starts again: until it serves, after its log
        # says so.
        log = place / "error.log"
        wait_for(lambda: log.read_text().count("server started") == 2, log)
        assert under_load(port, paths) == seen


def test_nginx_is_reloaded(place: Path) -> None:
    server, port = program("nginx"), free_port()
    assert {"arch_prctl", "umask"}.isdisjoint(filtered(place, server, "ngx_master_process_cycle"))
    (place / "www").mkdir()
    (place / "www" / "file.txt").write_text("hello\n" * 1000)
    (place / "nginx.conf").write_text(NGINX.format(directory=place, port=port))
    options = ["-c", str(place / "nginx.conf"), "-e", str(place / "error.log")]
    paths = ["/file.txt", "/missing"]
    with held(place, "<sigsuspend><epoll_wait>", [server, *options], port) as process:
        seen = under_load(port, paths)
        assert [status for status, _ in seen] == [200, 404]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        before = set(children.read_text().split())
        for number in (signal.SIGHUP, signal.SIGUSR1):
            process.send_signal(number)
            assert under_load(port, paths) == seen
        wait_for(lambda: before.isdisjoint(children.read_text().split()), place / "log")
        assert get(port, "/file.txt") == seen[0]
