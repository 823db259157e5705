"""Make calls with other bits in one argument, and say which of them the kernel took the same.

Runs in the guests and on this machine: standard library only, Python 3.9 or newer. Children make
the calls, by machine code, as a user without rights, in a session of their own. They find
descriptors and memory where `DESCRIPTORS` and `memory` say, so that calls can be written down
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
from guests.inside.confined import NOWHERE, fprog, libc, packed
from guests.inside.machine_code import CALL_WORDS, COUNT, END, HEADER, MADE, RESULT

FILE, DIRECTORY, SOCKET, EPOLL, EVENT, PIPE = DESCRIPTORS = range(40, 46)
"""Descriptors of children."""

EMPTY, HERE, NAME, SCRATCH = (0x1000 * page for page in range(4))
"""Pages of memory: zeros; the path of the directory that children work in; that of a file that is
not there; zeros that calls may unmap."""
_PAGES = 5

USER = 54321
"""User and group of the children, which nothing else has."""

TOGETHER, ALONE, MEMORY_TOO = range(3)
"""The children that make series of calls: one for all; one for each, since others would notice what
the calls do; and one for all that has memory of its own, as these change what is mapped."""

SAME, OTHER, UNSTABLE = "=", "!", "?"
"""What became of a call: the same as with the first arguments; something else; or these do not come
to the same twice, or the child did not live to tell."""

_HANGS, _WORKS = 0.1, 3.0
"""Seconds that a call may sleep, and that it may run."""
_IGNORED = (1, 16, signal.SIGXFSZ)
"""Signals that calls send their own process, by any ABI's numbers; and that of a full file."""
_MOST_BYTES = 1 << 16
"""The size of a file."""
_STACK_SIZE = 1 << 16
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_CLONE_VM = 0x100


def memory(*, wide: bool) -> int:
    """Return the address of the pages, which ABIs of 32 bits can name as well.

    It is beyond the heap of programs: on 64-bit kernels, within a GiB of programs at 4 MiB.
    """
    return 0x60000000 if wide else 0x20000000


class Series(NamedTuple):
    """Calls to make one after the other: one, some that should be the same, that one again, others.

    ``first`` is the place of the first among all; ``child`` says who makes them, and ``program``
    under which filter, by its place, None for none.
    """

    first: int
    same: int
    others: int
    child: int
    program: "int | None" = None

    @property
    def length(self) -> int:
        """The number of calls."""
        return self.same + self.others + 2


def planned_outcomes(directory: str) -> "list[str]":
    """Return the `outcomes` of what ``guests.widths.plan`` wrote."""
    with open(f"{directory}/widths.json") as file:
        plan = json.load(file)
    with open(f"{directory}/widths", "rb") as binary:
        calls = binary.read()
    all_series = [Series(*one) for one in plan["series"]]
    programs = [bytes.fromhex(program) for program in plan["programs"]]
    return outcomes(plan["abi"], plan["numbers"], calls, all_series, programs)


def outcomes(
    abi: str,
    nrs: "Mapping[str, int]",
    calls: bytes,
    all_series: "Sequence[Series]",
    programs: "Sequence[bytes]" = (),
) -> "list[str]":
    """Return for each series what became of its calls, but for the one that is made twice."""
    with _scene() as folder:
        widths = _Widths(abi, nrs, calls, programs, folder)
        found = [""] * len(all_series)
        together = dict.fromkeys(
            (one.child, one.program) for one in all_series if one.child != ALONE
        )
        for child, program in together:
            left = [
                n
                for n, one in enumerate(all_series)
                if (one.child, one.program) == (child, program)
            ]
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
    def __init__(
        self,
        abi: str,
        nrs: "Mapping[str, int]",
        calls: bytes,
        programs: "Sequence[bytes]",
        folder: str,
    ) -> None:
        self._calls = calls
        become = [
            (nrs["setsid"],),
            (nrs["prctl"], _PR_SET_PDEATHSIG, signal.SIGKILL),
            (nrs["setgroups"],),
            (nrs["setresgid"], USER, USER, USER),
            (nrs["setresuid"], USER, USER, USER),
        ]
        self._described = [fprog(program) for program in programs]
        install = [
            packed((nrs["prctl"], _PR_SET_NO_NEW_PRIVS, 1))
            + packed((nrs["seccomp"], _SECCOMP_SET_MODE_FILTER, 0, ctypes.addressof(described)))
            for described in self._described
        ]
        start = b"".join(map(packed, become))
        self._before: dict[int | None, bytes] = {None: start}
        self._before.update((n, start + one) for n, one in enumerate(install))
        self._code = machine_code.load(abi)
        self._make = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(self._code)
        longest = max(map(len, self._before.values()))
        self._map = mmap.mmap(-1, 8 * HEADER + longest + len(calls))
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._words = memoryview(self._map).cast("Q")
        # On ABIs of 32 bits a result is the lower half of its word; they are little-endian.
        self._results = memoryview(self._map).cast("q" if _WIDE else "i")
        self._unit = 1 if _WIDE else 2
        stack = mmap.mmap(-1, _STACK_SIZE)
        self._stack = stack
        end = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + _STACK_SIZE
        self._top = ctypes.c_void_p(end - 512)
        _map_memory()
        _open_descriptors(folder)

    def outcomes(self, all_series: "Sequence[Series]", child: int) -> "list[str]":
        """Have a child make these calls; return what became of them, up to where it ended."""
        size = 8 * CALL_WORDS
        before = self._before[all_series[0].program]
        calls = before + b"".join(
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
        at = len(before) // size
        made = self._words[MADE]
        if made < at or self._result(at - 1) < 0:
            raise OSError(f"the child made {made} calls, and none is of a series")
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

    def _result(self, place: int) -> int:
        return self._results[(HEADER + RESULT + CALL_WORDS * place) * self._unit]

    def _watch(self, child: int) -> None:
        """Wait until the child ends; kill it where it sleeps, or works on one call for long."""
        last, since = -1, time.monotonic()
        progress = since
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.0005)
            now = self._words[MADE]
            passed = time.monotonic() - since
            if now != last:
                last, since = now, time.monotonic()
                progress = since
            elif passed > _HANGS and time.monotonic() - progress < _WORKS and _can_run(child):
                since = time.monotonic()
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


_WIDE = sys.maxsize > 2**32
_MEMORY = memory(wide=_WIDE)


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
    if function(_MEMORY, 0x1000 * _PAGES, protection, flags, -1, 0) != _MEMORY:
        raise OSError(ctypes.get_errno(), "no memory at the address that calls go by")


def _fill_memory() -> None:
    ctypes.memset(_MEMORY, 0, 0x1000 * _PAGES)
    ctypes.memmove(_MEMORY + HERE, b".", 2)
    ctypes.memmove(_MEMORY + NAME, b"none", 5)


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
