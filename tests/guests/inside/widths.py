"""Make calls with other bits in one argument, and say which of them the kernel took the same.

Runs in the guests and on this machine: standard library only, Python 3.9 or newer. Children make
the calls, by machine code, as a user without rights, in a session of their own. They find
descriptors and memory where `DESCRIPTORS` and `MEMORY` say, so that calls can be written down
before.
"""

import contextlib
import ctypes
import json
import mmap
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from guests.inside import machine_code
from guests.inside.confined import NOWHERE, libc, packed
from guests.inside.machine_code import CALL_WORDS, COUNT, END, HEADER, MADE, RESULT

FILE, DIRECTORY, SOCKET, EPOLL, EVENT, PIPE = DESCRIPTORS = range(40, 46)
"""Descriptors of children."""

MEMORY = 0x20000000
"""The address of some pages, below what registers of 32 bits hold, if they are signed, too."""
EMPTY, HERE, NAME, SCRATCH = (MEMORY + 0x1000 * page for page in range(4))
"""Addresses of zeros; of the path of the directory that children work in; of that of a file that is
not there; of zeros that calls may unmap."""
_PAGES = 5

USER = 54321
"""User and group of the children, which nothing else has."""

TOGETHER, ALONE, MEMORY_TOO = range(3)
"""The children that make series of calls: one for all; one for each, since others would notice what
the calls do; and one for all that has memory of its own, as these change what is mapped."""

SAME, OTHER, UNSTABLE = "=", "!", "?"
"""What became of a call: the same as with the first arguments; something else; or these do not come
to the same twice, or the child did not live to tell."""

_HANGS = 0.1
_IGNORED = (1, 16, signal.SIGXFSZ)
"""Signals that calls send their own process, by any ABI's numbers; and that of a full file."""
_MOST_BYTES = 1 << 16
"""The size of a file."""
_STACK_SIZE = 1 << 16
_PR_SET_PDEATHSIG = 1
_CLONE_VM = 0x100


class Series(NamedTuple):
    """Calls to make one after the other: one, some that should be the same, that one again, others.

    ``first`` is the place of the first among all; ``child`` says who makes them.
    """

    first: int
    same: int
    others: int
    child: int

    @property
    def length(self) -> int:
        """How many calls there are."""
        return self.same + self.others + 2


def planned_outcomes(directory: str) -> "list[str]":
    """Return the `outcomes` of what ``guests.widths.plan`` wrote."""
    with open(f"{directory}/widths.json") as file:
        plan = json.load(file)
    with open(f"{directory}/widths", "rb") as binary:
        calls = binary.read()
    all_series = [Series(*one) for one in plan["series"]]
    return outcomes(plan["abi"], plan["numbers"], calls, all_series)


def outcomes(
    abi: str, nrs: "Mapping[str, int]", calls: bytes, all_series: "Sequence[Series]"
) -> "list[str]":
    """Return for each series what became of its calls, but for the one that is made twice."""
    with _scene() as folder:
        widths = _Widths(abi, nrs, calls, folder)
        found = [""] * len(all_series)
        for child in (TOGETHER, MEMORY_TOO):
            left = [n for n, one in enumerate(all_series) if one.child == child]
            while left:
                seen = widths.outcomes([all_series[n] for n in left], child)
                for n, outcome in zip(left, seen):  # noqa: B905 - Python 3.9
                    found[n] = outcome
                left = left[len(seen) :]
        for n, one in enumerate(all_series):
            if one.child == ALONE:
                (found[n],) = widths.outcomes([one], ALONE)
    return found


class _Widths:
    def __init__(self, abi: str, nrs: "Mapping[str, int]", calls: bytes, folder: str) -> None:
        self._calls = calls
        become = [
            (nrs["setsid"],),
            (nrs["prctl"], _PR_SET_PDEATHSIG, signal.SIGKILL),
            (nrs["setgroups"],),
            (nrs["setresgid"], USER, USER, USER),
            (nrs["setresuid"], USER, USER, USER),
        ]
        self._before = b"".join(map(packed, become))
        self._code = machine_code.load(abi)
        self._make = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(self._code)
        self._map = mmap.mmap(-1, 8 * HEADER + len(self._before) + len(calls))
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._words = memoryview(self._map).cast("Q")
        # On ABIs of 32 bits a result is the lower half of its word; they are little-endian.
        wide = sys.maxsize > 2**32
        self._results = memoryview(self._map).cast("q" if wide else "i")
        self._unit = 1 if wide else 2
        stack = mmap.mmap(-1, _STACK_SIZE)
        self._stack = stack
        end = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + _STACK_SIZE
        self._top = ctypes.c_void_p(end - 512)
        _map_memory()
        _open_descriptors(folder)

    def outcomes(self, all_series: "Sequence[Series]", child: int) -> "list[str]":
        """Have a child make these calls; return what became of them, up to where it ended."""
        size = 8 * CALL_WORDS
        calls = self._before + b"".join(
            self._calls[one.first * size : (one.first + one.length) * size] for one in all_series
        )
        self._map[8 * HEADER : 8 * HEADER + len(calls)] = calls
        self._words[MADE], self._words[COUNT] = 0, len(calls) // size
        self._words[END] = NOWHERE
        _fill_memory()
        if child == MEMORY_TOO:
            pid = os.fork()
            if pid == 0:
                self._make(self._address)
        else:
            pid = libc.clone(self._code, self._top, _CLONE_VM | signal.SIGCHLD, self._address)
            if pid < 0:
                raise OSError(ctypes.get_errno(), "clone")
        self._watch(pid)
        at = len(self._before) // size
        made = self._words[MADE]
        if made < at:
            raise OSError(f"the child made {made} calls of those before the first")
        found: list[str] = []
        for one in all_series:
            if at + one.length > made:
                return [*found, UNSTABLE * (one.length - 2)]
            start = (HEADER + RESULT + CALL_WORDS * at) * self._unit
            step = CALL_WORDS * self._unit
            results = self._results[start : start + step * one.length : step].tolist()
            found.append(_outcome(results, one.same + 1))
            at += one.length
        return found

    def _watch(self, child: int) -> None:
        """Wait until the child ends; kill it where it hangs, which it does not while it can run."""
        last, since = -1, time.monotonic()
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.0005)
            now = self._words[MADE]
            passed = time.monotonic() - since
            if now != last or (passed > _HANGS and _can_run(child)):
                last, since = now, time.monotonic()
            elif passed > _HANGS:
                os.kill(child, signal.SIGCONT)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return


def _outcome(results: "list[int]", again: int) -> str:
    """Return what became of a series; the call at ``again`` is the first once more."""
    if results[0] != results[again]:
        # New descriptors, times: that it succeeds may be all that is the same.
        results = [result if -4096 < result < 0 else 0 for result in results]
    first, second = results[0], results.pop(again)
    if first != second:
        return UNSTABLE * (len(results) - 1)
    return "".join([SAME if result == first else OTHER for result in results[1:]])


@contextlib.contextmanager
def _scene() -> "Iterator[str]":
    """Be where children work, with their limits and the signals that they ignore."""
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o777)
    before = os.getcwd()
    limits = {
        what: resource.getrlimit(what) for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)
    }
    handlers = [(number, signal.signal(number, signal.SIG_IGN)) for number in _IGNORED]
    try:
        os.chdir(folder)
        for what, (_, most) in limits.items():
            size = 0 if what == resource.RLIMIT_CORE else _MOST_BYTES
            resource.setrlimit(what, (size, most))
        yield folder
    finally:
        for what, old in limits.items():
            resource.setrlimit(what, old)
        for number, handler in handlers:
            signal.signal(number, handler)
        os.chdir(before)
        shutil.rmtree(folder)


def _map_memory() -> None:
    anonymous = 0x800 if os.uname().machine.startswith("mips") else mmap.MAP_ANONYMOUS
    flags = mmap.MAP_PRIVATE | anonymous | 0x100000  # MAP_FIXED_NOREPLACE
    function = ctypes.PyDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    if function(MEMORY, 0x1000 * _PAGES, protection, flags, -1, 0) != MEMORY:
        raise OSError(ctypes.get_errno(), "no memory at the address that calls go by")


def _fill_memory() -> None:
    ctypes.memset(MEMORY, 0, 0x1000 * _PAGES)
    ctypes.memmove(HERE, b".", 2)
    ctypes.memmove(NAME, b"none", 5)


def _open_descriptors(folder: str) -> None:
    pair = socket.socketpair()
    pair[0].setblocking(False)
    file = os.open(os.path.join(folder, "file"), os.O_RDWR | os.O_CREAT, 0o666)
    os.write(file, bytes(100))
    read, _ = os.pipe2(os.O_NONBLOCK)
    opened = {
        FILE: file,
        DIRECTORY: os.open(folder, os.O_RDONLY | os.O_DIRECTORY),
        SOCKET: pair[0].detach(),
        EPOLL: libc.epoll_create(1),
        EVENT: libc.eventfd(1, os.O_NONBLOCK),
        PIPE: read,
    }
    for wanted, fd in opened.items():
        os.dup2(fd, wanted)


def _can_run(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return stat.read().rpartition(b")")[2].split()[0] == b"R"
