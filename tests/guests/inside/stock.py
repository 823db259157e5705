"""Put the stock filters in force and try what they promise; then what else `install` has to do.

Runs in the guests: standard library only, Python 3.9 or newer, any ABI. Everything is tried in a
forked child, which tells what each attempt came to: "done", the name of an errno, or that of an
exception. What it should have come to is not known here: ``guests.stock`` compares, outside.
"""

import ctypes
import fcntl
import hashlib
import importlib
import json
import mmap
import os
import resource
import select
import signal
import socket
import struct
import termios
import time
import zlib
from typing import Any

from guests.inside import acts
from guests.inside.abi import abi_told
from guests.inside.acts import Numbers
from guests.inside.attempts import (
    Attempt,
    EarlyThread,
    Tell,
    facts,
    in_child,
    open_status,
    outcome,
    refusal,
)
from guests.inside.installs import installs
from guests.inside.web_worker import web_worker

_IFF_UP = 1
_MAP_FIXED = 0x10
_SIOCSIFFLAGS = 0x8914


def report(plan: "dict[str, Any]", sandbox: Any) -> "dict[str, Any]":
    """Try everything with ``sandbox``, the package of the vendored runtime and stock filters.

    ``plan`` has the names of the "policies", the "abi", and its "numbers" of system calls by name;
    "foreign" is a call of another ABI, where its number makes it one.
    """

    def vendored(name: str) -> Any:
        return importlib.import_module(f"{sandbox.__name__}.{name}")

    os.makedirs(acts.FOLDER, exist_ok=True)
    policies = {}
    for name in plan["policies"]:
        policies[name] = _policy(name, plan["numbers"], vendored(name))
    return {
        "kernel": os.uname().release,
        "policies": policies,
        "installs": installs(vendored("_runtime"), plan["abi"], plan["numbers"]),
        "abi": abi_told(vendored("_runtime"), vendored("no_exec")),
    }


def _policy(name: str, numbers: Numbers, module: Any) -> "dict[str, Any]":
    """Make a policy's attempts "confined" by it and then "free"; "left" are the files between."""
    prepare = {
        "no_network": _no_network,
        "no_exec": _no_exec,
        "compute_only": _compute_only,
        "web_worker": web_worker,
    }[name]

    def attempts(tell: Tell, install: "Attempt | None") -> None:
        for file in ("old", "older"):
            with open(f"{acts.FOLDER}/{file}", "wb") as opened:
                opened.write(b"content")
        prepared, in_thread = prepare(numbers)
        early = EarlyThread()
        status, thread_status = open_status(os.getpid()), open_status(early.tid)
        if install is not None:
            installed = refusal(install)
            tell("install", installed)
            if installed != "done":
                tell("facts", facts(status))
                return
        for what, attempt in prepared.items():
            if attempt is not None:
                tell(what, outcome(attempt))
        if install is not None and name == "no_network":
            tell("after exec", outcome(acts.after_exec))  # not when free: it takes a while
        tell("in thread", early.outcome(in_thread))
        tell("facts", facts(status))
        tell("facts of thread", facts(thread_status))
        foreign = acts.caller(numbers)("foreign")
        if foreign is not None:
            tell("foreign", outcome(foreign))  # last, as it is to kill

    result = {"confined": in_child(lambda tell: attempts(tell, module.install))}
    result["left"] = {
        file: os.stat(f"{acts.FOLDER}/{file}").st_size for file in os.listdir(acts.FOLDER)
    }
    if result["confined"].get("install") == "done":
        result["free"] = in_child(lambda tell: attempts(tell, None))
    for file in os.listdir(acts.FOLDER):
        os.unlink(f"{acts.FOLDER}/{file}")
    return result


def _no_network(numbers: Numbers) -> "tuple[dict[str, Attempt | None], Attempt]":
    call = acts.caller(numbers)
    stream = socket.SOCK_STREAM
    listening = acts.listening()
    address = listening.getsockname()
    early = acts.connected(address)
    accepted = listening.accept()[0]
    unconnected = socket.socket()
    inet: Attempt = lambda: socket.socket(socket.AF_INET).close()  # noqa: E731

    def family(number: int) -> Attempt:
        kind = socket.SOCK_RAW if number in {16, 17} else stream
        return lambda: socket.socket(number, kind).close()

    def early_socket() -> None:
        early.sendall(b"ping")
        assert accepted.recv(4) == b"ping"

    def connect_anew() -> None:
        unconnected.connect(address)
        listening.accept()[0].close()

    def unix() -> None:
        name = f"\0{os.getpid()}"
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(name)
            server.listen()
            client.connect(name)
            client.sendall(b"ping")
            assert server.accept()[0].recv(4) == b"ping"

    def socketcall(operation: int, *words: int) -> "Attempt | None":
        return call("socketcall", operation, struct.pack(f"@{len(words)}L", *words))

    return {
        "inet": inet,
        "inet6": family(socket.AF_INET6),
        "netlink": family(16),
        "packet": family(17),
        "vsock": family(40),
        "inet pair": lambda: socket.socketpair(socket.AF_INET),
        "inet by number": call("socket", 2, stream, 0),
        "no family": call("socket", 0, stream, 0),
        "inet by socketcall": socketcall(1, 2, stream, 0),
        "unix by socketcall": socketcall(1, 1, stream, 0),
        "pair by socketcall": socketcall(8, 1, stream, 0, 0),
        "socketcall without an address": call("socketcall", 6, 0),
        **acts.wide(
            {
                "inet with garbage": call("socket", acts.HIGH | 2, stream, 0),
                "inet6 with garbage": call("socket", acts.HIGH << 31 | 10, stream, 0),
                "pair with garbage": call("socketpair", acts.HIGH | 2, stream, 0, 0),
                "inet by socketcall with garbage": socketcall(acts.HIGH | 1, 2, stream, 0),
                "unix with garbage": call("socket", acts.HIGH | 1, stream, 0),
                "unix pair with garbage": call("socketpair", acts.HIGH | 1, stream, 0, bytes(8)),
            }
        ),
        "io_uring_setup": call("io_uring_setup", 1, 0),
        "io_uring_enter": call("io_uring_enter", 0xFFFFFFFF, 0, 0, 0, 0, 0),
        "io_uring_register": call("io_uring_register", 0xFFFFFFFF, 0, 0, 0),
        "forked": lambda: acts.in_fork(inet),
        "unix by number": call("socket", 1, stream, 0),
        "unix": unix,
        "pair": lambda: acts.close_all(socket.socketpair()),
        "early socket": early_socket,
        "connect anew": connect_anew,
        "create": lambda: acts.write(f"{acts.FOLDER}/new"),
        "thread": acts.thread,
    }, inet


def _no_exec(numbers: Numbers) -> "tuple[dict[str, Attempt | None], Attempt]":
    call = acts.caller(numbers)
    execute: Attempt = lambda: os.execv("/nowhere", ["x"])  # noqa: E731
    memory = os.memfd_create("x")
    os.write(memory, b"no program")
    loader, interpreter = acts.loader(), acts.interpreter()

    def run() -> "str | None":
        # A program that every guest has, and which does nothing but look at another.
        return acts.in_fork(lambda: os.execv(loader, ["x", "--verify", interpreter]))

    return {
        "exec": execute,
        "exec along the path": lambda: os.execvp("true--no", ["x"]),
        "exec memory": lambda: os.execve(memory, ["x"], {}),
        "execveat": call("execveat", memory, b"\0", 0, 0, acts.AT_EMPTY_PATH),
        "spawn": acts.spawn,
        "forked": run,
        "thread": acts.thread,
        "inet": lambda: socket.socket(socket.AF_INET).close(),
        "create": lambda: acts.write(f"{acts.FOLDER}/new"),
        "map code": acts.map_code,
        "load": acts.load(),
    }, execute


def _compute_only(numbers: Numbers) -> "tuple[dict[str, Attempt | None], Attempt]":
    call = acts.caller(numbers)
    secret, new = f"{acts.FOLDER}/old", f"{acts.FOLDER}/new"
    folder = os.open(acts.FOLDER, os.O_RDONLY)
    opened = os.open(f"{acts.FOLDER}/older", os.O_RDWR)
    page = ctypes.c_char.from_buffer(mmap.mmap(-1, 4096))
    address = ctypes.addressof(page)
    there = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
    reader, writer = os.pipe()
    me, parent = os.getpid(), os.getppid()
    core = resource.RLIMIT_CORE
    limit = struct.pack("=QQ", 0, 0)
    mmap_name = "mmap2" if "mmap2" in numbers else "mmap"
    six = struct.pack("=6I", 0, 4096, 7, there & ~_MAP_FIXED, 0xFFFFFFFF, 0)
    seen: "list[object]" = [page]  # which keeps it

    def open_secret() -> None:
        os.close(os.open(secret, os.O_RDONLY))

    def compute() -> None:
        text = b"text " * 1000
        assert zlib.decompress(zlib.compress(text)) == text
        assert hashlib.sha256(text).hexdigest().startswith("ef92")
        assert json.loads(json.dumps({"a": [1, 2.5, None]})) == {"a": [1, 2.5, None]}

    def allocate() -> None:
        # So much that the C library maps it, and maps it anew.
        block = bytearray(1 << 18)
        block.extend(bytes(1 << 18))
        many = [[index] for index in range(1000)]
        del block, many

    def descriptors() -> None:
        copy = os.dup(writer)
        os.set_inheritable(copy, True)
        os.set_blocking(copy, False)
        os.write(copy, b"x")
        assert select.select([reader], [], [], 1)[0]
        assert os.read(reader, 1) == b"x"
        os.close(copy)
        assert not os.isatty(reader)
        os.lseek(opened, 0, os.SEEK_SET)
        assert os.read(opened, 7) == b"content"
        fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, 50)

    def clocks() -> None:
        # The handler leaves by sigreturn(2), or what the ABI has in its place.
        time.sleep(0.001)
        time.monotonic()
        signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while len(seen) == 1:
            time.sleep(0.005)

    return {
        "open": open_secret,
        "open there": lambda: os.close(os.open("old", os.O_RDONLY, dir_fd=folder)),
        "create": lambda: acts.write(new),
        "stat": lambda: os.stat(secret),
        "list": lambda: os.listdir("/"),
        "unlink": lambda: os.unlink("/nowhere"),
        "chdir": lambda: os.chdir("/"),
        "inet": lambda: socket.socket().close(),
        "unix": lambda: socket.socket(socket.AF_UNIX).close(),
        "pair": lambda: acts.close_all(socket.socketpair()),
        "pipe": acts.open_pipe,
        "memfd": lambda: os.close(os.memfd_create("x")),
        "fork": lambda: acts.in_fork(int),
        "fork by number": acts.fork_by_number(numbers),
        "spawn": acts.spawn,
        "exec": lambda: os.execv("/nowhere", ["x"]),
        "kill": lambda: os.kill(me, 0),
        "tgkill": call("tgkill", me, me, 0),
        "pidfd": lambda: os.close(os.pidfd_open(me)),
        "ptrace": call("ptrace", 16, 0x7FFFFFFF, 0, 0),
        "read another": call("process_vm_readv", me, 0, 0, 0, 0, 0),
        "map code": acts.map_code,
        "map code there": call(mmap_name, address, 4096, 7, there, -1, 0),
        "map there": call(mmap_name, address, 4096, 3, there, -1, 0),
        # i386: what is called mmap there has its arguments in memory.
        "old map": call("mmap" if mmap_name == "mmap2" else "", six),
        "old map of nothing": call("mmap" if mmap_name == "mmap2" else "", 0),
        "make code": call("mprotect", address, 4096, 5),
        "make code with a key": call("pkey_mprotect", address, 4096, 5, -1),
        "map again": call("remap_file_pages", address, 4096, 0, 0, 0),
        "move there": call("mremap", address, 4096, 4096, 3, address),
        "grow": call("mremap", address, 4096, 4096, 0, 0),
        "asynchronous": call(
            "fcntl64" if "fcntl64" in numbers else "fcntl", folder, 4, acts.O_ASYNC
        ),
        "shared": call("shmget", 0, 4096, 0o1777),
        "personality": call("personality", 0xFFFFFFFF),
        "limit": call("prlimit64", 0, core, limit, 0),
        "limits of another": lambda: resource.prlimit(parent, core),
        "affinity of another": lambda: os.sched_getaffinity(parent),
        "lock": lambda: fcntl.lockf(opened, fcntl.LOCK_EX),
        "owner": lambda: fcntl.fcntl(reader, fcntl.F_SETOWN, me),
        "dumpable": call("prctl", 4, 1, 0, 0, 0),
        "clone3": call("clone3", 0, 0),
        "ioctl": lambda: fcntl.ioctl(reader, termios.FIONREAD, bytes(4)),
        "thread": acts.thread,
        **acts.wide(
            {
                "dumpable with garbage": call("prctl", acts.HIGH | 4, 1, 0, 0, 0),
                "limits of another with garbage": call("prlimit64", acts.HIGH | parent, core, 0, 0),
                "own limits with garbage": call("prlimit64", acts.HIGH, core, 0, limit),
                "name with garbage": call("prctl", acts.HIGH | 15, b"name\0", 0, 0, 0),
                "own affinity with garbage": call("sched_getaffinity", acts.HIGH, 128, bytes(128)),
                "flags with garbage": call("fcntl", reader, acts.HIGH | fcntl.F_GETFL, 0),
                "owner with garbage": call("fcntl", reader, acts.HIGH | fcntl.F_SETOWN, me),
                "blocking with garbage": call(
                    "ioctl", reader, acts.HIGH | termios.FIONBIO, bytes(4)
                ),
            }
        ),
        "compute": compute,
        "allocate": allocate,
        "descriptors": descriptors,
        "write": lambda: os.pwrite(opened, b"CONTENT", 0),
        "fstat": lambda: os.fstat(reader),
        "limits": lambda: resource.getrlimit(core),
        "affinity": lambda: os.sched_getaffinity(0),
        "random": lambda: os.urandom(8),
        "clocks": clocks,
    }, open_secret


def raise_loopback() -> None:
    with socket.socket() as some:
        fcntl.ioctl(some, _SIOCSIFFLAGS, struct.pack("=16sH22x", b"lo", _IFF_UP))
