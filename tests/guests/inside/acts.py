"""Acts that attempts at the stock filters are made of. Runs in the guests, as `stock` says."""

import ctypes
import mmap
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable

from guests.inside.attempts import ERRNO_NAMES, Attempt, ended
from guests.inside.confined import libc

Numbers = dict[str, int]

FOLDER = "/tmp/stock"
HIGH = 1 << 32
IS_64_BIT = sys.maxsize > 2**32

AT_EMPTY_PATH = 0x1000
O_ASYNC = 0x1000 if os.uname().machine.startswith("mips") else 0x2000


def caller(numbers: Numbers) -> "Callable[..., Attempt | None]":
    def with_name(name: str, *args: "int | bytes") -> "Attempt | None":
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

    return with_name


def wide(attempts: "dict[str, Attempt | None]") -> "dict[str, Attempt | None]":
    """Return the attempts where registers have the 64 bits that they need."""
    return attempts if IS_64_BIT else {}


def in_fork(attempt: Attempt) -> "str | None":
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


def fork_by_number(numbers: Numbers) -> "Attempt | None":
    """Return fork(2) itself, where the ABI has it: the C library takes clone(2)."""
    fork = caller(numbers)("fork")
    me = os.getpid()

    def attempt() -> None:
        assert fork is not None
        fork()
        if os.getpid() != me:
            os._exit(0)

    return fork and attempt


def after_exec() -> str:
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
    program_file = interpreter()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(writer, 1)
            os.execv(program_file, ["python3", "-IS", "-c", program])
        finally:
            os._exit(127)
    os.close(writer)
    with open(reader, "rb") as file:
        said = file.read().decode()
    status = os.waitpid(child, 0)[1]
    return f"{said}, {ended(status)}" if status else said


# Not by socket.create_server() and the like: these look names up, which loads a codec.
def listening() -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


def connected(address: "tuple[str, int]") -> socket.socket:
    client = socket.socket()
    client.connect(address)
    return client


def close_all(sockets: "tuple[socket.socket, ...]") -> None:
    for one in sockets:
        one.close()


def open_pipe() -> None:
    for end in os.pipe():
        os.close(end)


def spawn() -> None:
    os.waitpid(os.posix_spawn("/nowhere", ["x"], {}), 0)


def thread() -> None:
    results: "list[int]" = []
    new = threading.Thread(target=results.append, args=(1,))
    new.start()
    new.join()
    assert results == [1]


def read(path: str) -> None:
    with open(path, "rb") as file:
        assert file.read()


def write(path: str) -> None:
    with open(path, "wb") as file:
        file.write(b"written")


def map_code() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def load() -> Attempt:
    """Return an attempt to load a shared object that is not loaded yet."""
    with open("/proc/self/maps") as file:
        loaded = file.read()
    name = next(x for x in ("libgcc_s.so.1", "libexpat.so.1", "librt.so.1") if x not in loaded)
    return lambda: ctypes.CDLL(name)


def interpreter() -> str:
    return os.readlink("/proc/self/exe")


def loader() -> str:
    """Return the path of the dynamic loader: PT_INTERP of this program; see elf(5)."""
    with open("/proc/self/exe", "rb") as file:
        header = file.read(64)
        table = struct.unpack_from("@L", header, 32 if IS_64_BIT else 28)[0]
        size, count = struct.unpack_from("=HH", header, 54 if IS_64_BIT else 42)
        for place in range(table, table + size * count, size):
            file.seek(place)
            entry = file.read(size)
            if struct.unpack_from("=I", entry)[0] == 3:
                file.seek(struct.unpack_from("@L", entry, 8 if IS_64_BIT else 4)[0])
                return file.read(256).split(b"\0", 1)[0].decode()
    raise LookupError("no PT_INTERP")
