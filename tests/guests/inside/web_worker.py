"""The promises of web_worker, as attempts. Runs in the guests, as `stock` says."""

import fcntl
import importlib
import os
import platform
import select
import socket
import struct
import sys

from guests.inside import acts
from guests.inside.acts import Numbers
from guests.inside.attempts import Attempt

_MSG_FASTOPEN = 0x20000000


def web_worker(numbers: Numbers) -> "tuple[dict[str, Attempt | None], Attempt]":
    call = acts.caller(numbers)
    old, older, new = f"{acts.FOLDER}/old", f"{acts.FOLDER}/older", f"{acts.FOLDER}/new"
    old_path, older_path = f"{old}\0".encode(), f"{older}\0".encode()
    listening = acts.listening()
    address = listening.getsockname()
    client = acts.connected(address)
    client.sendall(b"GET")
    named = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    named.bind(f"\0{os.getpid()}")
    opened = os.open(old, os.O_RDONLY)

    def serve() -> None:
        with listening.accept()[0] as connection:
            assert connection.recv(10) == b"GET"
            connection.sendall(b"answer")
            connection.getpeername()
            connection.shutdown(socket.SHUT_RDWR)
        assert client.recv(10) == b"answer"

    def tune() -> None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 0, 0))
        for name in (1, 3, 4, 5, 6, 12, 18):  # TCP_NODELAY to TCP_USER_TIMEOUT
            listening.setsockopt(socket.IPPROTO_TCP, name, 1)

    def ask() -> None:
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def blocking() -> None:
        listening.setblocking(False)
        listening.setblocking(True)

    def wait() -> None:
        with select.epoll() as waiting:
            waiting.register(listening, select.EPOLLIN)
            assert waiting.poll(0) == []
        acts.open_pipe()

    def pair(kind: int) -> Attempt:
        return lambda: acts.close_all(socket.socketpair(socket.AF_UNIX, kind))

    def send_to_unix() -> None:
        one = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0]
        one.sendmsg([b"x"], [], 0, named.getsockname())
        assert named.recv(1) == b"x"

    def look() -> None:
        assert "old" in os.listdir(acts.FOLDER)
        assert os.stat(old).st_size == 7
        assert os.access(old, os.R_OK)
        os.readlink("/proc/self/exe")
        os.getcwd()

    def import_anew() -> None:
        sys.modules.pop("bisect", None)
        importlib.import_module("bisect")

    def create() -> None:
        os.close(os.open(new, os.O_RDONLY | os.O_CREAT))

    def clone(flags: int) -> "Attempt | None":
        # CLONE_BACKWARDS2, of arch/s390/Kconfig: the stack comes first.
        words = (0, flags) if platform.machine() == "s390x" else (flags, 0)
        return call("clone", *words, 0, 0, 0)

    return {
        "run": acts.spawn,
        "exec": lambda: os.execv("/nowhere", ["x"]),
        "fork": lambda: acts.in_fork(int),
        "fork by number": acts.fork_by_number(numbers),
        "execveat": call("execveat", opened, b"\0", 0, 0, acts.AT_EMPTY_PATH),
        "write": lambda: os.close(os.open(old, os.O_WRONLY)),
        "append": lambda: os.close(os.open(old, os.O_WRONLY | os.O_APPEND)),
        "read and write": lambda: os.close(os.open(old, os.O_RDWR)),
        "create": create,
        "old open": call("open", older_path, os.O_RDONLY | os.O_TRUNC, 0),
        "truncate": lambda: os.close(os.open(older, os.O_RDONLY | os.O_TRUNC)),
        "rename": lambda: os.rename(f"{acts.FOLDER}/none", new),
        "unlink": lambda: os.unlink("/nowhere"),
        "chmod": lambda: os.chmod(old, 0o600),
        "timestamps": lambda: os.utime(old, (1, 1)),
        "timestamps of what is open": lambda: os.utime(opened, (1, 1)),
        "mkdir": lambda: os.mkdir("/nowhere/new"),
        "inet": lambda: socket.socket(socket.AF_INET).close(),
        "unix": lambda: socket.socket(socket.AF_UNIX).close(),
        "pair": pair(socket.SOCK_STREAM),
        "datagrams": pair(socket.SOCK_DGRAM),
        "send to unix": send_to_unix,
        "connect": lambda: listening.connect(address),
        "bind": lambda: listening.bind(address),
        "send to": lambda: listening.sendto(b"x", address),
        "send message to": lambda: listening.sendmsg([b"x"], [], _MSG_FASTOPEN, address),
        "attach filter": lambda: listening.setsockopt(socket.SOL_SOCKET, 26, bytes(16)),
        "fast open": lambda: listening.setsockopt(socket.IPPROTO_TCP, 30, 1),
        "ask for a lifetime": lambda: listening.getsockopt(socket.IPPROTO_IP, socket.IP_TTL),
        "unshare": call("unshare", 0x10000000),  # CLONE_NEWUSER
        # The next three have flags that the kernel does not take together: CLONE_SIGHAND alone,
        # CLONE_NEWUSER with CLONE_FS, CLONE_THREAD alone.
        "process": clone(0x800),
        "process in new namespace": clone(0x10000200),
        "thread in new namespace": clone(0x10010000),
        "setns": call("setns", opened, 0),
        "ptrace": call("ptrace", 16, 0x7FFFFFFF, 0, 0),
        "kill": lambda: os.kill(os.getpid(), 0),
        "bpf": call("bpf", 99, 0, 0),
        "userfaultfd": call("userfaultfd", 0xFFFFFFFF),
        "keyctl": call("keyctl", 99, 0, 0, 0, 0),
        "perf": call("perf_event_open", 0, 0, 0, 0, 0),
        "make code": call("mprotect", 0, 4096, 4),
        "clone3": call("clone3", 0, 0),
        "openat2": call("openat2", -100, b"/\0", 0, 0),
        "io_uring_setup": call("io_uring_setup", 1, 0),
        **acts.wide(
            {
                "write with garbage": call(
                    "openat", acts.HIGH - 100, old_path, acts.HIGH | os.O_WRONLY, 0
                ),
                "read with garbage": call("openat", acts.HIGH - 100, old_path, acts.HIGH << 31, 0),
                "pair with garbage": call(
                    "socketpair", acts.HIGH | 1, acts.HIGH | socket.SOCK_STREAM, 0, bytes(8)
                ),
                "tune with garbage": call(
                    "setsockopt", listening.fileno(), acts.HIGH | 6, acts.HIGH | 1, bytes(4), 4
                ),
            }
        ),
        "serve": serve,
        "listen": listening.listen,
        "tune": tune,
        "ask": ask,
        "blocking": blocking,
        "wait": wait,
        "read": lambda: acts.read(old),
        "look": look,
        "lock": lambda: fcntl.lockf(opened, fcntl.LOCK_SH | fcntl.LOCK_NB),
        "map code": acts.map_code,
        "import": import_anew,
        "load": acts.load(),
        "thread": acts.thread,
    }, create
