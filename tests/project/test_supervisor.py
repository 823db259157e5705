"""examples/supervisor: what is granted works, what is not is refused, also to those who race."""

from __future__ import annotations

import json
import re
import runpy
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel
import walkthrough
from command import ROOT
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

kernel.require_x86_64()

EXAMPLE = ROOT / "examples" / "supervisor"
LOOPBACK = "127.0.0.1"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with one that is granted and one that is not, each with a file of its own."""
    for name, text in (("ok", "allowed"), ("no", "secret")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(text)
    return tmp_path


def supervised(place: Path, code: str, *options: str, example: Path = EXAMPLE) -> dict[str, object]:
    """Run Python code under the supervisor; return what it has in `seen` at its end."""
    program = place / "program.py"
    program.write_text(f"{PRELUDE}{code}\nprint(json.dumps(seen), flush=True)\nos._exit(0)\n")
    words = [sys.executable, "-W", "error", str(example / "supervise.py"), "--read", str(program)]
    done = subprocess.run(
        [*words, *options, "--", sys.executable, "-I", str(program)],
        cwd=place, capture_output=True, text=True, timeout=kernel.TIMEOUT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    seen: dict[str, object] = json.loads(done.stdout)
    return seen


PRELUDE = """
import ctypes, errno, json, os, socket, struct, threading
libc = ctypes.CDLL(None, use_errno=True)
seen = {}
def outcome(attempt, *args, **words):
    try: result = attempt(*args, **words)
    except OSError as error: return errno.errorcode[error.errno]
    return result if isinstance(result, str) else "done"
def failed(result): return errno.errorcode[ctypes.get_errno()] if result < 0 else "done"
def text(path): return outcome(lambda: open(path).read())
"""

FILES = """
seen["read"] = text("ok/file"), text("no/file"), text("ok/../no/file"), text("none")
seen["write"] = [outcome(open, path, "w") for path in ("ok/new", "no/new", "no/file", "ok/file")]
os.symlink(os.path.abspath("no/file"), "ok/link")
os.symlink(os.path.abspath("no"), "ok/up")
seen["links"] = text("ok/link"), text("ok/up/file"), outcome(open, "ok/up/new", "w"), \
    outcome(os.open, "ok/link", os.O_CREAT | os.O_WRONLY)
seen["link"] = outcome(os.link, "no/file", "ok/b"), outcome(os.link, "ok/link", "ok/c", \
    follow_symlinks=False), failed(libc.linkat(-100, b"ok/link", -100, b"ok/d", 0x400)), \
    text("ok/c")
seen["change"] = [outcome(*one) for one in ((os.mkdir, "ok/sub"), (os.mkdir, "ok/sub"),
    (os.mkdir, "no"), (os.mkdir, "no/sub"), (os.rename, "ok/new", "ok/sub/new"),
    (os.rename, "no/file", "ok/x"), (os.rename, "ok/file", "no/x"), (os.unlink, "no/file"),
    (os.chmod, "no/file", 0o777), (os.chmod, "ok/link", 0o777), (os.truncate, "no/file", 0),
    (os.utime, "no/file"), (os.rmdir, "no"), (os.unlink, "ok/sub/new"), (os.rmdir, "ok/sub"))]
seen["proc"] = [text(path) for path in ("/proc/self/environ", "/proc/1/environ", "/dev/fd/0",
    "/proc/self/fd/0", f"/proc/{os.getppid()}/mem")]
directory = os.open("ok", os.O_PATH)
seen["from"] = outcome(os.open, "file", os.O_RDONLY, dir_fd=directory), \
    outcome(os.open, "../no/file", os.O_RDONLY, dir_fd=directory), \
    outcome(os.open, "file", os.O_RDONLY, dir_fd=999)
os.umask(0o027); os.close(os.open("ok/mode", os.O_CREAT | os.O_WRONLY, 0o666))
seen["mode"] = oct(os.stat("ok/mode").st_mode)
os.fchmod(os.open("ok/mode", os.O_RDONLY), 0o600)
seen["mode again"] = oct(os.stat("ok/mode").st_mode)
seen["fault"] = failed(libc.open(ctypes.c_void_p(8), 0)), outcome(open, "x" * 5000)
"""


def test_files_that_are_granted_and_those_that_are_not(place: Path) -> None:
    seen = supervised(place, FILES, "--write", "ok")
    assert seen == {
        "read": ["allowed", "EACCES", "EACCES", "ENOENT"],
        "write": ["done", "EACCES", "EACCES", "done"],
        "links": ["EACCES", "EACCES", "EACCES", "EACCES"],
        "link": ["EACCES", "done", "EINVAL", "EACCES"],
        "change": [
            "done", "EEXIST", "EEXIST", "EACCES", "done",
            "EACCES", "EACCES", "EACCES",
            "EACCES", "EACCES", "EPERM",
            "EPERM", "EACCES", "done", "done",
        ],
        "proc": ["EACCES", "EACCES", "ELOOP", "ELOOP", "EACCES"],
        "from": ["done", "EACCES", "EBADF"],
        "mode": "0o100640",
        "mode again": "0o100600",
        "fault": ["EFAULT", "ENAMETOOLONG"],
    }  # fmt: skip
    assert (place / "no" / "file").read_text() == "secret"
    assert sorted(path.name for path in (place / "no").iterdir()) == ["file"]


@pytest.fixture
def servers() -> Iterator[tuple[list[int], list[int]]]:
    """Two servers: their ports, and how often each was connected to."""
    with socket.create_server((LOOPBACK, 0)) as one, socket.create_server((LOOPBACK, 0)) as two:
        met = [0, 0]

        def accept(n: int, server: socket.socket) -> None:
            try:
                while True:
                    server.accept()[0].close()
                    met[n] += 1
            except OSError:
                pass

        for n, server in enumerate((one, two)):
            threading.Thread(target=accept, args=(n, server), daemon=True).start()
        yield [server.getsockname()[1] for server in (one, two)], met
        for server in (one, two):
            server.shutdown(socket.SHUT_RDWR)


NETWORK = """
def connect(*address, family=socket.AF_INET, blocking=True):
    with socket.socket(family) as one:
        one.setblocking(blocking)
        one.connect(address)
a, b = PORTS
seen["connect"] = [outcome(connect, host, port) for host, port in (("127.0.0.1", a),
    ("127.0.0.1", b), ("127.0.0.2", a), ("0.0.0.0", a))]
seen["mapped"] = [outcome(connect, "::ffff:127.0.0.1", port, family=socket.AF_INET6)
    for port in (a, b)]
seen["blocking"] = outcome(connect, "127.0.0.1", a, blocking=False)
seen["datagram"] = outcome(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
seen["fast open"] = outcome(lambda: socket.socket().sendto(b"x", socket.MSG_FASTOPEN,
    ("127.0.0.1", b)))
seen["route"] = outcome(lambda: socket.socket().setsockopt(socket.IPPROTO_IP, 4, b"\\x83\\x07\\x04"
    b"\\x7f\\0\\0\\1\\0"))
seen["bind"] = outcome(lambda: socket.socket().bind(("127.0.0.1", 0)))
"""


def test_addresses(place: Path, servers: tuple[list[int], list[int]]) -> None:
    ports, met = servers
    seen = supervised(
        place, NETWORK.replace("PORTS", repr(ports)), "--connect", f"{LOOPBACK}:{ports[0]}"
    )
    assert seen == {
        "connect": ["done", "EACCES", "EACCES", "EACCES"],
        "mapped": ["done", "EACCES"],
        "blocking": "EINPROGRESS",
        "datagram": "EACCES",
        "fast open": "ENOTSUP",
        "route": "EPERM",
        "bind": "EACCES",
    }
    assert met[1] == 0


RACE = """
def swapping(first, second):
    buffer = ctypes.create_string_buffer(first, 200)
    def swap():
        while True:
            ctypes.memmove(buffer, second, len(second)); ctypes.memmove(buffer, first, len(first))
    threading.Thread(target=swap, daemon=True).start()
    return buffer
def count(word): seen[word] = seen.get(word, 0) + 1
path = swapping(os.path.abspath("ok/file").encode(), os.path.abspath("no/file").encode())
for _ in range(TIMES):
    descriptor = libc.openat(-100, path, os.O_RDONLY)
    count(os.read(descriptor, 9).decode() if descriptor >= 0 else failed(descriptor))
    if descriptor >= 0: os.close(descriptor)
address = swapping(*(struct.pack("=H", socket.AF_INET)
    + struct.pack("!H4s8x", port, b"\\x7f\\0\\0\\1") for port in PORTS))
for _ in range(TIMES):
    with socket.socket() as one:
        result = failed(libc.connect(one.fileno(), address, 16))
        count(f"port {PORTS.index(one.getpeername()[1])}" if result == "done" else result)
"""


def raced(place: Path, ports: list[int], times: int, example: Path = EXAMPLE) -> dict[str, object]:
    code = RACE.replace("PORTS", repr(ports)).replace("TIMES", str(times))
    options = ("--read", "ok", "--connect", f"{LOOPBACK}:{ports[0]}")
    return supervised(place, code, *options, example=example)


def test_a_thread_that_swaps_path_or_address(
    place: Path, servers: tuple[list[int], list[int]]
) -> None:
    """Each was read for a while as the one, and for a while as the other."""
    ports, met = servers
    assert {*raced(place, ports, 200)} <= {"allowed", "EACCES", "port 0", "ENOENT", "ECONNREFUSED"}
    assert met[1] == 0


@pytest.mark.long("shows why the page says so: a supervisor that checks is got past")
def test_a_supervisor_that_checks_and_proceeds_loses(
    place: Path, servers: tuple[list[int], list[int]]
) -> None:
    example = walkthrough.copy("supervisor", place / "copy")
    path = example / "supervise.py"
    text = path.read_text()
    for act in ("kernel.connect(descriptor, address)", "call.respond_descriptor("):
        assert act in text
    text = text.replace("kernel.connect(descriptor, address)", "call.proceed()")
    path.write_text(text.replace("call.respond_descriptor(", "(lambda *_, **__: call.proceed())("))
    ports, met = servers
    seen = raced(place, ports, 3000, example)
    assert {"secret", "port 1"} <= seen.keys()
    assert met[1] > 0


@pytest.mark.long("races for some seconds")
def test_a_link_that_is_swapped(place: Path) -> None:
    """By somebody who is not confined, at full speed."""
    done = threading.Event()

    def swap() -> None:
        for target in ("file", "../no/file") * 100_000:
            if done.is_set():
                return
            (place / "ok" / "other").symlink_to(target)
            (place / "ok" / "other").rename(place / "ok" / "link")

    (place / "ok" / "link").symlink_to("file")
    thread = threading.Thread(target=swap)
    thread.start()
    code = "for _ in range(2000):\n    one = text('ok/link'); seen[one] = seen.get(one, 0) + 1"
    seen = supervised(place, code, "--read", "ok")
    done.set()
    thread.join()
    assert seen.keys() == {"allowed", "EACCES"}


def test_the_page_shows_what_happens(tmp_path: Path) -> None:
    for visit in walkthrough.follow("supervisor", tmp_path):
        assert visit.differences() == []


@pytest.mark.parametrize(
    ("command", "code"),
    [(["sh", "-c", "exit 3"], 3), (["sh", "-c", "kill -9 $$"], 137), (["no-such-program"], 127)],
)
def test_it_exits_as_the_command_does(command: list[str], code: int) -> None:
    words = [sys.executable, str(EXAMPLE / "supervise.py"), "--", *command]
    assert subprocess.run(words, capture_output=True, check=False).returncode == code


def test_it_knows_the_calls_that_its_policy_asks_about() -> None:
    """By the numbers of each ABI."""
    policy = (EXAMPLE / "seccomp" / "supervised.yml").read_text()
    asked = {*re.findall(r"\w+", policy.split("names: [")[1].split("]")[0]), "mknod", "mknodat"}
    known = runpy.run_path(str(EXAMPLE / "kernel.py"))["NAMES"]
    for name in ("x86_64", "aarch64"):
        table = shipped_tables().tables[name]
        assert {nr: call for (arch, nr), call in known.items() if arch == table.abi.audit_arch} == {
            nr: call for call, nr in table.numbers.items() if call in asked
        }


@pytest.mark.parametrize("path", ["/", "/proc", "/proc/self", "/proc/1"])
def test_what_cannot_be_granted(path: str) -> None:
    words = [sys.executable, str(EXAMPLE / "supervise.py"), "--read", path, "--", "true"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, "/proc/self is in there" in done.stderr) == (1, True)


def test_nothing_is_run_where_no_filter_can_be_installed(tmp_path: Path) -> None:
    example = walkthrough.copy("supervisor", tmp_path)
    walkthrough.broken(example)
    words = [sys.executable, "supervise.py", "--", "touch", "executed"]
    done = subprocess.run(words, cwd=example, capture_output=True, text=True, check=False)
    assert (done.returncode, (example / "executed").exists()) == (125, False)
    assert done.stderr == "supervise.py: not confined: no filters here\n"
