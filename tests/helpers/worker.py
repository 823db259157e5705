"""A program to confine: ``worker.py DIRECTORY POLICY HOW [ARGUMENT]...``.

HOW is "confined", or "free" for the same without a filter, which shows that what the filter refuses
would work or fail otherwise. Prints a JSON object: what each thing that it tried came to, "done" or
the name of an error. Runs on Python 3.9, with nothing but the standard library; system call
numbers are those of x86_64.
"""

# It tries system calls, which os names and pathlib hides.
# ruff: noqa: PTH108, PTH116, PTH120, PTH123, PTH208

import asyncio
import contextlib
import ctypes
import decimal
import errno
import fcntl
import gc
import hashlib
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
from typing import Any

# An isolated interpreter does not look for modules beside the script.
sys.path.insert(0, os.path.dirname(__file__))
import worker_servers
from worker_attempts import (
    ARGUMENTS,
    HIGH,
    POLICY,
    Attempt,
    early_thread,
    fork,
    install,
    outcome,
    outcomes,
    raw,
)

del sys.path[0]


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
    roles = {**vars(worker_servers), **globals()}
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(roles[role]()), flush=True)
