"""A program to confine: ``worker.py DIRECTORY POLICY HOW [ARGUMENT]...``.

HOW is "confined", or "free" for the same without a filter, which shows that what the filter refuses
would work or fail otherwise. Prints a JSON object: what each thing that it tried came to, "done" or
the name of an error. Runs on Python 3.9, with nothing but the standard library; system call
numbers are those of x86_64.
"""

# It tries system calls, which os names and pathlib hides.
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH116, PTH123, PTH208

import asyncio
import concurrent.futures
import contextlib
import ctypes
import decimal
import errno
import fcntl
import gc
import hashlib
import http.server
import importlib
import json
import mmap
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

SCRIPT, (DIRECTORY, POLICY, HOW), ARGUMENTS = sys.argv[0], sys.argv[1:4], sys.argv[4:]
HIGH = 1 << 32
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

Attempt = Callable[[], object]


def install() -> None:
    if HOW == "confined":
        sys.path.insert(0, DIRECTORY)
        importlib.import_module("stock." + POLICY).install()


def raw(number: int, *args: Any) -> Attempt:
    """Return a system call with all 64 bits of its arguments; NR_ names are spared."""

    def call() -> int:
        words = [x if isinstance(x, bytes) else ctypes.c_ulong(x) for x in args]
        ctypes.set_errno(0)
        result = int(LIBC.syscall(ctypes.c_long(number), *words))
        if result == -1:
            raise OSError(ctypes.get_errno(), "")
        return result

    return call


def outcome(attempt: Attempt) -> str:
    """Say "done", or the error's name."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    except Exception as error:  # whatever it is, the test compares its name
        return type(error).__name__
    return "done"


def outcomes(attempts: dict[str, Attempt]) -> dict[str, str]:
    return {name: outcome(attempt) for name, attempt in attempts.items()}


def fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def early_thread() -> Callable[[Attempt], str]:
    """Start a thread now; what is returned tries something in it."""
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit(int).result()
    return lambda attempt: pool.submit(outcome, attempt).result()


def no_network() -> dict[str, Any]:
    """Arguments: the port of a listening socket, and that of one to connect to before."""
    port, early_port = map(int, ARGUMENTS)
    early = socket.create_connection(("127.0.0.1", early_port))
    in_thread = early_thread()
    install()
    inet = lambda: socket.socket(socket.AF_INET).close()  # noqa: E731

    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async def unix() -> None:
        server = await asyncio.start_unix_server(greet, "\0" + str(os.getpid()))
        async with server:
            reader, writer = await asyncio.open_unix_connection("\0" + str(os.getpid()))
            assert await reader.read() == b"hello"
            writer.close()

    def early_socket() -> None:
        early.sendall(b"ping")
        assert early.recv(4) == b"ping"

    def echo() -> None:
        assert subprocess.check_output(["echo", "x"]) == b"x\n"

    def family(number: int) -> Attempt:
        kind = socket.SOCK_RAW if number in (16, 17) else socket.SOCK_STREAM
        return lambda: socket.socket(number, kind).close()

    program = (
        "import socket, sys\n"
        "try: socket.socket(socket.AF_INET)\n"
        "except OSError as error: print(error.errno, end='')"
    )

    def after_exec() -> None:
        if output := subprocess.check_output([sys.executable, "-I", "-c", program]):
            raise OSError(int(output), "")

    def after_fork() -> None:
        child = os.fork()
        if child == 0:
            os._exit(getattr(errno, outcome(inet), 0))
        if status := os.waitpid(child, 0)[1] >> 8:
            raise OSError(status, "")

    return {
        "refused": {
            **outcomes(
                {
                    "inet": inet,
                    "inet6": family(socket.AF_INET6),
                    "netlink": family(16),
                    "packet": family(17),
                    "vsock": family(40),
                    "no family": raw(41, 0, 1, 0),
                    "connect": lambda: socket.create_connection(("127.0.0.1", port)).close(),
                    "inet pair": lambda: socket.socketpair(socket.AF_INET),
                    "inet with garbage": raw(41, HIGH | 2, 1, 0),
                    "inet6 with garbage": raw(41, HIGH << 31 | 10, 1, 0),
                    "pair with garbage": raw(53, HIGH | 2, 1, 0, 0),
                    "after exec": after_exec,
                    "after fork": after_fork,
                }
            ),
            "in thread": in_thread(inet),
        },
        "io_uring": outcomes(
            {
                "setup": raw(425, 1, bytes(120)),
                "enter": raw(426, 0xFFFFFFFF, 0, 0, 0, 0, 0),
                "register": raw(427, 0xFFFFFFFF, 0, 0, 0),
            }
        ),
        "works": outcomes(
            {
                "unix with garbage": raw(41, HIGH | 1, 1, 0),
                "pair": socket.socketpair,
                "asyncio": lambda: asyncio.run(unix()),
                "early socket": early_socket,
                "echo": echo,
                "hosts": lambda: socket.getaddrinfo("127.0.0.1", 80),
            }
        ),
    }


def no_exec() -> dict[str, Any]:
    in_thread = early_thread()
    install()
    execute: Attempt = lambda: os.execv("/nowhere", ["x"])  # noqa: E731

    memory = os.memfd_create("x")
    os.write(memory, b"no program")

    def shell() -> None:
        # system(3) says 127 where no shell could be started.
        if os.system("exit 3") != 3 << 8:
            raise OSError(errno.EACCES, "")

    def thread() -> None:
        results: list[int] = []
        new = threading.Thread(target=results.append, args=(1,))
        new.start()
        new.join()
        assert results == [1]

    def processes() -> Any:
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        child = context.Process(target=lambda: there.send(outcome(execute)))
        child.start()
        child.join()
        assert child.exitcode == 0
        return here.recv()

    return {
        "refused": {
            **outcomes(
                {
                    "run": lambda: subprocess.check_call(["true"]),
                    "run path": lambda: subprocess.check_call(["/bin/true"], close_fds=False),
                    "exec": execute,
                    "execp": lambda: os.execvp("true--no", ["x"]),
                    "exec fd": lambda: os.execve(memory, ["x"], {}),
                    "execveat": raw(322, memory, b"\0", 0, 0, 0x1000),
                    "spawn": lambda: os.posix_spawn("/bin/true", ["x"], {}),
                    "system": shell,
                }
            ),
            "in thread": in_thread(execute),
            "in process": processes(),
        },
        "works": outcomes({"thread": thread, "fork": fork}),
    }


def compute_only() -> dict[str, Any]:
    """Read text from stdin, answer on stdout. Argument: a file that it may not open."""
    secret = ARGUMENTS[0]
    in_thread = early_thread()
    folder = os.open("/", os.O_RDONLY)
    page = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    reader, writer = os.pipe()
    install()

    def compute() -> None:
        text = sys.stdin.buffer.read()
        assert text == b"text " * 1000
        assert zlib.decompress(zlib.compress(text)) == text
        assert hashlib.sha256(text).hexdigest().startswith("ef92")
        assert str(decimal.Decimal(1) / 8) == "0.125"
        assert json.loads(json.dumps({"a": [1, 2.5, None]})) == {"a": [1, 2.5, None]}

    def allocate() -> None:
        block = bytearray(200 << 20)
        block[-1] = 1
        block.extend(bytes(100 << 20))
        many = [[index] for index in range(200_000)]
        del block, many
        gc.collect()

    def descriptors() -> None:
        copy = os.dup(writer)
        os.set_inheritable(copy, True)
        os.set_blocking(copy, False)
        os.write(copy, b"x")
        assert os.read(reader, 1) == b"x"
        os.close(copy)
        os.isatty(1)
        os.fstat(1)
        fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 50)

    def clocks() -> None:
        time.sleep(0.001)
        time.monotonic()
        time.process_time()
        time.thread_time()
        time.clock_gettime(-6)  # MAKE_PROCESS_CPUCLOCK(0, CPUCLOCK_SCHED)
        ring: list[int] = []
        signal.signal(signal.SIGALRM, lambda *_: ring.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while not ring:
            time.sleep(0.01)

    lock = fcntl.F_SETLK
    return {
        "refused": {
            **outcomes(
                {
                    "open": lambda: open(secret).close(),
                    "open there": lambda: os.open("etc", os.O_RDONLY, dir_fd=folder),
                    "create": lambda: os.open(secret + ".new", os.O_WRONLY | os.O_CREAT),
                    "stat": lambda: os.stat(secret),
                    "list": lambda: os.listdir("/"),
                    "unlink": lambda: os.unlink("/nowhere"),
                    "chdir": lambda: os.chdir("/"),
                    "socket": socket.socket,
                    "unix": lambda: socket.socket(socket.AF_UNIX),
                    "pair": socket.socketpair,
                    "pipe": os.pipe,
                    "memfd": lambda: os.memfd_create("x"),
                    "fork": fork,
                    "vfork": lambda: os.posix_spawn("/bin/true", ["x"], {}),
                    "exec": lambda: os.execv("/nowhere", ["x"]),
                    "kill": lambda: os.kill(os.getpid(), 0),
                    "tgkill": raw(234, os.getpid(), os.getpid(), 0),
                    "pidfd": lambda: os.pidfd_open(os.getpid()),
                    "ptrace": raw(101, 16, 0x7FFFFFFF, 0, 0),
                    "read another": raw(310, os.getpid(), 0, 0, 0, 0, 0),
                    "map code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
                    "map code there": raw(9, address, 4096, 7, 0x32, HIGH - 1, 0),
                    "map there": raw(9, address, 4096, 3, 0x32, HIGH - 1, 0),
                    "make code": raw(10, address, 4096, 5),
                    "make code with a key": raw(329, address, 4096, 5, 0xFFFFFFFFFFFFFFFF),
                    "map again": raw(216, address, 4096, 0, 0, 0),
                    "move there": raw(25, address, 4096, 4096, 3, address),
                    "grow": raw(25, address, 4096, 4096, 0, 0),
                    "asynchronous": raw(72, folder, 4, 0x2000),
                    "time of another": raw(228, ~os.getppid() << 3 & HIGH - 1 | 2, bytes(16)),
                    "shared": raw(29, 0, 4096, 0o1777),
                    "attach": raw(30, 0, 0, 0o100000),
                    "personality": raw(135, 0x0400000),
                    "limit": raw(302, 0, resource.RLIMIT_CORE, bytes(16), 0),
                    "limits of another": lambda: resource.prlimit(
                        os.getppid(), resource.RLIMIT_CORE
                    ),
                    "affinity of another": lambda: os.sched_getaffinity(os.getppid()),
                    "lock": lambda: fcntl.fcntl(reader, lock, bytes(32)),
                    "owner": lambda: fcntl.fcntl(reader, fcntl.F_SETOWN, os.getpid()),
                    "dumpable": raw(157, 4, 1, 0, 0, 0),
                }
            ),
            "in thread": in_thread(lambda: open(secret).close()),
        },
        "absent": outcomes({"clone3": raw(435, 0, 0)}),
        "no terminal": outcomes({"ioctl": raw(16, 1, 0x541B, 0)}),
        "no thread": outcomes({"thread": threading.Thread(target=int).start}),
        "works": outcomes(
            {
                "compute": compute,
                "allocate": allocate,
                "descriptors": descriptors,
                "clocks": clocks,
                "limits": lambda: resource.getrlimit(resource.RLIMIT_NOFILE),
                "affinity": lambda: os.sched_getaffinity(0),
                "random": lambda: os.urandom(8),
            }
        ),
        "early thread": {"compute": in_thread(gc.collect)},
    }


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /work with something computed, /attempts with what was refused."""

    protocol_version = "HTTP/1.1"
    file: str
    refused: dict[str, Attempt]
    works: dict[str, Attempt]

    def do_GET(self) -> None:
        content = getattr(self, "get_" + self.path[1:])()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def get_work(self) -> bytes:
        # First imported here: Python modules and, where they are, shared objects.
        import colorsys
        import sqlite3
        import statistics

        with open(self.file) as file:
            text = file.read()
        database = sqlite3.connect(":memory:")
        database.execute("create table words (word)")
        database.executemany("insert into words values (?)", [(x,) for x in text.split()])
        (count,) = database.execute("select count(*) from words").fetchone()
        database.close()
        packed = len(zlib.compress(text.encode()))
        mean = statistics.mean([1, 2, 3])
        return json.dumps([count, packed, mean, colorsys.rgb_to_hsv(0, 0, 0)[2]]).encode()

    def get_attempts(self) -> bytes:
        return json.dumps(
            {
                "refused": outcomes(self.refused),
                "absent": outcomes(
                    {
                        "clone3": raw(435, 0, 0),
                        "openat2": raw(437, HIGH - 100, b"/\0", 0, 0),
                        "io_uring_setup": raw(425, 1, bytes(120)),
                    }
                ),
                "works": outcomes(self.works),
            }
        ).encode()

    def get_quit(self) -> bytes:
        threading.Thread(target=self.server.shutdown).start()
        return b"bye"

    def log_message(self, *_: Any) -> None:
        pass


def web_worker() -> dict[str, Any]:
    """Arguments: a listening socket's descriptor; a file to read; where files may be written."""
    listening = socket.socket(fileno=int(ARGUMENTS[0]))
    address = listening.getsockname()
    Handler.file, folder = ARGUMENTS[1:]
    old, new = folder + "/old", folder + "/new"
    database = folder + "/database"
    heartbeat = os.open(old, os.O_RDWR)
    server = http.server.ThreadingHTTPServer(address, Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.daemon_threads = False  # so that the last answer is sent
    in_thread = early_thread()
    install()
    fast_open = 0x20000000  # MSG_FASTOPEN
    Handler.refused = {
        "run": lambda: subprocess.check_call(["/bin/true"]),
        "exec": lambda: os.execv("/nowhere", ["x"]),
        "fork": fork,
        "write": lambda: os.open(old, os.O_WRONLY),
        "append": lambda: open(old, "a").close(),
        "read and write": lambda: open(old, "r+").close(),
        "truncate": lambda: os.open(old, os.O_RDONLY | os.O_TRUNC),
        "create": lambda: os.open(new, os.O_RDONLY | os.O_CREAT),
        "write with garbage": raw(257, HIGH - 100, old.encode() + b"\0", HIGH | os.O_WRONLY, 0),
        "old open": raw(2, old.encode() + b"\0", os.O_RDONLY | os.O_TRUNC, 0),
        "rename": lambda: os.rename("/nowhere", new),
        "unlink": lambda: os.unlink("/nowhere"),
        "chmod": lambda: os.chmod(old, 0o600),
        "timestamps": lambda: os.utime(old, (0, 0)),
        "mkdir": lambda: os.mkdir("/nowhere/new"),
        "inet": lambda: socket.socket(socket.AF_INET),
        "unix": lambda: socket.socket(socket.AF_UNIX),
        "datagrams": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
        "connect": lambda: listening.connect(address),
        "bind": lambda: listening.bind(address),
        "send to": lambda: listening.sendto(b"x", address),
        "send message to": lambda: listening.sendmsg([b"x"], [], fast_open, address),
        "unshare": raw(272, 0x10000000),  # CLONE_NEWUSER
        # The next three have flags that the kernel does not take together, so they are harmless.
        "process": raw(56, 0x800 | 17, 0, 0, 0, 0),  # CLONE_SIGHAND
        "process in new namespace": raw(56, 0x10000000 | 0x200 | 17, 0, 0, 0, 0),
        "thread in new namespace": raw(56, 0x10000 | 0x10000000, 0, 0, 0, 0),
        "setns": raw(308, 0, 0),
        "ptrace": raw(101, 3, 0, 0, 0),
        "kill": lambda: os.kill(os.getpid(), 0),
        "bpf": raw(321, 99, 0, 0),
        "userfaultfd": raw(323, HIGH - 1),
        "keyctl": raw(250, 99, 0, 0, 0, 0),
        "perf": raw(298, 0, 0, 0, 0, 0),
        "attach filter": lambda: listening.setsockopt(1, 26, bytes(16)),
        "make code": raw(10, 0, 4096, 4),
    }

    def tune() -> None:
        for level, name in (
            (6, 1),
            (6, 4),
            (6, 5),
            (6, 6),
            (6, 12),
            (1, 2),
            (1, 7),
            (1, 8),
            (1, 9),
        ):
            listening.setsockopt(level, name, 1)
        listening.setblocking(False)
        listening.setblocking(True)

    def read_database() -> None:
        import sqlite3

        connection = sqlite3.connect(database)
        assert connection.execute("select * from numbers").fetchall() == [(7,)]
        connection.close()

    Handler.works = {
        "pair": socket.socketpair,
        "tune": tune,
        "database": read_database,
        "list": lambda: os.listdir(folder),
        "timestamps": lambda: os.utime(heartbeat, (1, 1)),
        "read with garbage": raw(257, HIGH - 100, old.encode() + b"\0", HIGH << 31, 0),
    }
    early = in_thread(Handler.refused["create"])
    server.serve_forever()
    server.server_close()
    return {"in thread": early}


def asyncio_worker() -> dict[str, Any]:
    listening = socket.socket(fileno=int(ARGUMENTS[0]))
    install()

    async def serve() -> None:
        finished = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            body = b"x" * (4 << 20)  # more than fits, so that it waits for the client
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            writer.writelines([body[: len(body) // 2], body[len(body) // 2 :]])
            await writer.drain()
            writer.close()
            finished.set()

        async with await asyncio.start_server(answer, sock=listening):
            await finished.wait()
            await asyncio.get_running_loop().run_in_executor(None, int)
            await asyncio.sleep(0.05)

    asyncio.run(serve())
    return {}


def unix_client() -> dict[str, Any]:
    """Arguments: the path of an AF_UNIX socket."""
    install()
    client = socket.socket(socket.AF_UNIX)
    works = {"connect": outcome(lambda: client.connect(ARGUMENTS[0]))}
    return {"works": works, "refused": {"inet": outcome(lambda: socket.socket(socket.AF_INET))}}


def unix_client_refused() -> dict[str, Any]:
    install()
    return {"unix": outcome(lambda: socket.socket(socket.AF_UNIX))}


def fail() -> dict[str, Any]:
    install()
    raise ArithmeticError("on purpose")


def abort() -> dict[str, Any]:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    install()
    os.abort()


if __name__ == "__main__":
    role = os.environ.get("ROLE", POLICY)
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(globals()[role]()), flush=True)
