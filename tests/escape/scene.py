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
from typing import NoReturn, Optional

from escape.foreign import PROGRAMS, elf

HIGH = 1 << 32
"""A bit that the kernel does not look at in an argument that it takes as an ``int``."""

SECONDS = 10.0
"""Seconds that an attack waits for its effect; under a filter of ours it never has to."""

ESCAPED = 77
"""The exit status of a program that an attack executed."""

ANOTHER_USER = 65534

BY_NUMBER = {
    "x32": ("x32", "x86_64"),
    "o32": ("mipsel", "mips64el"),
    "n32": ("mips64n32el", "mips64el"),
}
"""ABIs, by what they are called, that a process of the other ABI can call by the number alone."""

FOREIGN = {
    "x86_64": ("i386", "x32"),
    "i386": ("x86_64",),
    "aarch64": ("arm",),
    "arm": ("aarch64",),
    "mips64el": ("mipsel", "mips64n32el"),
}
"""By ABI, the others that the kernel may have beside it."""

_PR_SET_PDEATHSIG = 1
_TIOCSCTTY = termios.TIOCSCTTY

# Each returns 42.
_RETURN_42 = {
    "x86_64": "b82a000000c3",  # mov eax, 42; ret
    "i386": "b82a000000c3",
    "aarch64": "40058052c0035fd6",  # mov w0, 42; ret
    "arm": "2a00a0e31eff2fe1",  # mov r0, 42; bx lr
    "riscv64": "1305a00267800000",  # li a0, 42; ret
    "ppc64le": "2a0060382000804e",  # li 3, 42; blr
    "s390x": "a729002a07fe",  # lghi %r2, 42; br %r14
    "mips64el": "0800e0032a000224",  # jr $31; li $2, 42
    "loongarch64": "04a880022000004c",  # addi.w $a0, $zero, 42; ret
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
        if not select.select([self._pipe], [], [], SECONDS)[0]:
            raise Foiled("the neighbour lives on")


class Scene:
    """Where an attack takes place.

    ``abi`` and ``numbers`` are those of the process, ``foreign`` the numbers of other ABIs by name,
    ``folder`` a directory of its own, in which the file "old" has the content "content".
    ``own_machine`` permits to change what all of the machine's processes share.
    """

    def __init__(
        self,
        abi: str,
        numbers: "dict[str, int]",
        foreign: "dict[str, dict[str, int]]",
        folder: str,
        *,
        own_machine: bool = False,
    ) -> None:
        self.abi = abi
        self.numbers = numbers
        self.foreign = foreign
        self.folder = folder
        self.own_machine = own_machine
        self.old = folder + "/old"
        self.new = folder + "/new"
        self._kept: list[object] = []
        self._place = 0x30000000

    def keep(self, value: object) -> None:
        """Keep something alive of which the kernel has the address."""
        self._kept.append(value)

    # System calls

    def has(self, name: str) -> bool:
        return name in self.numbers

    def call(self, name: str, *args: "int | bytes | object") -> int:
        """Make a system call with all bits of its arguments; bytes stand for their address."""
        if name not in self.numbers:
            raise Unavailable("the ABI has no such call")
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

    def map(self, *args: int) -> int:
        """Map by the number that the C library takes; on s390x the arguments are in memory."""
        if self.abi == "s390x":
            return self.call("mmap", struct.pack("=6Q", *(one & (1 << 64) - 1 for one in args)))
        return self.call("mmap2" if self.has("mmap2") else "mmap", *args)

    def calls_of(self, abi: str) -> "Callable[..., int]":
        """Return what makes calls of another ABI, by names. Addresses must be those of `low`."""
        numbers = self.foreign[abi]
        return lambda name, *args: self.by_number(numbers[name], *args)

    def int80(self) -> "Callable[..., int]":
        """Return a function that makes an i386 call by ``int $0x80``; make it before the filter.

        Addresses must be below 4 GiB: `low` gives such memory.
        """
        # push rbx, rbp; eax, ebx, ecx, edx, esi, edi of six words at rdi; int 0x80; pop
        return self._entrance(
            self.foreign["i386"],
            "=6Q",
            "535541544989fc418b0424418b5c2408418b4c2410418b542418418b742420418b7c242831edcd80415c5d5bc3",
        )

    def far_call(self) -> "Callable[..., int]":
        """Return a function that has a process of i386 make a call of x86_64's, in 64-bit code.

        A far return into the segment of such code is open to every process; make it before the
        filter.
        """
        if os.uname().machine != "x86_64":
            raise Unavailable("a kernel of 32 bits runs no 64-bit code")
        # push ebx, esi, edi, ebp; ebp: the words; far return to 64-bit code; mov ebp, ebp; eax,
        # edi, esi, edx, r10d of the words; r8, r9: 0; syscall; far return to 32-bit code; pop
        return self._entrance(
            self.foreign["x86_64"],
            "=6I",
            "535657558b6c24146a33e80000000083042405cb89ed8b45008b7d048b75088b550c448b55104531c04531c9"
            "0f05e800000000c7442404230000008304240dcb5d5f5e5bc3",
        )

    def _entrance(self, numbers: "dict[str, int]", words: str, code: str) -> "Callable[..., int]":
        """Return what makes calls by machine code, which takes the address of six words."""
        function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(self.code(bytes.fromhex(code)))

        def call(name: str, *args: int) -> int:
            packed = struct.pack(words, numbers[name], *args, *[0] * (5 - len(args)))
            buffer = ctypes.create_string_buffer(packed, len(packed))
            result = int(function(ctypes.addressof(buffer)))
            raise_errno(-result)
            return result

        return call

    def low(self, content: bytes) -> int:
        """Return the address of ``content`` below 2 GiB."""
        anonymous = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        # A place to begin with, as only x86_64 has MAP_32BIT.
        self._place += 0x100000
        address = self.map(self._place, mmap.PAGESIZE, 3, anonymous, -1, 0)
        if address >> 31:
            raise Unavailable("there is no memory below 2 GiB")
        ctypes.memmove(address, content, len(content))
        return address

    def has_direct_sockets(self) -> bool:
        """Say if the C library makes sockets by socket(2); Debian's takes socketcall(2) on two."""
        return self.abi not in ("i386", "s390x")

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
                # Who started the suite may ignore it, as nohup does; what is ignored is inherited.
                signal.signal(signal.SIGHUP, signal.SIG_DFL)
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

    def connected(self, address: "tuple[str, int]") -> socket.socket:
        """Return a client; socket.create_connection() would look the name up."""
        client = socket.socket()
        client.connect(address)
        return client

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

    def goes_on_in_a_child(self, seen: "Callable[[], object]") -> None:
        """Go on in a forked child, and look for the effect of its end, by ``seen``, in its parent.

        For attacks that end the process. ``seen`` raises Foiled if it sees nothing. A child that
        did not end by a signal, or with ESCAPED, has told why not, and that is what counts.
        """
        child = os.fork()
        if child == 0:
            return
        status = os.waitpid(child, 0)[1]
        has_told = os.WIFEXITED(status) and os.WEXITSTATUS(status) != ESCAPED
        try:
            seen()
        except Foiled:
            if not has_told:
                raise
        os._exit(os.WEXITSTATUS(status) if has_told else ESCAPED)

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

    def program_of_another_abi(self) -> str:
        """Return the path of one that ends with ESCAPED if it can make a socket of AF_INET."""
        other, code = PROGRAMS[self.abi]
        path = self.folder + "/program"
        with open(path, "wb") as file:
            file.write(elf(other, bytes.fromhex(code)))
        os.chmod(path, 0o700)
        try:
            self.in_fork(lambda: os.execv(path, [path]))
        except OSError as error:
            if error.errno == errno.ENOEXEC:
                raise Unavailable(f"the kernel starts no programs of {other}") from error
            raise
        return path

    def shell(self) -> "list[str]":
        """Return the arguments of a program that ends with ESCAPED."""
        return ["sh", "-c", f"exit {ESCAPED}"]


def narrow() -> NoReturn:
    """Say that there is no room for garbage above an ``int``."""
    raise Unavailable("registers have no more than 32 bits")


def raise_errno(number: int) -> None:
    """Raise what a call ended with, if that was an errno."""
    if 0 < number < 4096:
        raise OSError(number, os.strerror(number))


def until(condition: "Callable[[], object]", what: str) -> None:
    """Wait until something holds. Raises Foiled."""
    end = time.monotonic() + SECONDS
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
