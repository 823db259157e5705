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
import platform
import resource
import select
import signal
import socket
import struct
import sys
import termios
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

from guests.inside.abi import abi_told
from guests.inside.attempts import (
    ERRNO_NAMES,
    Attempt,
    EarlyThread,
    Tell,
    ended,
    facts,
    in_child,
    open_status,
    outcome,
    refusal,
)
from guests.inside.confined import libc
from guests.inside.installs import installs

Numbers = dict[str, int]

_FOLDER = "/tmp/stock"
_HIGH = 1 << 32
_IS_64_BIT = sys.maxsize > 2**32

_AT_EMPTY_PATH = 0x1000
_IFF_UP = 1
_MAP_FIXED = 0x10
_MSG_FASTOPEN = 0x20000000
_O_ASYNC = 0x1000 if os.uname().machine.startswith("mips") else 0x2000
_SIOCSIFFLAGS = 0x8914


def report(plan: "dict[str, Any]", sandbox: Any) -> "dict[str, Any]":
    """Try everything with ``sandbox``, the package of the vendored runtime and stock filters.

    ``plan`` has the names of the "policies", the "abi", and its "numbers" of system calls by name;
    "foreign" is a call of another ABI, where its number makes it one.
    """

    def vendored(name: str) -> Any:
        return importlib.import_module(f"{sandbox.__name__}.{name}")

    os.makedirs(_FOLDER, exist_ok=True)
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
        "web_worker": _web_worker,
    }[name]

    def attempts(tell: Tell, install: "Attempt | None") -> None:
        for file in ("old", "older"):
            with open(f"{_FOLDER}/{file}", "wb") as opened:
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
            tell("after exec", outcome(_after_exec))  # not when free: it takes a while
        tell("in thread", early.outcome(in_thread))
        tell("facts", facts(status))
        tell("facts of thread", facts(thread_status))
        foreign = _caller(numbers)("foreign")
        if foreign is not None:
            tell("foreign", outcome(foreign))  # last, as it is to kill

    result = {"confined": in_child(lambda tell: attempts(tell, module.install))}
    result["left"] = {file: os.stat(f"{_FOLDER}/{file}").st_size for file in os.listdir(_FOLDER)}
    if result["confined"].get("install") == "done":
        result["free"] = in_child(lambda tell: attempts(tell, None))
    for file in os.listdir(_FOLDER):
        os.unlink(f"{_FOLDER}/{file}")
    return result


def _no_network(numbers: Numbers) -> "tuple[dict[str, Attempt | None], Attempt]":
    call = _caller(numbers)
    stream = socket.SOCK_STREAM
    listening = _listening()
    address = listening.getsockname()
    early = _connected(address)
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
        **_wide(
            {
                "inet with garbage": call("socket", _HIGH | 2, stream, 0),
                "inet6 with garbage": call("socket", _HIGH << 31 | 10, stream, 0),
                "pair with garbage": call("socketpair", _HIGH | 2, stream, 0, 0),
                "inet by socketcall with garbage": socketcall(_HIGH | 1, 2, stream, 0),
                "unix with garbage": call("socket", _HIGH | 1, stream, 0),
                "unix pair with garbage": call("socketpair", _HIGH | 1, stream, 0, bytes(8)),
            }
        ),
        "io_uring_setup": call("io_uring_setup", 1, 0),
        "io_uring_enter": call("io_uring_enter", 0xFFFFFFFF, 0, 0, 0, 0, 0),
        "io_uring_register": call("io_uring_register", 0xFFFFFFFF, 0, 0, 0),
        "forked": lambda: _in_fork(inet),
        "unix by number": call("socket", 1, stream, 0),
        "unix": unix,
        "pair": lambda: _close_all(socket.socketpair()),
        "early socket": early_socket,
        "connect anew": connect_anew,
        "create": lambda: _write(f"{_FOLDER}/new"),
        "thread": _thread,
    }, inet


def _no_exec(numbers: Numbers) -> "tuple[dict[str, Attempt | None], Attempt]":
    call = _caller(numbers)
    execute: Attempt = lambda: os.execv("/nowhere", ["x"])  # noqa: E731
    memory = os.memfd_create("x")
    os.write(memory, b"no program")
    loader, interpreter = _loader(), _interpreter()

    def run() -> "str | None":
        # A program that every guest has, and which does nothing but look at another.
        return _in_fork(lambda: os.execv(loader, ["x", "--verify", interpreter]))

    return {
        "exec": execute,
        "exec along the path": lambda: os.execvp("true--no", ["x"]),
        "exec memory": lambda: os.execve(memory, ["x"], {}),
        "execveat": call("execveat", memory, b"\0", 0, 0, _AT_EMPTY_PATH),
        "spawn": _spawn,
        "forked": run,
        "thread": _thread,
        "inet": lambda: socket.socket(socket.AF_INET).close(),
        "create": lambda: _write(f"{_FOLDER}/new"),
        "map code": _map_code,
        "load": _load(),
    }, execute


def _compute_only(numbers: Numbers) -> "tuple[dict[str, Attempt | None], Attempt]":
    call = _caller(numbers)
    secret, new = f"{_FOLDER}/old", f"{_FOLDER}/new"
    folder = os.open(_FOLDER, os.O_RDONLY)
    opened = os.open(f"{_FOLDER}/older", os.O_RDWR)
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
        "create": lambda: _write(new),
        "stat": lambda: os.stat(secret),
        "list": lambda: os.listdir("/"),
        "unlink": lambda: os.unlink("/nowhere"),
        "chdir": lambda: os.chdir("/"),
        "inet": lambda: socket.socket().close(),
        "unix": lambda: socket.socket(socket.AF_UNIX).close(),
        "pair": lambda: _close_all(socket.socketpair()),
        "pipe": _open_pipe,
        "memfd": lambda: os.close(os.memfd_create("x")),
        "fork": lambda: _in_fork(int),
        "fork by number": _fork_by_number(numbers),
        "spawn": _spawn,
        "exec": lambda: os.execv("/nowhere", ["x"]),
        "kill": lambda: os.kill(me, 0),
        "tgkill": call("tgkill", me, me, 0),
        "pidfd": lambda: os.close(os.pidfd_open(me)),
        "ptrace": call("ptrace", 16, 0x7FFFFFFF, 0, 0),
        "read another": call("process_vm_readv", me, 0, 0, 0, 0, 0),
        "map code": _map_code,
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
        "asynchronous": call("fcntl64" if "fcntl64" in numbers else "fcntl", folder, 4, _O_ASYNC),
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
        "thread": _thread,
        **_wide(
            {
                "dumpable with garbage": call("prctl", _HIGH | 4, 1, 0, 0, 0),
                "limits of another with garbage": call("prlimit64", _HIGH | parent, core, 0, 0),
                "own limits with garbage": call("prlimit64", _HIGH, core, 0, limit),
                "name with garbage": call("prctl", _HIGH | 15, b"name\0", 0, 0, 0),
                "own affinity with garbage": call("sched_getaffinity", _HIGH, 128, bytes(128)),
                "flags with garbage": call("fcntl", reader, _HIGH | fcntl.F_GETFL, 0),
                "owner with garbage": call("fcntl", reader, _HIGH | fcntl.F_SETOWN, me),
                "blocking with garbage": call("ioctl", reader, _HIGH | termios.FIONBIO, bytes(4)),
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


def _web_worker(numbers: Numbers) -> "tuple[dict[str, Attempt | None], Attempt]":
    call = _caller(numbers)
    old, older, new = f"{_FOLDER}/old", f"{_FOLDER}/older", f"{_FOLDER}/new"
    old_path, older_path = f"{old}\0".encode(), f"{older}\0".encode()
    listening = _listening()
    address = listening.getsockname()
    client = _connected(address)
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

    def blocking() -> None:
        listening.setblocking(False)
        listening.setblocking(True)

    def wait() -> None:
        with select.epoll() as waiting:
            waiting.register(listening, select.EPOLLIN)
            assert waiting.poll(0) == []
        _open_pipe()

    def pair(kind: int) -> Attempt:
        return lambda: _close_all(socket.socketpair(socket.AF_UNIX, kind))

    def send_to_unix() -> None:
        one = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0]
        one.sendmsg([b"x"], [], 0, named.getsockname())
        assert named.recv(1) == b"x"

    def look() -> None:
        assert "old" in os.listdir(_FOLDER)
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
        "run": _spawn,
        "exec": lambda: os.execv("/nowhere", ["x"]),
        "fork": lambda: _in_fork(int),
        "fork by number": _fork_by_number(numbers),
        "execveat": call("execveat", opened, b"\0", 0, 0, _AT_EMPTY_PATH),
        "write": lambda: os.close(os.open(old, os.O_WRONLY)),
        "append": lambda: os.close(os.open(old, os.O_WRONLY | os.O_APPEND)),
        "read and write": lambda: os.close(os.open(old, os.O_RDWR)),
        "create": create,
        "old open": call("open", older_path, os.O_RDONLY | os.O_TRUNC, 0),
        "truncate": lambda: os.close(os.open(older, os.O_RDONLY | os.O_TRUNC)),
        "rename": lambda: os.rename(f"{_FOLDER}/none", new),
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
        **_wide(
            {
                "write with garbage": call("openat", _HIGH - 100, old_path, _HIGH | os.O_WRONLY, 0),
                "read with garbage": call("openat", _HIGH - 100, old_path, _HIGH << 31, 0),
                "pair with garbage": call(
                    "socketpair", _HIGH | 1, _HIGH | socket.SOCK_STREAM, 0, bytes(8)
                ),
                "tune with garbage": call(
                    "setsockopt", listening.fileno(), _HIGH | 6, _HIGH | 1, bytes(4), 4
                ),
            }
        ),
        "serve": serve,
        "listen": listening.listen,
        "tune": tune,
        "blocking": blocking,
        "wait": wait,
        "read": lambda: _read(old),
        "look": look,
        "lock": lambda: fcntl.lockf(opened, fcntl.LOCK_SH | fcntl.LOCK_NB),
        "map code": _map_code,
        "import": import_anew,
        "load": _load(),
        "thread": _thread,
    }, create


def _caller(numbers: Numbers) -> "Callable[..., Attempt | None]":
    def caller(name: str, *args: "int | bytes") -> "Attempt | None":
        """Return a system call with all bits of its arguments, None where the ABI lacks it.

        Bytes stand for their address.
        """
        if name not in numbers:
            return None
        buffers = [ctypes.create_string_buffer(x, len(x)) for x in args if isinstance(x, bytes)]
        addresses = iter([ctypes.addressof(buffer) for buffer in buffers])
        words = [x if isinstance(x, int) else next(addresses) for x in args]
        words += [0] * (6 - len(words))

        def call(_: object = buffers) -> None:
            if libc.syscall(numbers[name], *words) == -1:
                raise OSError(ctypes.get_errno(), "")

        return call

    return caller


def _wide(attempts: "dict[str, Attempt | None]") -> "dict[str, Attempt | None]":
    """Return the attempts where registers have the 64 bits that they need."""
    return attempts if _IS_64_BIT else {}


def _in_fork(attempt: Attempt) -> "str | None":
    """Have a forked child make the attempt; say what it came to there, unless to nothing."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            attempt()
            code = 0
        except OSError as error:
            code = error.errno or 254
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if status & 127:
        return ended(status)
    return f"forked, {ERRNO_NAMES.get(status >> 8, 'failed')}" if status else None


def _fork_by_number(numbers: Numbers) -> "Attempt | None":
    """Return fork(2) itself, where the ABI has it: the C library takes clone(2)."""
    fork = _caller(numbers)("fork")
    me = os.getpid()

    def attempt() -> None:
        assert fork is not None
        fork()
        if os.getpid() != me:
            os._exit(0)

    return fork and attempt


def _after_exec() -> str:
    """Say what making a socket comes to in another program, and which mode of seccomp(2) it has."""
    program = (
        "import _socket, errno\n"
        "try: _socket.socket(2, _socket.SOCK_STREAM)\n"
        "except OSError as error: said = errno.errorcode[error.errno]\n"
        "else: said = 'done'\n"
        "with open('/proc/self/status') as file:\n"
        "    mode = next(line for line in file if line.startswith('Seccomp:'))\n"
        "print(said, mode[8:].strip(), end='')"
    )
    interpreter = _interpreter()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(writer, 1)
            os.execv(interpreter, ["python3", "-IS", "-c", program])
        finally:
            os._exit(127)
    os.close(writer)
    with open(reader, "rb") as file:
        said = file.read().decode()
    status = os.waitpid(child, 0)[1]
    return f"{said}, {ended(status)}" if status else said


# Not by socket.create_server() and the like: these look names up, which loads a codec.
def _listening() -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


def _connected(address: "tuple[str, int]") -> socket.socket:
    client = socket.socket()
    client.connect(address)
    return client


def _close_all(sockets: "tuple[socket.socket, ...]") -> None:
    for one in sockets:
        one.close()


def _open_pipe() -> None:
    for end in os.pipe():
        os.close(end)


def _spawn() -> None:
    os.waitpid(os.posix_spawn("/nowhere", ["x"], {}), 0)


def _thread() -> None:
    results: "list[int]" = []
    new = threading.Thread(target=results.append, args=(1,))
    new.start()
    new.join()
    assert results == [1]


def _read(path: str) -> None:
    with open(path, "rb") as file:
        assert file.read()


def _write(path: str) -> None:
    with open(path, "wb") as file:
        file.write(b"written")


def _map_code() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _load() -> Attempt:
    """Return an attempt to load a shared object that is not loaded yet."""
    with open("/proc/self/maps") as file:
        loaded = file.read()
    name = next(x for x in ("libgcc_s.so.1", "libexpat.so.1", "librt.so.1") if x not in loaded)
    return lambda: ctypes.CDLL(name)


def _interpreter() -> str:
    return os.readlink("/proc/self/exe")


def _loader() -> str:
    """Return the path of the dynamic loader: PT_INTERP of this program; see elf(5)."""
    with open("/proc/self/exe", "rb") as file:
        header = file.read(64)
        table = struct.unpack_from("@L", header, 32 if _IS_64_BIT else 28)[0]
        size, count = struct.unpack_from("=HH", header, 54 if _IS_64_BIT else 42)
        for place in range(table, table + size * count, size):
            file.seek(place)
            entry = file.read(size)
            if struct.unpack_from("=I", entry)[0] == 3:
                file.seek(struct.unpack_from("@L", entry, 8 if _IS_64_BIT else 4)[0])
                return file.read(256).split(b"\0", 1)[0].decode()
    raise LookupError("no PT_INTERP")


def raise_loopback() -> None:
    with socket.socket() as some:
        fcntl.ioctl(some, _SIOCSIFFLAGS, struct.pack("=16sH22x", b"lo", _IFF_UP))
