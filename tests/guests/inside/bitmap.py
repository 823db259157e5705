"""Ask the kernel, by the clock, which calls its bitmap answers without running the filter.

/proc/PID/seccomp_cache would tell, but Debian's kernels are built without SECCOMP_CACHE_DEBUG. So
long filters are put in force first: a call that has to run them takes many times as long as one
that has not. Times are compared within one boot only.
"""

import ctypes
import mmap
import os
import struct
import time
from collections.abc import Sequence

from guests.inside import confined

_STACK = 6
_LONG = 4080
_CALLS = 60


def times(nr_seccomp: int, probes: "Sequence[tuple[bytes, Sequence[int]]]") -> "list[list[int]]":
    """Return the nanoseconds that the fastest of some calls took: of each probe, each number.

    A probe is a program and the numbers of harmless calls that it allows.
    """
    count = sum(len(numbers) for _, numbers in probes)
    memory = mmap.mmap(-1, 8 * count + 4096)
    words = memoryview(memory).cast("Q")
    pid = confined.libc.fork()
    if pid == 0:
        try:
            _child(nr_seccomp, probes, words)
        finally:
            confined.libc._exit(1)
    os.waitpid(pid, 0)
    results = []
    place = 0
    for _, numbers in probes:
        results.append(words[place : place + len(numbers)].tolist())
        place += len(numbers)
    return results


def _child(
    nr_seccomp: int, probes: "Sequence[tuple[bytes, Sequence[int]]]", words: memoryview
) -> None:
    # Loads, of what the kernel's check knows: an emulator leaves out idle arithmetic.
    load = struct.pack("=HBBI", 0x20, 0, 0, 0)
    allow = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
    for _ in range(_STACK):
        confined.install_raw(nr_seccomp, load * _LONG + allow)
    place = 0
    for program, numbers in probes:
        pid = confined.libc.fork()
        if pid == 0:
            try:
                _time(nr_seccomp, program, numbers, words[place:])
            finally:
                ctypes.memset(confined.NOWHERE, 0, 1)
        os.waitpid(pid, 0)
        place += len(numbers)


def _time(nr_seccomp: int, program: bytes, numbers: "Sequence[int]", words: memoryview) -> None:
    confined.install_raw(nr_seccomp, program)
    best = [1 << 62] * len(numbers)
    # In turns: where the machine is busy for a while, it is so for all of them.
    for _ in range(_CALLS):
        for index, nr in enumerate(numbers):
            start = time.perf_counter_ns()
            confined.libc.syscall(nr, 0, 0, 0, 0, 0, 0)
            best[index] = min(best[index], time.perf_counter_ns() - start)
    for index, nanoseconds in enumerate(best):
        words[index] = nanoseconds
