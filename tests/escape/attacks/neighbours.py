"""Neighbours: to look into other processes, or to change how they run."""

import ctypes
import errno
import mmap
import os
import resource
import select
import struct
import time
from collections.abc import Callable, Generator

from escape.attack import attack
from escape.scene import ANOTHER_USER, HIGH, IS_64_BIT, Foiled, Scene, Unavailable, narrow

Steps = Generator[None, None, None]


def _looks(name: str, look: "Callable[[Scene, int, ctypes.c_int], object]", **against: str) -> None:
    def body(scene: Scene) -> Steps:
        word = ctypes.c_int(0x12345678)
        neighbour = scene.neighbour()
        yield
        try:
            look(scene, neighbour.pid, word)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENODEV) and name == "move_its_pages":
                raise Unavailable(f"not on this machine: {error.strerror}") from error
            raise

    body.__name__ = name
    attack(abis=(), **against)(body)


def _vectors(word: ctypes.c_int) -> "tuple[bytes, bytes]":
    mine = ctypes.c_int(0)
    return (
        struct.pack("@PN", ctypes.addressof(mine), 4),
        struct.pack("@PN", ctypes.addressof(word), 4),
    )


def _read_memory(scene: Scene, pid: int, word: ctypes.c_int) -> None:
    mine, its = _vectors(word)
    scene.call("process_vm_readv", pid, mine, 1, its, 1, 0)


def _write_memory(scene: Scene, pid: int, word: ctypes.c_int) -> None:
    mine, its = _vectors(word)
    scene.call("process_vm_writev", pid, mine, 1, its, 1, 0)


def _advise(scene: Scene, pid: int, word: ctypes.c_int) -> None:
    page = ctypes.addressof(word) & -mmap.PAGESIZE
    vector = struct.pack("@PN", page, mmap.PAGESIZE)
    scene.call("process_madvise", scene.call("pidfd_open", pid, 0), vector, 1, 20, 0)  # MADV_COLD


_BOTH = {"compute_only": "names", "web_worker": "others"}
_LAYER = {**_BOTH, "no_escape": "processes"}
_looks("attach", lambda s, pid, w: s.call("ptrace", 16, pid, 0, 0), **_LAYER)
_looks("seize", lambda s, pid, w: s.call("ptrace", 0x4206, pid, 0, 0), **_LAYER)
_looks("attach_with_garbage_above", lambda s, pid, w: s.call("ptrace", HIGH | 16, pid, 0, 0)
       if not IS_64_BIT else s.call("ptrace", 16, HIGH | pid, 0, 0), **_LAYER)  # fmt: skip
_looks("read_its_memory", _read_memory, **_LAYER)
_looks("write_its_memory", _write_memory, **_LAYER)
_looks("write_its_memory_by_proc", lambda s, pid, w: os.pwrite(
    os.open(f"/proc/{pid}/mem", os.O_RDWR), b"\1\0\0\0", ctypes.addressof(w)), **_BOTH)  # fmt: skip
_looks("advise_its_memory", _advise, **_LAYER)
_looks("compare", lambda s, pid, w: s.call("kcmp", os.getpid(), pid, 0, 0, 0), **_LAYER)
_looks("a_descriptor_of_it", lambda s, pid, w: s.call("pidfd_open", pid, 0), **_BOTH)
_looks("its_namespaces", lambda s, pid, w: s.call(
    "setns", s.call("pidfd_open", pid, 0), 0x20000), no_escape="namespaces", **_BOTH)  # fmt: skip
_looks("its_priority", lambda s, pid, w: os.setpriority(os.PRIO_PROCESS, pid, 5), **_BOTH)
_looks("its_processors", lambda s, pid, w: os.sched_setaffinity(pid, {0}), **_BOTH)
_looks("its_scheduling", lambda s, pid, w: s.call(
    "sched_setscheduler", pid, 3, bytes(4)), **_BOTH)  # fmt: skip
_looks("its_attributes", lambda s, pid, w: s.call(
    "sched_setattr", pid, struct.pack("=IIQiIQQQ", 48, 3, *[0] * 6), 0), **_BOTH)  # fmt: skip
_looks("its_io_priority", lambda s, pid, w: s.call("ioprio_set", 1, pid, 2 << 13 | 7), **_BOTH)
_looks("its_limits", lambda s, pid, w: resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0)), **_BOTH)
_looks("move_its_pages", lambda s, pid, w: s.call("move_pages", pid, 0, 0, 0, 0, 0), **_LAYER)
_looks("its_core_cookie", lambda s, pid, w: _core_cookie(s, pid), **_BOTH)

_NAMES = {"compute_only": "names"}
_looks("read_its_limits", lambda s, pid, w: resource.prlimit(pid, resource.RLIMIT_CORE), **_NAMES)
_looks("read_its_processors", lambda s, pid, w: os.sched_getaffinity(pid), **_NAMES)
_looks("read_its_priority", lambda s, pid, w: os.getpriority(os.PRIO_PROCESS, pid), **_NAMES)
_looks("read_its_scheduling", lambda s, pid, w: os.sched_getscheduler(pid), **_NAMES)
_looks("read_its_group", lambda s, pid, w: os.getpgid(pid), **_NAMES)
_looks("read_its_session", lambda s, pid, w: os.getsid(pid), **_NAMES)
_looks("read_its_robust_list", lambda s, pid, w: s.call(
    "get_robust_list", pid, bytes(8), bytes(8)), **_NAMES)  # fmt: skip
_looks("read_its_io_priority", lambda s, pid, w: s.call("ioprio_get", 1, pid), **_NAMES)


def _core_cookie(scene: Scene, pid: int) -> None:
    try:
        scene.call("prctl", 62, 0, pid, 0, ctypes.c_ulong())
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENODEV):
            raise Unavailable("the processor has no two threads a core") from error
        raise


def _clock(pid: int, kind: int = 2) -> int:
    """Return the clock of a process's CPU time: MAKE_PROCESS_CPUCLOCK of posix-timers.h."""
    return ~pid << 3 | kind


_TIME = bytes(16)
_looks("wait_for_it", lambda s, pid, w: os.waitpid(pid, os.WNOHANG), **_NAMES)
_looks("its_clock", lambda s, pid, w: s.call("clock_gettime", _clock(pid), _TIME), **_NAMES)
_looks("its_clock_of_user_time", lambda s, pid, w: s.call(
    "clock_gettime", _clock(pid, 1), _TIME), **_NAMES)  # fmt: skip
_looks("its_clock_for_64_bits", lambda s, pid, w: s.call(
    "clock_gettime64", _clock(pid), _TIME), **_NAMES)  # fmt: skip
_looks("its_clocks_resolution", lambda s, pid, w: s.call(
    "clock_getres", _clock(pid), _TIME), **_NAMES)  # fmt: skip
_looks("its_clock_with_garbage_above", lambda s, pid, w: s.call(
    "clock_gettime", HIGH << 3 | _clock(pid) & 0xFFFFFFFF, _TIME) if IS_64_BIT else narrow(),
    **_NAMES)  # fmt: skip
_looks("sleep_by_its_clock", lambda s, pid, w: s.call(
    "clock_nanosleep", _clock(pid), 1, _TIME, 0), **_NAMES)  # fmt: skip


# --- Locks that lend their owner a priority -------------------------------------------------------
# The owner is a number in memory, of any thread: whoever locks tells the kernel whom it waits for.

_TRYLOCK_PI, _LOCK_PI, _LOCK_PI2 = 8, 6, 13


def _lock(scene: Scene, pid: int, operation: int, seconds: int = 0) -> None:
    """Lock what a process is said to hold, up to a moment of the clock of the time of day."""
    word = scene.memory()
    ctypes.c_uint32.from_address(word).value = pid
    name = "futex" if scene.has("futex") else "futex_time64"
    moment = struct.pack("@ll" if name == "futex" else "=qq", seconds, 0)
    try:
        scene.call(name, word, operation, 0, moment)
    except OSError as error:
        # It is there, and goes on to hold the lock.
        if error.errno not in (errno.EAGAIN, errno.ETIMEDOUT):
            raise


_looks("ask_for_its_lock", lambda s, pid, w: _lock(s, pid, _TRYLOCK_PI), **_NAMES)
_looks("wait_for_its_lock", lambda s, pid, w: _lock(s, pid, _LOCK_PI), **_NAMES)
_looks("wait_for_its_lock_by_another_clock", lambda s, pid, w: _lock(s, pid, _LOCK_PI2), **_NAMES)
_looks("ask_for_its_lock_with_garbage_above", lambda s, pid, w: _lock(
    s, pid, HIGH | _TRYLOCK_PI) if IS_64_BIT else narrow(), **_NAMES)  # fmt: skip
_looks("ask_for_its_lock_by_a_clock", lambda s, pid, w: _lock(s, pid, 256 | _LOCK_PI2), **_NAMES)


@attack(compute_only="names", web_worker="others")
def lend_it_a_priority(scene: Scene) -> Steps:
    """Wait in real time for another user's process, which runs before all others then."""
    scene.privileged()
    waiting = scene.neighbour(user=ANOTHER_USER)
    reader, writer = os.pipe()

    def watch() -> None:
        with open(f"/proc/{waiting.pid}/stat") as stat:
            while int(stat.read().rpartition(")")[2].split()[15]) >= 0:
                stat.seek(0)
                time.sleep(0.001)
        os.write(writer, b"x")

    scene.neighbour(watch)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    except OSError as error:
        raise Unavailable(f"no scheduling in real time: {error.strerror}") from error
    yield
    _lock(scene, waiting.pid, _LOCK_PI, seconds=int(time.time()) + 2)
    if not select.select([reader], [], [], 0)[0]:
        raise Foiled("it has the priority that it had")
