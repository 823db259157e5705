"""Make calls in a forked child under a filter, and tell what became of each.

Runs in the guests: standard library only, Python 3.9 or newer, any ABI. Once its filter is in
force the child makes the calls that are asked for and no other: its memory is there, it reports
through shared memory, and it ends by a fault. Sources: seccomp(2), ptrace(2), seccomp_unotify(2).
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
from typing import NamedTuple, NoReturn, Optional

# What is seen of a call, and what its value is.
REAL = 1  # it returned what it returns without a filter
RESULT = 2  # it returned something else: the low 32 bits of that
ERRNO = 3  # it failed: errno
TRAPPED = 4  # SIGSYS: si_errno
TRACED = 5  # PTRACE_EVENT_SECCOMP: its message; the call was made then
NOTIFIED = 6  # the listener was told: 0, or 1 if it was told of another call
THREAD_KILLED = 7

USERS = (1001, 1002, 1003, 1004)
"""uid, euid, gid and egid of the children, so that calls that ask for one show which they are."""

CALL_WORDS = 8
"""A call is that many 64-bit words: number (of 32 bits), six arguments, the way to make it."""
NATIVE, INT80 = 0, 1

_TIMEOUT = 20.0
_IS_MIPS = os.uname().machine.startswith("mips")
_IS_64_BIT = sys.maxsize > 2**32

NOWHERE = (1 << (64 if _IS_64_BIT else 32)) - 4096

_PTRACE_TRACEME = 0
_PTRACE_CONT = 7
_PTRACE_SETOPTIONS = 0x4200
_PTRACE_GETEVENTMSG = 0x4201
_PTRACE_GETSIGINFO = 0x4202
_PTRACE_O_TRACESECCOMP = 0x80
_PTRACE_O_EXITKILL = 0x100000
_PTRACE_EVENT_SECCOMP = 7
_NOTIF = struct.Struct("=QIIiIQ6Q")
_NOTIF_RESP = struct.Struct("=QqiI")
_NOTIF_RECV = 0xC0502100
_NOTIF_SEND = 0xC0182101
_ANSWER = 7000  # what the supervisor has notified calls return: no real one does

# 64-bit words of the shared memory: a header, then a record a call.
_MADE, _TID, _LISTENER, _FAILED = range(4)
_HEADER = 4
_KIND, _VALUE, _OUTER_KIND, _OUTER_VALUE, _ARCH = range(5)
RECORD_WORDS = 5

# PyDLL keeps the GIL: to give it up and take it back is a system call.
libc = ctypes.PyDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.syscall.argtypes = [ctypes.c_long] + [ctypes.c_ulong] * 6
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
_pause = ctypes.CDLL(None).pause
_CLONED = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_CLONE_VM = 0x100
_CLONE_VFORK = 0x4000


def _unused_stack() -> ctypes.c_void_p:
    """Return an address of this thread's stack that is far below what is used of it."""
    with open("/proc/self/stat") as file:
        start = int(file.read().rsplit(")", 1)[1].split()[25])  # startstack, in proc(5)
    return ctypes.c_void_p(start - (1 << 20) & ~0xFF)


_STACK = _unused_stack()

Install = Callable[[], Optional[int]]


class Fprog(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install_raw(nr_seccomp: int, program: bytes, flags: int) -> int:
    """Put a program in force with two calls and nothing else; return what seccomp(2) returned."""
    fprog = Fprog(len(program) // 8, program)
    if libc.prctl(38, ctypes.c_ulong(1), *[ctypes.c_ulong(0)] * 3):  # PR_SET_NO_NEW_PRIVS
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    result = libc.syscall(nr_seccomp, 1, flags, ctypes.addressof(fprog), 0, 0, 0)
    if result == -1:
        raise OSError(ctypes.get_errno(), "seccomp(2)")
    return int(result)


class Run(NamedTuple):
    """What one child left: ``status`` as of waitpid(2), ``made`` the calls that came back.

    ``records`` are RECORD_WORDS 64-bit words a call: kind and value that the child saw; kind, value
    and seccomp_data.arch that tracer or supervisor were told, or 0. ``refused`` says why the filter
    is not in force, if it is not.
    """

    pid: int
    status: int
    made: int
    records: bytes
    refused: str


class Child:
    """A forked child that is to make ``calls`` under what ``install`` puts in force.

    ``real`` are the calls, as (way, nr), that are harmless and always return the same: they are
    made once before as well.
    """

    def __init__(
        self, calls: "Sequence[Sequence[int]]", install: Install, real: "set[tuple[int, int]]"
    ) -> None:
        self.calls = calls
        self.install = install
        self.real = real
        self._map = mmap.mmap(-1, 4096 + 8 * (_HEADER + RECORD_WORDS * len(calls)))
        self.words = memoryview(self._map).cast("Q")
        self._error = memoryview(self._map)[-2048:]
        self._deadline = time.monotonic() + _TIMEOUT
        self.pid = 0

    # In the child

    def fork(self, body: "Callable[[], object]") -> None:
        """Start a child that runs ``body``, which must not return."""
        # Not os.fork(), whose care for threads and locks touches as much memory again as the child
        # needs: on an emulated s390x that is half of the time that all of this takes.
        self.pid = libc.fork()
        if self.pid:
            return
        try:
            body()
        except BaseException as error:  # it is the report
            self._fail(error)
        finally:
            libc._exit(1)

    def _fail(self, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}".encode()[:2000]
        self._error[: len(text)] = text
        self.words[_FAILED] = 1

    def share(self) -> None:
        """Have a child with this very memory, not a copy of it, make the calls; return at its end.

        It takes a tenth of the time of a fork, most of which goes into the pages that both write
        to afterwards. It is sound where the child returns from its function, which leaves the
        interpreter as it was: this process does not run meanwhile (CLONE_VFORK), and the child's
        stack is a part of ours, as Python checks, far below what we use. So the filter must allow
        exit(2), by which clone(2)'s wrapper ends. Should the child die before, what Python holds
        of it is never used again.
        """

        def body(_: object) -> int:
            try:
                self._make_calls()
            except BaseException as error:  # it is the report
                self._fail(error)
            return 0

        function = _CLONED(body)
        flags = _CLONE_VM | _CLONE_VFORK | signal.SIGCHLD
        self.pid = libc.clone(function, _STACK, flags, None)

    def work(self) -> NoReturn:
        """Make the calls, end."""
        self._make_calls()
        ctypes.memset(NOWHERE, 0, 1)
        raise AssertionError("memory where there is none")

    def _make_calls(self) -> None:
        """Become somebody else, install the filter, make the calls."""
        os.setresgid(USERS[2], USERS[3], USERS[3])
        os.setresuid(USERS[0], USERS[1], USERS[1])
        makers = _MAKERS
        before = {(way, nr): makers[way](nr, 0, 0, 0, 0, 0, 0) for way, nr in self.real}
        listener = self.install()
        words, place = self.words, _HEADER
        words[_LISTENER] = 0 if listener is None else listener + 1
        for nr, a, b, c, d, e, f, way in self.calls:
            result, number = makers[way](nr, a, b, c, d, e, f)
            if number:
                words[place + _KIND], words[place + _VALUE] = ERRNO, number & 0xFFFFFFFF
            elif before.get((way, nr)) == (result, 0):
                words[place + _KIND] = REAL
            else:
                words[place + _KIND], words[place + _VALUE] = RESULT, result & 0xFFFFFFFF
            words[_MADE] += 1
            place += RECORD_WORDS

    def work_traced(self) -> NoReturn:
        """Have the parent trace this, then work."""
        if libc.ptrace(_PTRACE_TRACEME, 0, None, None):
            raise OSError(ctypes.get_errno(), "PTRACE_TRACEME")
        os.kill(os.getpid(), signal.SIGSTOP)
        self.work()

    def work_in_thread(self) -> NoReturn:
        """Work in a thread; the main thread, unconfined, lives on."""

        def body() -> None:
            self.words[_TID] = threading.get_native_id()
            try:
                self.work()
            except BaseException as error:  # it is the report
                self._fail(error)
                libc._exit(1)

        threading.Thread(target=body).start()
        while True:
            _pause()  # without the GIL, so that the thread can die with it

    # In the parent

    def result(self, status: int) -> Run:
        """Return what became of the calls, now that the child has ended with ``status``."""
        words = self.words
        end = _HEADER + RECORD_WORDS * len(self.calls)
        records = words[_HEADER:end].tobytes()
        refused = bytes(self._error).rstrip(b"\0").decode() if words[_FAILED] else ""
        return Run(self.pid, status, words[_MADE], records, refused)

    def wait(self) -> int:
        """Wait for the end; return its status."""
        return os.waitpid(self.pid, 0)[1]

    def check_time(self) -> None:
        if time.monotonic() > self._deadline:
            os.kill(self.pid, signal.SIGKILL)

    def outside(self, kind: int, value: int, arch: int) -> None:
        """Record what tracer or supervisor were told of the call being made."""
        place = _HEADER + self.words[_MADE] * RECORD_WORDS
        if place < len(self.words) and self.words[place + _OUTER_KIND] == 0:
            self.words[place + _OUTER_KIND] = kind
            self.words[place + _OUTER_VALUE] = value
            self.words[place + _ARCH] = arch

    def wait_tracing(self) -> int:
        """Wait for the end as the tracer."""
        message = ctypes.c_ulong()
        information = (ctypes.c_char * 128)()
        while True:
            _, status = os.waitpid(self.pid, 0)
            if not os.WIFSTOPPED(status):
                return status
            pass_on = os.WSTOPSIG(status)
            if status >> 16 == _PTRACE_EVENT_SECCOMP:
                _ptrace(_PTRACE_GETEVENTMSG, self.pid, None, ctypes.addressof(message))
                self.outside(TRACED, message.value, 0)
                pass_on = 0
            elif pass_on == signal.SIGSYS:
                _ptrace(_PTRACE_GETSIGINFO, self.pid, None, ctypes.addressof(information))
                self.outside(TRAPPED, *_sigsys(information.raw))
                pass_on = 0
            elif pass_on == signal.SIGTRAP:
                pass_on = 0  # it has become another program
            elif pass_on == signal.SIGSTOP:
                options = _PTRACE_O_TRACESECCOMP | _PTRACE_O_EXITKILL
                _ptrace(_PTRACE_SETOPTIONS, self.pid, None, options)
                pass_on = 0
            _ptrace(_PTRACE_CONT, self.pid, None, pass_on)

    def wait_supervising(self, nr_pidfd_getfd: int) -> int:
        """Wait for the end as the one that answers notifications."""
        while not self.words[_LISTENER]:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return status
            self.check_time()
            time.sleep(0.0003)
        pidfd = os.pidfd_open(self.pid)
        listener = libc.syscall(nr_pidfd_getfd, pidfd, self.words[_LISTENER] - 1, 0, 0, 0, 0)
        if listener < 0:
            os.kill(self.pid, signal.SIGKILL)
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(listener, select.POLLIN)
        ready: dict[int, int] = {}
        while pidfd not in ready:
            if listener in ready:
                self._answer(listener)
            self.check_time()
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
        index = self.words[_MADE]
        call = self.calls[index] if index < len(self.calls) else ()
        told_right = list(call[:7]) == [nr & 0xFFFFFFFF, *args]
        self.outside(NOTIFIED, 0 if told_right else 1, arch)
        fcntl.ioctl(listener, _NOTIF_SEND, _NOTIF_RESP.pack(identity, _ANSWER, 0, 0))

    def wait_for_thread(self) -> int:
        """Wait until the thread is done or dead; kill what is left."""
        status = 0
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return status
            if self.words[_TID] and self._thread_alone_is_gone():
                self.outside(THREAD_KILLED, 0, 0)
                break
            self.check_time()
            time.sleep(0.0003)
        os.kill(self.pid, signal.SIGKILL)
        return os.waitpid(self.pid, 0)[1]

    def _thread_alone_is_gone(self) -> bool:
        """Say whether the thread has ended, and the main thread goes on sleeping.

        It does not where the process is being killed: it has a SIGKILL to act upon, or does.
        """
        if os.path.exists(f"/proc/{self.pid}/task/{self.words[_TID]}"):
            return False
        with open(f"/proc/{self.pid}/status") as file:
            status = dict(line.split(":", 1) for line in file)
        sigkill = 1 << signal.SIGKILL - 1
        return status["State"].split()[0] == "S" and not int(status["SigPnd"], 16) & sigkill


def run(
    calls: "Sequence[Sequence[int]]",
    install: Install,
    real: "set[tuple[int, int]]",
    how: str,
    nr_pidfd_getfd: int = -1,
) -> Run:
    """Make ``calls`` in a child, one after the other, as far as it lives.

    ``how``: "shared" where all of them return and exit(2) is allowed, which takes the least time;
    "plain"; "traced" where a filter answers with traps and traces; "supervised" where it notifies;
    "thread" to tell a killed thread from a killed process.
    """
    child = Child(calls, install, real)
    if how == "traced":
        child.fork(child.work_traced)
        return child.result(child.wait_tracing())
    if how == "supervised":
        child.fork(child.work)
        return child.result(child.wait_supervising(nr_pidfd_getfd))
    if how == "thread":
        child.fork(child.work_in_thread)
        return child.result(child.wait_for_thread())
    if how == "shared":
        child.share()
    else:
        child.fork(child.work)
    return child.result(child.wait())


def _native(nr: int, *args: int) -> "tuple[int, int]":
    result = libc.syscall(nr - (1 << 32) if nr >> 31 else nr, *args)
    return result, ctypes.get_errno() if result == -1 else 0


class _Int80:
    """Makes i386 calls from an x86_64 process."""

    _CODE = bytes.fromhex(
        "53 55"  # push rbx; push rbp
        "89 f8"  # mov eax, edi
        "48 89 f7"  # mov rdi, rsi
        "8b 1f 8b 4f 04 8b 57 08"  # mov ebx, [rdi]; mov ecx, [rdi+4]; mov edx, [rdi+8]
        "8b 77 0c 8b 6f 14 8b 7f 10"  # mov esi, [rdi+12]; mov ebp, [rdi+20]; mov edi, [rdi+16]
        "cd 80"  # int 0x80
        "5d 5b c3"  # pop rbp; pop rbx; ret
    )

    def __init__(self) -> None:
        protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        self._page = mmap.mmap(-1, 4096, prot=protection)
        self._page.write(self._CODE)
        self._words = (ctypes.c_uint32 * 6)()
        self._address = ctypes.addressof(self._words)
        prototype = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p)
        self._function = prototype(ctypes.addressof(ctypes.c_char.from_buffer(self._page)))

    def __call__(self, nr: int, *args: int) -> "tuple[int, int]":
        self._words[:] = list(args)
        result = self._function(nr, self._address)
        return (-1, -result) if -4096 < result < 0 else (result, 0)


_MAKERS = (_native, _Int80())


def _ptrace(request: int, pid: int, address: "int | None", data: "int | None") -> None:
    if libc.ptrace(request, pid, address, data):
        raise OSError(ctypes.get_errno(), f"ptrace request {request:#x}")


def _sigsys(siginfo: bytes) -> "tuple[int, int]":
    """Return si_errno and si_arch; MIPS has si_code before si_errno."""
    number = struct.unpack_from("=i", siginfo, 8 if _IS_MIPS else 4)[0]
    return number & 0xFFFFFFFF, struct.unpack_from("=I", siginfo, 28 if _IS_64_BIT else 20)[0]
