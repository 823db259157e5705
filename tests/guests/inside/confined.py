"""Make calls in a child under a filter, and tell what became of each.

Runs in the guests: standard library only, Python 3.9 or newer, any ABI. The child makes the calls
that are asked for and no other: machine code makes them, and it ends by a fault. It shares the
memory of this process, not a copy, wherever it can: most of what a fork takes goes into the pages
that both write to afterwards. Sources: seccomp(2), ptrace(2), seccomp_unotify(2), clone(2).
"""

import ctypes
import fcntl
import mmap
import os
import select
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from guests.inside import machine_code
from guests.inside.machine_code import CALL_WORDS, COUNT, END, HEADER, MADE, RESULT, TID

# What is seen of a call, and what its value is.
REAL = 1  # it returned what it returns without a filter
RETURNED = 2  # it returned something else: the low 32 bits of that
ERRNO = 3  # it failed: errno
TRAPPED = 4  # SIGSYS: si_errno
TRACED = 5  # PTRACE_EVENT_SECCOMP: its message; the call was made then
NOTIFIED = 6  # the listener was told: 0, or 1 if it was told of another call
THREAD_KILLED = 7

USERS = (1001, 1002, 1003, 1004)
"""uid, euid, gid and egid of the children, so that calls that ask for one show which they are."""

_TIMEOUT = 20.0
_IS_MIPS = os.uname().machine.startswith("mips")
_IS_64_BIT = sys.maxsize > 2**32

NOWHERE = (1 << (64 if _IS_64_BIT else 32)) - 4096
"""An address without memory."""

_MOST_CALLS = 8000
_STACK_SIZE = 1 << 16

_PTRACE_TRACEME = 0
_PTRACE_CONT = 7
_PTRACE_SETOPTIONS = 0x4200
_PTRACE_GETEVENTMSG = 0x4201
_PTRACE_GETSIGINFO = 0x4202
_PTRACE_O_TRACESECCOMP = 0x80
_PTRACE_O_EXITKILL = 0x100000
_PTRACE_EVENT_SECCOMP = 7
_CLONE_VM = 0x100
_CLONE_FILES = 0x400
_NOTIF = struct.Struct("=QIIiIQ6Q")
_NOTIF_RESP = struct.Struct("=QqiI")
_NOTIF_RECV = 0xC0502100
_NOTIF_SEND = 0xC0182101
ANSWER = 7000  # what the supervisor has notified calls return: no real one does

# PyDLL keeps the GIL: to give it up and take it back is a system call.
libc = ctypes.PyDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.syscall.argtypes = [ctypes.c_long] + [ctypes.c_ulong] * 6
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
_pause = ctypes.CDLL(None).pause

Call = Sequence[int]
"""Number, then arguments; missing ones are 0."""


class Fprog(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def fprog(program: bytes) -> Fprog:
    """Return what seccomp(2) takes a program as."""
    return Fprog(len(program) // 8, program)


def install_raw(nr_seccomp: int, program: bytes) -> None:
    """Put a program in force for this process, with two calls and nothing else."""
    if libc.prctl(38, ctypes.c_ulong(1), *[ctypes.c_ulong(0)] * 3):  # PR_SET_NO_NEW_PRIVS
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    described = fprog(program)
    if libc.syscall(nr_seccomp, 1, 0, ctypes.addressof(described), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp(2)")


class Run(NamedTuple):
    """The traces of one child: ``status`` as of waitpid(2), ``made`` the calls that came back.

    ``before`` are the results of calls without a filter, ``results`` those under it, as 64-bit
    words, of which 32-bit ABIs use the lower half; a failure is its negated errno. ``outside`` has
    what tracer or supervisor were told: the call's place, kind, value and seccomp_data.arch.
    ``refused`` says why the filter is not in force, if it is not.
    """

    pid: int
    status: int
    made: int
    before: list[int]
    results: bytes
    outside: list[tuple[int, int, int, int]]
    refused: str


class Confined:
    """Starts children that make calls under filters, one after the other.

    ``nrs`` are the ABI's system calls by name. ``real`` are calls, as (way, nr), that are harmless
    and always return the same: they are made before the filter is in force as well.
    """

    def __init__(
        self, abi: str, nrs: "dict[str, int]", real: "Sequence[tuple[int, int]]" = ()
    ) -> None:
        self._nrs = nrs
        self._before = b"".join(packed((nr,), way) for way, nr in real)
        self._code = machine_code.load(abi)
        self._map = mmap.mmap(-1, 8 * (HEADER + CALL_WORDS * _MOST_CALLS))
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._stack = mmap.mmap(-1, _STACK_SIZE)
        end = ctypes.addressof(ctypes.c_char.from_buffer(self._stack)) + _STACK_SIZE
        self._top = ctypes.c_void_p(end - 512)
        self.words = memoryview(self._map).cast("Q")
        self.signed = memoryview(self._map).cast("q" if _IS_64_BIT else "i")
        self.pid = 0
        self._outside: list[tuple[int, int, int, int]] = []
        self._first = 0
        self._count = 0
        self._deadline = 0.0

    def run(self, calls: bytes, program: bytes, flags: int, how: str) -> Run:
        """Make ``calls`` (of CALL_WORDS words each) under ``program``, as far as the child lives.

        ``how``: "plain"; "traced" where the filter answers with traps and traces; "supervised"
        where it notifies.
        """
        tracing = [
            (self._nrs["ptrace"], _PTRACE_TRACEME),
            (self._nrs["setpgid"],),
            (self._nrs["kill"], 0, signal.SIGSTOP),  # its group: that is the child
        ]
        described = fprog(program)
        become = [
            (self._nrs["setresgid"], USERS[2], USERS[3], USERS[3]),
            (self._nrs["setresuid"], USERS[0], USERS[1], USERS[1]),
        ]
        install = [
            (self._nrs["prctl"], 38, 1),  # PR_SET_NO_NEW_PRIVS
            (self._nrs["seccomp"], 1, flags, ctypes.addressof(described)),
        ]
        first = b"".join(map(packed, [*(tracing if how == "traced" else ()), *become]))
        then = b"".join(map(packed, install))
        before = (len(first) // 8 // CALL_WORDS, len(self._before) // 8 // CALL_WORDS)
        self._write(first + self._before + then, calls, NOWHERE)
        shared = _CLONE_VM | (_CLONE_FILES if how == "supervised" else 0)
        self.pid = libc.clone(self._code, self._top, shared | signal.SIGCHLD, self._address)
        if self.pid < 0:
            raise OSError(ctypes.get_errno(), "clone")
        if how == "traced":
            status = self._wait_tracing()
        elif how == "supervised":
            status = self._wait_supervising()
        else:
            status = os.waitpid(self.pid, 0)[1]
        results = self._results(0, self._first)
        known = results[before[0] : sum(before)]
        failed = [place for place in range(self._first) if self._is_failure(place)]
        refused = f"calls {failed} of those before failed: {results}" if failed else ""
        if self.words[MADE] < self._first:
            refused = f"only {self.words[MADE]} of the calls before were made"
        return self._result(status, known, refused)

    def run_in_thread(self, calls: bytes, install: "Callable[[], object]") -> Run:
        """Make ``calls`` in one of two threads, after ``install``, to tell which of them dies."""
        self._write(b"", calls, NOWHERE)
        error = mmap.mmap(-1, 4096)
        self.pid = libc.fork()
        if self.pid == 0:
            try:
                self._start_thread(install, error)
            finally:
                libc._exit(1)
        status = self._wait_for_thread()
        return self._result(status, [], error[:].rstrip(b"\0").decode())

    # In the forked child

    def _start_thread(self, install: "Callable[[], object]", error: mmap.mmap) -> NoReturn:
        os.setresgid(USERS[2], USERS[3], USERS[3])
        os.setresuid(USERS[0], USERS[1], USERS[1])
        # Under the filter the thread must not be asked for the GIL: to give it up is a call.
        sys.setswitchinterval(2 * _TIMEOUT)
        make = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(self._code)

        def body() -> None:
            self.words[TID] = threading.get_native_id()
            try:
                install()
                make(self._address)
            except BaseException as raised:  # it is the report
                text = f"{type(raised).__name__}: {raised}".encode()[:2000]
                error[: len(text)] = text
                libc._exit(1)

        threading.Thread(target=body).start()
        while True:
            _pause()  # without the GIL, so that the thread can die with it

    # In the parent

    def _write(self, before: bytes, calls: bytes, end: int) -> None:
        """Say which calls to make: some ``before`` those that are asked for."""
        self._first = len(before) // 8 // CALL_WORDS
        self._count = len(calls) // 8 // CALL_WORDS
        words = before + calls
        start = 8 * HEADER
        self._map[start : start + len(words)] = words
        self.words[MADE], self.words[COUNT] = 0, self._first + self._count
        self.words[END], self.words[TID] = end, 0
        self._outside = []
        self._deadline = time.monotonic() + _TIMEOUT

    def _results(self, first: int, count: int) -> "list[int]":
        start = HEADER + CALL_WORDS * first + RESULT
        return self.words[start : start + CALL_WORDS * count : CALL_WORDS].tolist()

    def _is_failure(self, place: int) -> bool:
        word = HEADER + CALL_WORDS * place + RESULT
        return self.signed[word if _IS_64_BIT else 2 * word] < 0

    def _result(self, status: int, before: "list[int]", refused: str) -> Run:
        start = HEADER + CALL_WORDS * self._first + RESULT
        made = self.words[MADE] - self._first
        # Only of what was made: elsewhere there is what was to be made.
        results = self.words[start : start + CALL_WORDS * max(made, 0) : CALL_WORDS].tobytes()
        return Run(self.pid, status, made, before, results, self._outside, refused)

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            os.kill(self.pid, signal.SIGKILL)

    def _tell(self, kind: int, value: int, arch: int) -> None:
        """Record what tracer or supervisor were told of the call being made."""
        self._outside.append((self.words[MADE] - self._first, kind, value, arch))

    def _wait_tracing(self) -> int:
        """Wait for the end as the tracer; return the status."""
        message = ctypes.c_ulong()
        information = (ctypes.c_char * 128)()
        while True:
            _, status = os.waitpid(self.pid, 0)
            if not os.WIFSTOPPED(status):
                return status
            pass_on = os.WSTOPSIG(status)
            if status >> 16 == _PTRACE_EVENT_SECCOMP:
                _ptrace(_PTRACE_GETEVENTMSG, self.pid, None, ctypes.addressof(message))
                self._tell(TRACED, message.value, 0)
                pass_on = 0
            elif pass_on == signal.SIGSYS:
                _ptrace(_PTRACE_GETSIGINFO, self.pid, None, ctypes.addressof(information))
                self._tell(TRAPPED, *_sigsys(information.raw))
                pass_on = 0
            elif pass_on == signal.SIGTRAP:
                pass_on = 0  # it has become another program
            elif pass_on == signal.SIGSTOP:
                options = _PTRACE_O_TRACESECCOMP | _PTRACE_O_EXITKILL
                _ptrace(_PTRACE_SETOPTIONS, self.pid, None, options)
                pass_on = 0
            _ptrace(_PTRACE_CONT, self.pid, None, pass_on)

    def _wait_supervising(self) -> int:
        """Wait for the end as the one that answers notifications; return the status."""
        while self.words[MADE] < self._first:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return status
            self._check_time()
            time.sleep(0.0003)
        (listener,) = self._results(self._first - 1, 1)  # files are shared
        pidfd = os.pidfd_open(self.pid)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(listener, select.POLLIN)
        ready: dict[int, int] = {}
        while pidfd not in ready:
            if listener in ready:
                self._answer(listener)
            self._check_time()
            ready = dict(poll.poll(100))
        os.close(listener)
        os.close(pidfd)
        return os.waitpid(self.pid, 0)[1]

    def _answer(self, listener: int) -> None:
        buffer = bytearray(_NOTIF.size)
        try:
            fcntl.ioctl(listener, _NOTIF_RECV, buffer)
        except OSError:  # the child was killed meanwhile
            return
        identity, _, _, nr, arch, _, *args = _NOTIF.unpack(buffer)
        start = HEADER + CALL_WORDS * self.words[MADE]
        call = self.words[start : start + RESULT].tolist()
        told_right = [call[0] & 0xFFFFFFFF, *call[1:]] == [nr & 0xFFFFFFFF, *args]
        self._tell(NOTIFIED, 0 if told_right else 1, arch)
        fcntl.ioctl(listener, _NOTIF_SEND, _NOTIF_RESP.pack(identity, ANSWER, 0, 0))

    def _wait_for_thread(self) -> int:
        """Wait until the thread is done or dead; kill what is left; return the status."""
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return status
            if self.words[TID] and self._thread_alone_is_gone():
                self._tell(THREAD_KILLED, 0, 0)
                break
            self._check_time()
            time.sleep(0.0003)
        os.kill(self.pid, signal.SIGKILL)
        return os.waitpid(self.pid, 0)[1]

    def _thread_alone_is_gone(self) -> bool:
        """Say whether the thread has ended, and the main thread goes on sleeping.

        It does not where the process is being killed: it has a SIGKILL to act upon, or does.
        """
        if os.path.exists(f"/proc/{self.pid}/task/{self.words[TID]}"):
            return False
        with open(f"/proc/{self.pid}/status") as file:
            status = dict(line.split(":", 1) for line in file)
        sigkill = 1 << signal.SIGKILL - 1
        return status["State"].split()[0] == "S" and not int(status["SigPnd"], 16) & sigkill


def packed(call: Call, way: int = machine_code.NATIVE) -> bytes:
    """Return the words of a call; its number is signed, as what a register holds of an ``int``."""
    nr, *args = call
    nr = (nr & 0x7FFFFFFF) - (nr & 0x80000000)
    return struct.pack("=q7Q", nr, *args, *[0] * (6 - len(args)), way)


def _ptrace(request: int, pid: int, address: "int | None", data: "int | None") -> None:
    if libc.ptrace(request, pid, address, data):
        raise OSError(ctypes.get_errno(), f"ptrace request {request:#x}")


def _sigsys(siginfo: bytes) -> "tuple[int, int]":
    """Return si_errno and si_arch; MIPS has si_code before si_errno."""
    number = struct.unpack_from("=i", siginfo, 8 if _IS_MIPS else 4)[0]
    return number & 0xFFFFFFFF, struct.unpack_from("=I", siginfo, 28 if _IS_64_BIT else 20)[0]
