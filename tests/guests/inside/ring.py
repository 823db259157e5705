"""A ring of io_uring, and filters of its operations, by the three system calls alone.

Runs in the guests: standard library only, Python 3.9 or newer, any ABI. The calls have the same
numbers on every ABI that guests have. Sources: io_uring(7), linux/io_uring.h and
linux/io_uring/bpf_filter.h.
"""

import contextlib
import ctypes
import mmap
import os
import struct
import time
from collections.abc import Sequence
from typing import NamedTuple

SETUP, ENTER, REGISTER = 425, 426, 427

# Of io_uring_setup(2)
SQPOLL = 1 << 1
R_DISABLED = 1 << 6
SUBMIT_ALL = 1 << 7
SQE128 = 1 << 10
SINGLE_ISSUER = 1 << 12
DEFER_TASKRUN = 1 << 13
NO_MMAP = 1 << 14
REGISTERED_FD_ONLY = 1 << 15
NO_SQARRAY = 1 << 16
RESIZABLE = SINGLE_ISSUER | DEFER_TASKRUN | NO_SQARRAY
"""The kernel resizes no ring without the first two, and does not say where the new array is."""

# Of an entry
FIXED_FILE, DRAIN, LINK, HARDLINK, ASYNC, BUFFER_SELECT, SKIP_SUCCESS = (1 << n for n in range(7))

# Of io_uring_register(2)
REGISTER_FILES = 2
REGISTER_PROBE = 8
REGISTER_PERSONALITY = 9
REGISTER_ENABLE_RINGS = 12
REGISTER_SEND_MSG_RING = 31
REGISTER_RESIZE_RINGS = 33
REGISTER_BPF_FILTER = 37
USE_REGISTERED_RING = 1 << 31
THIS_TASK = (1 << 32) - 1
"""-1: what is registered is for the calling thread, and for what it starts."""

DENY_REST, SZ_STRICT = 1, 2

_GETEVENTS, _SQ_WAKEUP, _REGISTERED_RING = 1, 2, 1 << 4
_NEED_WAKEUP = 1
_SECONDS = 20.0
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.syscall.argtypes = [ctypes.c_long] + [ctypes.c_ulong] * 6


class Fprog(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class Done(NamedTuple):
    """A completion: ``result`` is negative for an errno."""

    user_data: int
    result: int
    flags: int


def call(number: int, *args: int) -> int:
    """Make a system call; raises OSError."""
    result = int(libc.syscall(number, *args, *[0] * (6 - len(args))))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def address(buffer: object) -> int:
    """Return the address of a buffer of ctypes."""
    return ctypes.addressof(buffer)  # type: ignore[arg-type]


def entry(
    operation: int,
    fd: int = -1,
    *,
    off: int = 0,
    addr: int = 0,
    length: int = 0,
    op_flags: int = 0,
    flags: int = 0,
    ioprio: int = 0,
    user_data: int = 0,
    buffer: int = 0,
    personality: int = 0,
    file_index: int = 0,
    addr3: int = 0,
) -> bytes:
    """Return a ``struct io_uring_sqe``; ``off`` is also what others call addr2."""
    return struct.pack(
        "=BBHiQQIIQHHIQQ",
        *(operation, flags, ioprio, fd, off, addr, length & 0xFFFFFFFF, op_flags, user_data),
        *(buffer, personality, file_index & 0xFFFFFFFF, addr3, 0),
    )


class Ring:
    """A ring of ``entries``, set up with ``flags``; ``params`` is what the kernel says of it."""

    def __init__(self, entries: int = 1, flags: int = 0) -> None:
        params = ctypes.create_string_buffer(120)
        struct.pack_into("=3I", params, 8, flags, 0, 60000 if flags & SQPOLL else 0)
        memory = []
        if flags & NO_MMAP:
            memory = [mmap.mmap(-1, mmap.PAGESIZE) for _ in range(2)]
            for place, one in zip((112, 72), memory, strict=True):
                where = address(ctypes.c_char.from_buffer(one))
                struct.pack_into("=Q", params, place, where)
        self._lay_out(call(SETUP, entries, address(params)), params.raw, memory)

    @classmethod
    def mapped(cls, number: int, params: bytes) -> "Ring":
        """Return a ring that another process set up, from its descriptor."""
        ring = cls.__new__(cls)
        ring._lay_out(number, params, [])
        return ring

    def _lay_out(self, number: int, params: bytes, memory: "list[mmap.mmap]") -> None:
        self.fd, self.params = number, params
        made, room, flags = struct.unpack_from("=3I", params, 0)
        self._sq = struct.unpack_from("=8I", params, 40)
        self._cq = struct.unpack_from("=8I", params, 80)
        self._size = 128 if flags & SQE128 else 64
        self._polled = bool(flags & SQPOLL)
        self._entering = _REGISTERED_RING if flags & REGISTERED_FD_ONLY else 0
        self._mask, self._cq_mask = made - 1, room - 1
        size = max(self._sq[6] + 4 * made, self._cq[5] + 16 * room)
        self._rings, self._entries = memory or (
            mmap.mmap(number, size),
            mmap.mmap(number, self._size * made, offset=0x10000000),
        )
        for index in range(0 if flags & NO_SQARRAY else made):
            struct.pack_into("=I", self._rings, self._sq[6] + 4 * index, index)

    def _word(self, offset: int) -> int:
        return int(struct.unpack_from("=I", self._rings, offset)[0])

    def submit(self, *entries: bytes, wait: "int | None" = None) -> "list[Done]":
        """Submit entries, and return what completed when ``wait`` have, or all; [] if none wait.

        Raises TimeoutError where they do not complete.
        """
        tail = self._word(self._sq[1])
        for index, one in enumerate(entries):
            place = (tail + index & self._mask) * self._size
            self._entries[place : place + self._size] = one.ljust(self._size, b"\0")
        struct.pack_into("=I", self._rings, self._sq[1], tail + len(entries) & 0xFFFFFFFF)
        if not self._polled:
            flags = _GETEVENTS | self._entering
            self.entered = call(ENTER, self.fd, len(entries), 0, flags)
        elif self._word(self._sq[4]) & _NEED_WAKEUP:
            call(ENTER, self.fd, 0, 0, _SQ_WAKEUP)
        return self.completed(len(entries) if wait is None else wait)

    def completed(self, count: int) -> "list[Done]":
        """Wait for that many completions; return all there are."""
        until = time.monotonic() + _SECONDS
        while (self._word(self._cq[1]) - self._word(self._cq[0])) & 0xFFFFFFFF < count:
            if time.monotonic() > until:
                raise TimeoutError(f"less than {count} completions")
            if not self._polled:  # whose descriptor may be closed
                call(ENTER, self.fd, 0, 0, _GETEVENTS | self._entering)
            time.sleep(0)
        head, tail = self._word(self._cq[0]), self._word(self._cq[1])
        found = []
        while head != tail:
            found.append(
                Done(
                    *struct.unpack_from(
                        "=QiI", self._rings, self._cq[5] + 16 * (head & self._cq_mask)
                    )
                )
            )
            head = head + 1 & 0xFFFFFFFF
        struct.pack_into("=I", self._rings, self._cq[0], head)
        return found

    def one(self, made: bytes) -> int:
        """Return the result of one entry."""
        return self.submit(made)[0].result

    def resize(self, entries: int) -> None:
        """Give it room for that many entries, in other memory; it was set up with RESIZABLE."""
        params = ctypes.create_string_buffer(120)
        struct.pack_into("=I", params, 0, entries)
        call(REGISTER, self.fd, REGISTER_RESIZE_RINGS, address(params), 1)
        self._rings.close()
        self._entries.close()
        self._lay_out(self.fd, params.raw, [])

    def close(self) -> None:
        """Close and unmap it."""
        self._rings.close()
        self._entries.close()
        os.close(self.fd)


def must_be_alone() -> None:
    """Raise RuntimeError if this process has another thread, or a ring in any of its forms."""
    with open("/proc/self/status") as status:
        if "Threads:\t1\n" not in status.read():
            raise RuntimeError("there is another thread")
    names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    with open("/proc/self/maps") as maps:
        if "io_uring" in maps.read() or any(map(_is_ring, names)):
            raise RuntimeError("there is a ring")
    nothing = ctypes.create_string_buffer(16)
    for index in range(16):
        # EBADF: there is none; EINVAL: this thread has had no ring at all.
        with contextlib.suppress(OSError):
            call(REGISTER, index, REGISTER_PROBE | USE_REGISTERED_RING, address(nothing), 0)
            raise RuntimeError("there is a registered ring")


def _is_ring(name: str) -> bool:
    try:
        return "io_uring" in os.readlink(name)
    except OSError:
        return False


def no_new_privs() -> None:
    """Set no_new_privs, without which only root may register filters."""
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, *[ctypes.c_ulong(n) for n in (1, 0, 0, 0)]):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")


def register(
    where: int, operation: int, program: bytes, pdu_size: int, flags: int = SZ_STRICT
) -> int:
    """Register a filter of an operation for a ring, or for THIS_TASK; return the kernel's size.

    Raises OSError; with EMSGSIZE, ``filename2`` is the kernel's size.
    """
    code = ctypes.create_string_buffer(program, len(program))
    asked = ctypes.create_string_buffer(
        struct.pack(
            "=HHIIIIB3xQ40x", 1, 0, 0, operation, flags, len(program) // 8, pdu_size, address(code)
        ),
        72,
    )
    try:
        call(REGISTER, where, REGISTER_BPF_FILTER, address(asked), 1)
    except OSError as error:
        error.filename2 = asked.raw[20]
        raise
    return asked.raw[20]


def seccomp(program: bytes) -> None:
    """Put a program in force for this thread."""
    fprog = Fprog(len(program) // 8, program)
    mode, rest = ctypes.c_ulong(2), ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_SECCOMP, mode, ctypes.byref(fprog), rest, rest):
        raise OSError(ctypes.get_errno(), "seccomp")


def install(policy: "dict[str, object]") -> None:
    """Put a policy of a plan in force for this thread: filters of operations, then a program.

    ``operations`` has by number the size of the fields and the program in hexadecimal digits;
    DENY_REST comes with the last. ``seccomp``, if not "", is a program of seccomp's. Raises
    RuntimeError where a thread or a ring of this process would be left out.
    """
    must_be_alone()
    no_new_privs()
    operations: "Sequence[tuple[str, list]]" = list(policy["operations"].items())  # type: ignore
    for index, (number, (pdu_size, program)) in enumerate(operations):
        flags = SZ_STRICT | (DENY_REST if index == len(operations) - 1 else 0)
        register(THIS_TASK, int(number), bytes.fromhex(program), pdu_size, flags)
    if policy.get("seccomp"):
        seccomp(bytes.fromhex(str(policy["seccomp"])))
