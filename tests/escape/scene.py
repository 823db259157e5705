"""The means of an attack: system calls by name, neighbours, code to execute.

Standard library only, Python 3.9 or newer, any ABI, so that guests can run it.
"""

import ctypes
import errno
import mmap
import os
import select
import signal
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable
from typing import Optional

HIGH = 1 << 32
"""A bit that the kernel does not look at in an argument that it takes as an ``int``."""

SECONDS = 5.0
"""How long an attack waits for its effect."""

ESCAPED = 77
"""The exit status of a program that an attack executed."""

ANOTHER_USER = 65534

_PR_SET_PDEATHSIG = 1
_TIOCSCTTY = termios.TIOCSCTTY

# Each returns 42.
_RETURN_42 = {
    "x86_64": "b82a000000c3",
    "i386": "b82a000000c3",
    "aarch64": "40058052c0035fd6",
    "riscv64": "1305a00267800000",
}

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Unavailable(Exception):
    """The attack cannot work here, filter or not; the text says why."""


class Foiled(Exception):
    """The calls were answered, but what the attack wanted did not happen."""


class Neighbour:
    """A process that no filter confines, and how to see that it lives."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self._pipe = pipe

    def must_die(self) -> None:
        """Wait until it is dead. Raises Foiled."""
        if not select.select([self._pipe], [], [], SECONDS / 5)[0]:
            raise Foiled("the neighbour lives on")


class Scene:
    """Where an attack takes place.

    ``abi`` and ``numbers`` are those of the process, ``foreign`` the numbers of other ABIs by name,
    ``folder`` a directory of its own, in which the file "old" has the content "content".
    """

    def __init__(
        self, abi: str, numbers: "dict[str, int]", foreign: "dict[str, dict[str, int]]", folder: str
    ) -> None:
        self.abi = abi
        self.numbers = numbers
        self.foreign = foreign
        self.folder = folder
        self.old = folder + "/old"
        self.new = folder + "/new"
        self._kept: list[object] = []

    def keep(self, value: object) -> None:
        """Keep something alive of which the kernel has the address."""
        self._kept.append(value)

    # System calls

    def has(self, name: str) -> bool:
        return name in self.numbers

    def call(self, name: str, *args: "int | bytes | object") -> int:
        """Make a system call with all bits of its arguments; bytes stand for their address."""
        if name not in self.numbers:
            raise Unavailable(f"{self.abi} has no {name}")
        return self.by_number(self.numbers[name], *args)

    def by_number(self, number: int, *args: "int | bytes | object") -> int:
        words = []
        for value in args:
            if isinstance(value, int):
                words.append(ctypes.c_ulong(value))
            else:
                buffer = (
                    ctypes.create_string_buffer(value, len(value))
                    if isinstance(value, bytes)
                    else value
                )
                self._kept.append(buffer)
                words.append(ctypes.c_ulong(ctypes.addressof(buffer)))  # type: ignore[arg-type]
        words += [ctypes.c_ulong(0)] * (6 - len(words))
        ctypes.set_errno(0)
        result = int(libc.syscall(ctypes.c_long(number), *words))
        if result == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    def int80(self) -> "Callable[..., int]":
        """Return a function that makes an i386 call by ``int $0x80``; make it before the filter.

        Addresses must be below 4 GiB: `low` gives such memory.
        """
        if self.abi != "x86_64":
            raise Unavailable("only x86_64 has int $0x80 beside its own way")
        # push rbx, rbp; eax, ebx, ecx, edx, esi, edi of six words at rdi; int 0x80; pop
        code = bytes.fromhex(
            "535541544989fc418b0424418b5c2408418b4c2410418b542418418b742420418b7c242831edcd80415c5d5bc3"
        )
        function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(self.code(code))

        def call(name: str, *args: int) -> int:
            words = struct.pack("=6Q", self.foreign["i386"][name], *args, *[0] * (5 - len(args)))
            buffer = ctypes.create_string_buffer(words, len(words))
            result = int(function(ctypes.addressof(buffer)))
            if -4096 < result < 0:
                raise OSError(-result, os.strerror(-result))
            return result

        return call

    def low(self, content: bytes) -> int:
        """Return the address of ``content`` below 4 GiB."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40  # MAP_32BIT
        memory = mmap.mmap(-1, 4096, flags=flags)
        memory[: len(content)] = content
        self._kept.append(memory)
        return ctypes.addressof(ctypes.c_char.from_buffer(memory))

    def privileged(self) -> None:
        if os.geteuid():
            raise Unavailable("only root can do that")

    # Memory

    def memory(self, size: int = 4096, protection: int = 3) -> int:
        """Return the address of anonymous memory."""
        memory = mmap.mmap(-1, size, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self._kept.append(memory)
        if protection != 3:
            self.call("mprotect", address, size, protection)
        return address

    def code(self, content: bytes) -> int:
        """Return the address of executable memory that holds ``content``."""
        memory = mmap.mmap(
            -1,
            4096,
            flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
            prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC,
        )
        memory[: len(content)] = content
        self._kept.append(memory)
        return ctypes.addressof(ctypes.c_char.from_buffer(memory))

    def payload(self) -> bytes:
        """Return code that proves that it is executed."""
        if self.abi not in _RETURN_42:
            raise Unavailable(f"no code for {self.abi} is at hand")
        return bytes.fromhex(_RETURN_42[self.abi])

    def put(self, address: int) -> None:
        """Write the payload to an address."""
        code = self.payload()
        ctypes.memmove(address, code, len(code))

    def must_execute(self, address: int) -> None:
        """Execute the payload at an address. A fault ends the process: the attack is foiled."""
        assert ctypes.CFUNCTYPE(ctypes.c_int)(address)() == 42

    # Others

    def neighbour(
        self,
        body: "Callable[[], object]" = lambda: time.sleep(60),
        *,
        user: "Optional[int]" = None,
    ) -> Neighbour:
        """Start a process that does ``body``, free of the filter; it ends when this one does.

        It is in a session of its own; when this returns, ``body`` is about to start.
        """
        reader, writer = os.pipe()
        started, starts = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(reader)
                os.setsid()
                if user is not None and os.geteuid() == 0:
                    os.setresgid(user, user, user)
                    os.setresuid(user, user, user)
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                os.write(starts, b"x")
                body()
            finally:
                os._exit(0)
        os.close(writer)
        os.read(started, 1)
        return Neighbour(pid, reader)

    def terminal_of_another(self) -> "tuple[int, int, Neighbour]":
        """Return the master and slave of a terminal whose foreground is another user's process."""
        master, slave = os.openpty()
        ready, tells = os.pipe()

        def sit() -> None:
            import fcntl

            fcntl.ioctl(slave, _TIOCSCTTY, 0)
            os.tcsetpgrp(slave, os.getpid())
            os.write(tells, b"x")
            time.sleep(60)

        neighbour = self.neighbour(sit, user=ANOTHER_USER)
        os.read(ready, 1)
        return master, slave, neighbour

    def listening(self) -> socket.socket:
        server = socket.socket()
        server.bind(("127.0.0.1", 0))
        server.listen()
        return server

    def in_fork(self, body: "Callable[[], object]") -> None:
        """Have a forked child do ``body``; raise what it raised, if that was an OSError."""
        child = os.fork()
        if child == 0:
            code = 255
            try:
                body()
                code = 0
            except OSError as error:
                code = error.errno or 254
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            raise Foiled(f"the child ended by signal {os.WTERMSIG(status)}")
        code = os.WEXITSTATUS(status)
        if code == ESCAPED:
            return
        assert code < 254, "the child failed"
        if code:
            raise OSError(code, os.strerror(code))

    def early_thread(self) -> "Callable[[Callable[[], object]], None]":
        """Start a thread now; what is returned has it do something later."""
        given: list[Callable[[], object]] = []
        raised: list[Optional[BaseException]] = []
        start, done = threading.Event(), threading.Event()

        def work() -> None:
            start.wait()
            try:
                given[0]()
                raised.append(None)
            except BaseException as error:  # it is the outcome
                raised.append(error)
            done.set()

        threading.Thread(target=work, daemon=True).start()

        def in_thread(body: "Callable[[], object]") -> None:
            given.append(body)
            start.set()
            done.wait()
            if raised[0] is not None:
                raise raised[0]

        return in_thread

    def shell(self) -> "list[str]":
        """Return the arguments of a program that ends with ESCAPED."""
        return ["sh", "-c", f"exit {ESCAPED}"]


def until(condition: "Callable[[], object]", what: str) -> None:
    """Wait until something holds. Raises Foiled."""
    end = time.monotonic() + SECONDS / 5
    while not condition():
        if time.monotonic() > end:
            raise Foiled(what)
        time.sleep(0.002)


def sockaddr(port: int, family: int = 2) -> bytes:
    """Return a ``struct sockaddr_in`` of the loopback."""
    return struct.pack("=H", family) + struct.pack(">H", port) + b"\x7f\0\0\1" + bytes(8)


def msghdr(name: bytes, payload: bytes, kept: "list[object]") -> bytes:
    """Return a ``struct msghdr`` that sends ``payload`` to ``name``."""
    name_buffer = ctypes.create_string_buffer(name, len(name))
    data = ctypes.create_string_buffer(payload, len(payload))
    vector = struct.pack("@PN", ctypes.addressof(data), len(payload))
    vector_buffer = ctypes.create_string_buffer(vector, len(vector))
    kept += [name_buffer, data, vector_buffer]
    return struct.pack(
        "@PIPNPNi",
        ctypes.addressof(name_buffer), len(name), ctypes.addressof(vector_buffer), 1, 0, 0, 0,
    )  # fmt: skip


IS_64_BIT = sys.maxsize > 2**32
ERRNO_NAMES = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}
