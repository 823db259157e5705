"""Ask the running kernel: what it does with a filter, observed from outside the confined process.

Each experiment runs in a forked child, for what a filter does cannot be undone. Nothing here uses
the compiler or the runtime, so that their bugs cannot hide: filters are loaded with ctypes alone.
Needs Linux on x86_64; `require_x86_64` skips elsewhere. Sources: seccomp(2), ptrace(2),
seccomp_unotify(2), the kernel's include/uapi/linux/seccomp.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import gc
import json
import os
import platform
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

AUDIT_ARCH_X86_64 = 0xC000003E
AUDIT_ARCH_I386 = 0x40000003
X32_BIT = 0x40000000

KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000
ERRNO = 0x00050000
USER_NOTIF = 0x7FC00000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000

TSYNC = 1
FLAG_LOG = 2
SPEC_ALLOW = 4
NEW_LISTENER = 8
TSYNC_ESRCH = 16
WAIT_KILLABLE_RECV = 32

SET_MODE_FILTER = 1
GET_ACTION_AVAIL = 2

NR_GETPID = 39
NR_GETPPID = 110
NR_PRCTL = 157
NR_EXIT_GROUP = 231
NR_SECCOMP = 317
"""Numbers on x86_64. getppid is the one that experiments forbid: no library needs it."""
I386_NR_GETPPID = 64

TIMEOUT = 60.0
"""Seconds after which a child counts as hung, and is killed."""

_PR_SET_NO_NEW_PRIVS = 38
_PTRACE_TRACEME = 0
_PTRACE_POKEUSER = 6
_PTRACE_CONT = 7
_PTRACE_SETOPTIONS = 0x4200
_PTRACE_GETEVENTMSG = 0x4201
_PTRACE_O_TRACESECCOMP = 0x80
_PTRACE_O_EXITKILL = 0x100000
_SECCOMP_STOP = signal.SIGTRAP | 7 << 8  # PTRACE_EVENT_SECCOMP
_USER_RAX = 8 * 10  # offsets into struct user_regs_struct of x86_64
_USER_ORIG_RAX = 8 * 15

_NOTIF = struct.Struct("=QIIiIQ6Q")
_NOTIF_RESP = struct.Struct("=QqiI")
_NOTIF_RECV = 0xC0502100
_NOTIF_SEND = 0xC0182101
_NOTIF_FLAG_CONTINUE = 1

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.syscall.argtypes = [ctypes.c_ulong] * 7
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


IS_X86_64 = (sys.platform, platform.machine(), sys.maxsize > 2**32) == ("linux", "x86_64", True)


def require_x86_64() -> None:
    """Skip the caller's module where the numbers above do not hold."""
    if not IS_X86_64:
        pytest.skip("needs a 64-bit Python on Linux x86_64", allow_module_level=True)


# Programs


def instruction(code: int, jt: int, jf: int, k: int) -> bytes:
    """Return one ``struct sock_filter`` in the byte order of this machine."""
    return struct.pack("=HBBI", code, jt, jf, k)


def always(action: int) -> bytes:
    """Return a program that answers every call with ``action``."""
    return instruction(0x06, 0, 0, action)


def on_call(nr: int, action: int, *args: int, otherwise: int = ALLOW) -> bytes:
    """Return a program that answers ``nr`` with ``action``, every other call with ``otherwise``.

    ``args`` narrow it to calls whose first arguments have these low words. The architecture is
    not looked at.
    """
    tests = [(0, nr), *((16 + 8 * index, value) for index, value in enumerate(args))]
    code = b""
    for position, (offset, value) in enumerate(tests):
        to_end = 2 * (len(tests) - position) - 1
        code += instruction(0x20, 0, 0, offset) + instruction(0x15, 0, to_end, value)
    return code + always(action) + always(otherwise)


def on_arch(audit_arch: int, action: int) -> bytes:
    """Return a program that answers calls of ``audit_arch`` with ``action``, allows others."""
    load = instruction(0x20, 0, 0, 4)
    return load + instruction(0x15, 0, 1, audit_arch) + always(action) + always(ALLOW)


# Calls


def syscall(nr: int, *args: int) -> tuple[int, int]:
    """Make a call with up to six 64-bit arguments; return its result, and errno (or 0).

    The GIL is released meanwhile: a thread that the kernel kills does not take it along.
    """
    padded = [value & 0xFFFFFFFFFFFFFFFF for value in (nr, *args)] + [0] * (6 - len(args))
    result = int(libc.syscall(*padded))
    return result, ctypes.get_errno() if result == -1 else 0


def install_raw(program: bytes, flags: int = 0, *, nnp: bool = True) -> int:
    """Load ``struct sock_filter`` bytes; return what seccomp(2) did. Raises OSError."""
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    holder = ctypes.create_string_buffer(fprog, len(fprog))
    if nnp:
        check(*syscall(NR_PRCTL, _PR_SET_NO_NEW_PRIVS, 1))
    return check(*syscall(NR_SECCOMP, SET_MODE_FILTER, flags, ctypes.addressof(holder)))


def check(result: int, number: int) -> int:
    if result == -1:
        raise OSError(number, os.strerror(number))
    return result


@functools.cache
def i386_call() -> Callable[..., int]:
    """Return a function that makes an i386 call (``int $0x80``): ``(nr, *args)`` to eax.

    Arguments are 64 bits wide, as a filter sees them.

    Compiles tests/helpers/foreign.c. Without gcc the caller is skipped, on CI it fails; it is
    skipped where the kernel has no IA32 emulation, for then the instruction is a fault.
    """
    gcc = shutil.which("gcc")
    if gcc is None:
        if os.environ.get("CI") == "true":
            pytest.fail("gcc is missing, and tests/helpers/foreign.c needs it")
        pytest.skip("gcc is missing, and tests/helpers/foreign.c needs it")
    source = Path(__file__).with_name("foreign.c")
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "foreign.so"
        options = ["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-mno-red-zone"]
        subprocess.run([gcc, *options, "-o", library, source], check=True)
        function = ctypes.CDLL(str(library)).i386_call
    function.restype = ctypes.c_int
    function.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 6]

    def call(nr: int, *args: int) -> int:
        return int(function(nr, *args, *[0] * (6 - len(args))))

    if run(lambda: call(I386_NR_GETPPID)).value != os.getpid():
        pytest.skip("the kernel has no IA32 emulation")
    return call


# Children


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a child.

    ``value`` is what its function returned, by way of JSON; ``error`` the exception it raised,
    with the places it passed through. ``exit_code`` or ``signal`` is None; ``core`` is True if
    the signal made the kernel dump core.
    """

    value: Any
    error: str | None
    exit_code: int | None
    signal: int | None
    core: bool


@dataclass(frozen=True, slots=True)
class _Child:
    pid: int
    pidfd: int
    pipe: int
    deadline: float


def run(
    function: Callable[[], object], *, timeout: float = TIMEOUT, cores: Path | None = None
) -> Outcome:
    """Run ``function`` in a forked child.

    Core dumps are off; with ``cores`` they are on, and the child works in that directory.
    Raises TimeoutError, after killing the child and those it forked.
    """
    return _finish(_fork(function, timeout, cores))


def run_traced(
    function: Callable[[], object],
    answer: Callable[[int], int | None] = lambda _: None,
    *,
    timeout: float = TIMEOUT,
) -> tuple[Outcome, tuple[int, ...]]:
    """Run ``function`` in a child under a tracer that is told of SECCOMP_RET_TRACE.

    ``answer`` gets the data of the action; None lets the call go on, a number skips it (the
    tracer makes it call -1) and is what it returns. Also returns the data in order.
    """
    seen: list[int] = []

    def traced() -> object:
        check(*_ptrace(_PTRACE_TRACEME, 0, 0))
        os.kill(os.getpid(), signal.SIGSTOP)
        return function()

    child = _fork(traced, timeout, None)
    options = _PTRACE_O_TRACESECCOMP | _PTRACE_O_EXITKILL
    message = ctypes.c_ulong()
    while (status := _next_stop(child)) is not None:
        if status == _SECCOMP_STOP:
            check(*_ptrace(_PTRACE_GETEVENTMSG, child.pid, ctypes.addressof(message)))
            seen.append(message.value)
            result = answer(message.value)
            if result is not None:
                check(*_ptrace(_PTRACE_POKEUSER, child.pid, -1, address=_USER_ORIG_RAX))
                check(*_ptrace(_PTRACE_POKEUSER, child.pid, result, address=_USER_RAX))
            status = 0
        elif status == signal.SIGSTOP:
            check(*_ptrace(_PTRACE_SETOPTIONS, child.pid, options))
            status = 0
        check(*_ptrace(_PTRACE_CONT, child.pid, status))
    return _finish(child), tuple(seen)


def _ptrace(request: int, pid: int, data: int, *, address: int = 0) -> tuple[int, int]:
    result = int(libc.ptrace(request, pid, address, data & 0xFFFFFFFFFFFFFFFF))
    return result, ctypes.get_errno() if result == -1 else 0


def _next_stop(child: _Child) -> int | None:
    """Wait for the traced child to stop; return why, or None if it has ended."""
    options = os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT
    while (event := os.waitid(os.P_PID, child.pid, options)) is None:
        if time.monotonic() > child.deadline:
            return None
        time.sleep(0.0005)
    return event.si_status if event.si_code == os.CLD_TRAPPED else None


@dataclass(frozen=True, slots=True)
class Notification:
    """A call that waits for the listener's answer (struct seccomp_notif)."""

    pid: int
    nr: int
    arch: int
    args: tuple[int, ...]


def run_supervised(
    function: Callable[[Callable[[int], None]], object],
    answer: Callable[[Notification], int | None],
    *,
    timeout: float = TIMEOUT,
) -> tuple[Outcome, tuple[Notification, ...]]:
    """Run ``function`` in a child whose calls this process answers for.

    ``function`` gets a function that hands its listener over. ``answer`` says what a call
    returns: None lets it go on, a negative number is an errno. Also returns the calls in order.
    """
    ours, theirs = socket.socketpair()
    seen: list[Notification] = []

    def hand_over(listener: int) -> None:
        socket.send_fds(theirs, [b"."], [listener])
        os.close(listener)

    with ours, theirs:
        child = _fork(lambda: function(hand_over), timeout, None)
        poll = select.poll()
        poll.register(child.pidfd, select.POLLIN)
        poll.register(ours, select.POLLIN)
        listener = -1
        while ready := dict(poll.poll(max(0.0, child.deadline - time.monotonic()) * 1000)):
            if ours.fileno() in ready:
                _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
                poll.unregister(ours)
                poll.register(listener, select.POLLIN)
            elif ready.get(listener, 0) & select.POLLIN:
                seen.append(_answer(listener, answer))
            else:
                break
        if listener >= 0:
            os.close(listener)
        return _finish(child), tuple(seen)


def _answer(listener: int, answer: Callable[[Notification], int | None]) -> Notification:
    buffer = bytearray(_NOTIF.size)
    fcntl.ioctl(listener, _NOTIF_RECV, buffer)
    identity, pid, _, nr, arch, _, *args = _NOTIF.unpack(buffer)
    notification = Notification(pid, nr, arch, tuple(args))
    result = answer(notification)
    if result is None:
        reply = _NOTIF_RESP.pack(identity, 0, 0, _NOTIF_FLAG_CONTINUE)
    else:
        reply = _NOTIF_RESP.pack(identity, max(result, 0), min(result, 0), 0)
    fcntl.ioctl(listener, _NOTIF_SEND, reply)
    return notification


def _fork(function: Callable[[], object], timeout: float, cores: Path | None) -> _Child:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(function, writer, cores)
    os.close(writer)
    return _Child(pid, os.pidfd_open(pid), reader, time.monotonic() + timeout)


def _child(function: Callable[[], object], writer: int, cores: Path | None) -> NoReturn:
    """Run ``function``, report, end: without the exit handlers and finalizers of the parent."""
    code = 1
    try:
        gc.disable()
        os.setpgid(0, 0)
        if cores is None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        else:
            os.chdir(cores)
            hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
            resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        try:
            report = {"value": function()}
        except BaseException as error:  # noqa: BLE001, RUF100 - it is the result
            report = {"error": _describe(error)}
        os.write(writer, json.dumps(report).encode())
        code = 0
    finally:
        os._exit(code)


def _describe(error: BaseException) -> str:
    """Return type, text and places; reads no source files, as the filter may forbid it."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {error} ({' > '.join(places)})"


def _finish(child: _Child) -> Outcome:
    """Read the child's report, see how it ends, and remove what it leaves behind."""
    chunks = []
    poll = select.poll()
    poll.register(child.pipe, select.POLLIN)
    poll.register(child.pidfd, select.POLLIN)
    while ready := dict(poll.poll(max(0.0, child.deadline - time.monotonic()) * 1000)):
        if child.pipe in ready:
            chunks.append(os.read(child.pipe, 1 << 16))
            if not chunks[-1]:
                poll.unregister(child.pipe)
        elif child.pidfd in ready:
            break
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(child.pid, signal.SIGKILL)
    end = os.waitid(os.P_PID, child.pid, os.WEXITED)
    os.close(child.pidfd)
    os.close(child.pipe)
    if not ready:
        raise TimeoutError("the child did not end in time, and was killed")
    assert end is not None
    report = json.loads(b"".join(chunks) or b"{}")
    exited = end.si_code == os.CLD_EXITED
    return Outcome(
        value=report.get("value"),
        error=report.get("error"),
        exit_code=end.si_status if exited else None,
        signal=None if exited else end.si_status,
        core=end.si_code == os.CLD_DUMPED,
    )
