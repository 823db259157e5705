from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from running_kernel import (
    ALLOW,
    ERRNO,
    NEW_LISTENER,
    NR_GETPPID,
    NR_SECCOMP,
    USER_NOTIF,
    always,
    on_call,
)
from runtime_template import install, notification, runtime

if TYPE_CHECKING:
    from collections.abc import Callable

kernel.require_x86_64()

GET_NOTIF_SIZES = 3
ASK = on_call(NR_GETPPID, USER_NOTIF)
HEADERS = Path("/usr/lib/linux/uapi")


def getppid(*args: int) -> tuple[int, int]:
    return kernel.syscall(NR_GETPPID, *args)


def conversation(worker: Callable[[], object], supervise: Callable[[Any], object]) -> Any:
    """Return what the two sides return; the worker is a thread that a filter makes ask."""

    def child() -> object:
        listeners: list[int] = []
        results: list[object] = []
        installed = threading.Event()

        def body() -> None:
            listeners.append(install(ASK, NEW_LISTENER, actions=(USER_NOTIF, ALLOW)))
            installed.set()
            results.append(worker())

        thread = threading.Thread(target=body)
        thread.start()
        installed.wait()
        with notification.Listener(listeners[0]) as listener:
            told = supervise(listener)
        thread.join()
        return told, results[0]

    outcome = kernel.run(child)
    assert outcome.error is None
    return outcome.value


def cause(attempt: Callable[[], object]) -> object:
    """Return the cause and errno of the SeccompError that an attempt raises."""
    try:
        return attempt()
    except runtime.SeccompError as error:
        return [error.cause, error.errno_name]


# Answers


def test_it_tells_what_the_kernel_tells() -> None:
    def worker() -> object:
        getppid(1, 2**32, 2**63, 2**64 - 1, 5, 6)
        return threading.get_native_id()

    def supervise(listener: Any) -> object:
        call = listener.receive()
        seen = call.nr, call.arch, call.args, call.pid, call.instruction_pointer > 0, call.id > 0
        call.respond()
        return seen

    (nr, arch, args, pid, *positive), tid = conversation(worker, supervise)
    assert (nr, arch, pid) == (NR_GETPPID, kernel.AUDIT_ARCH_X86_64, tid)
    assert args == [1, 2**32, 2**63, 2**64 - 1, 5, 6]
    assert positive == [True, True]


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (lambda call: call.respond(), [0, 0]),
        (lambda call: call.respond(2**63 - 1), [2**63 - 1, 0]),
        (lambda call: call.fail(errno.EXDEV), [-1, errno.EXDEV]),
        (lambda call: call.fail(4095), [-1, 4095]),
    ],
)
def test_an_answer(answer: Callable[[Any], None], result: list[int]) -> None:
    def supervise(listener: Any) -> object:
        call = listener.receive()
        before = call.is_waiting(), call.answered
        answer(call)
        return before, call.answered

    assert conversation(getppid, supervise) == [[[True, False], True], result]


def test_proceed_makes_the_call() -> None:
    told, (result, failure) = conversation(getppid, lambda listener: listener.receive().proceed())
    assert (told, failure) == (None, 0)
    assert result == os.getpid()


@pytest.mark.parametrize(
    "answer",
    [
        lambda call: call.respond(-1),
        lambda call: call.respond(2**63),
        lambda call: call.fail(0),
        lambda call: call.fail(-errno.EPERM),
        lambda call: call.fail(4096),
    ],
)
def test_what_is_no_answer(answer: Callable[[Any], None]) -> None:
    def supervise(listener: Any) -> object:
        call = listener.receive()
        with pytest.raises(ValueError, match="is no "):
            answer(call)
        return call.answered

    # The listener is closed without an answer.
    assert conversation(getppid, supervise) == [False, [-1, errno.ENOSYS]]


def test_a_second_answer() -> None:
    def supervise(listener: Any) -> object:
        call = listener.receive()
        call.respond(1)
        return [
            cause(lambda: call.respond(2)),
            cause(call.proceed),
            cause(lambda: call.add_descriptor(0)),
            call.is_waiting(),
        ]

    told, result = conversation(getppid, supervise)
    assert result == [1, 0]
    *refused, waiting = told
    assert [one[0] for one in refused] == ["gone"] * 3
    assert waiting is False


# Descriptors


@pytest.mark.parametrize("close_on_exec", [True, False])
@pytest.mark.parametrize("number", [None, 200])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_descriptor(*, at_once: bool, number: int | None, close_on_exec: bool) -> None:
    def supervise(listener: Any) -> object:
        reader, writer = os.pipe()
        call = listener.receive()
        add = call.respond_descriptor if at_once else call.add_descriptor
        given = add(writer, number=number, close_on_exec=close_on_exec)
        waiting = call.answered, call.is_waiting()
        if not at_once:
            call.respond(7)
        # Caller and supervisor are one process here.
        os.write(given, b"x")
        inheritable = os.get_inheritable(given)
        return given, number in {None, given}, os.read(reader, 1) == b"x", inheritable, *waiting

    (given, placed, works, inheritable, *waiting), result = conversation(getppid, supervise)
    assert result == [given if at_once else 7, 0]
    assert (placed, works, inheritable) == (True, True, not close_on_exec)
    assert waiting == [at_once, not at_once]


def test_no_descriptor_to_give() -> None:
    def supervise(listener: Any) -> object:
        call = listener.receive()
        told = cause(lambda: call.respond_descriptor(999)), call.answered
        call.fail(errno.EBADF)
        return told

    told = conversation(getppid, supervise)
    assert told == [[["refused", "EBADF"], False], [-1, errno.EBADF]]


# Memory


def pages() -> tuple[int, Any]:
    """Map two pages and unmap the second; return the address of the first, and what keeps it."""
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert kernel.syscall(11, address + mmap.PAGESIZE, mmap.PAGESIZE) == (0, 0)
    return address, memory


def test_memory_is_read() -> None:
    size = 3 * mmap.PAGESIZE
    content = bytes(range(256)) * (size // 256)
    buffer = ctypes.create_string_buffer(content, size)

    def supervise(listener: Any) -> object:
        call = listener.receive()
        told = call.read(call.args[0], size) == content, call.read(call.args[0] + 5, 3).hex()
        call.respond()
        return told

    told, _ = conversation(lambda: getppid(ctypes.addressof(buffer)), supervise)
    assert told == [True, "050607"]


@pytest.mark.parametrize("length", [0, 1, 15, 16, 4095, 4080])
@pytest.mark.parametrize("place", ["start", "end"])
def test_a_string_is_read_up_to_its_end(length: int, place: str) -> None:
    def worker() -> object:
        address, memory = pages()
        start = 0 if place == "start" else mmap.PAGESIZE - length - 1
        memory[start : start + length + 1] = b"x" * length + b"\0"
        return getppid(address + start)

    def supervise(listener: Any) -> object:
        call = listener.receive()
        text = call.read_string(call.args[0])
        call.respond()
        return text.decode()

    assert conversation(worker, supervise) == ["x" * length, [0, 0]]


@pytest.mark.parametrize("offset", [0, mmap.PAGESIZE - 1, mmap.PAGESIZE, None])
def test_a_string_without_end(offset: int | None) -> None:
    def worker() -> object:
        address, memory = pages()
        memory[: mmap.PAGESIZE] = b"x" * mmap.PAGESIZE
        return getppid(0 if offset is None else address + offset)

    def supervise(listener: Any) -> object:
        call = listener.receive()
        told = (
            cause(lambda: call.read_string(call.args[0], 2 * mmap.PAGESIZE)),
            cause(lambda: call.read(call.args[0], mmap.PAGESIZE + 1)),
            cause(lambda: call.read(2**64 - 16, 16)),
            cause(lambda: call.read(2**63 - 1, 1)),
        )
        call.respond()
        return told

    assert conversation(worker, supervise)[0] == [["unreadable", "EFAULT"]] * 4


def test_a_string_that_is_too_long() -> None:
    buffer = ctypes.create_string_buffer(b"x" * 5000)

    def supervise(listener: Any) -> object:
        call = listener.receive()
        told = (
            cause(lambda: call.read_string(call.args[0])),
            len(call.read_string(call.args[0], 5001)),
            cause(lambda: call.read_string(call.args[0], 5000)),
        )
        call.respond()
        return told

    expected = [["unreadable", "ENAMETOOLONG"], 5000, ["unreadable", "ENAMETOOLONG"]]
    assert conversation(lambda: getppid(ctypes.addressof(buffer)), supervise)[0] == expected


def test_memory_of_another_user_is_not_read() -> None:
    if os.geteuid() != 0:
        pytest.skip("to become another user needs root")

    def supervise() -> object:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        with notification.Listener.receive_from(ours) as listener:
            call = listener.receive()
            told = cause(lambda: call.read(call.args[0], 1))
            call.respond()
            return told

    ours, pid = confined(lambda: getppid(1))
    try:
        assert kernel.run(supervise).value == ["unreadable", "EACCES"]
    finally:
        ours.close()
        os.waitpid(pid, 0)


# Another process


def confined(worker: Callable[[], object]) -> tuple[socket.socket, int]:
    """Fork a worker that hands its listener over; return where, and its PID."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            listener = install(ASK, NEW_LISTENER, actions=(USER_NOTIF, ALLOW))
            notification.send_listener(theirs, listener)
            closed = not os.path.exists(f"/proc/self/fd/{listener}")  # noqa: PTH110 - quick
            if not closed:
                os._exit(9)
            worker()
            os._exit(0)
        finally:
            os._exit(1)
    theirs.close()
    return ours, pid


def test_a_listener_is_handed_over() -> None:
    ours, pid = confined(lambda: os._exit(7 if getppid() == (1234, 0) else 8))
    with ours, notification.Listener.receive_from(ours) as listener:
        assert not os.get_inheritable(listener.fileno())
        call = listener.receive(20)
        assert call.pid == pid
        call.respond(1234)
        assert listener.receive(20) is None
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_no_listener_is_handed_over() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.send(b".")
        theirs.close()
        for _ in range(2):  # another message, then none
            assert cause(lambda: notification.Listener.receive_from(ours)) == [
                "no_listener",
                "EPIPE",
            ]


def test_a_caller_that_is_killed() -> None:
    ours, pid = confined(getppid)
    with ours, notification.Listener.receive_from(ours) as listener:
        call = listener.receive(20)
        assert call.is_waiting()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert not call.is_waiting()
        for attempt in (
            call.respond,
            call.proceed,
            lambda: call.fail(1),
            lambda: call.add_descriptor(0),
            lambda: call.respond_descriptor(0),
            lambda: call.read(0, 1),
            lambda: call.read_string(0),
        ):
            assert cause(attempt) == ["gone", "ENOENT"]
        assert not call.answered
        assert listener.receive(20) is None


def test_memory_is_not_that_of_another_process_with_the_same_number() -> None:
    """The PID of a notification may belong to somebody else when its memory is opened."""
    ours, pid = confined(getppid)
    with ours, notification.Listener.receive_from(ours) as listener:
        call = listener.receive(20)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        buffer = ctypes.create_string_buffer(b"ours")
        call.pid = os.getpid()  # as if this process had got the number
        assert cause(lambda: call.read(ctypes.addressof(buffer), 4)) == ["gone", "ENOENT"]


def test_a_caller_that_is_killed_before_it_is_received(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that poll(2) announced may be gone when it is received; time goes on."""
    waits: list[float] = []

    class Poll:
        def __init__(self) -> None:
            self._poll = select.poll()
            self.register = self._poll.register

        def poll(self, timeout: float) -> list[tuple[int, int]]:
            waits.append(timeout)
            events = self._poll.poll(timeout)
            if events[0][1] & select.POLLIN:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            return events

    ours, pid = confined(getppid)
    monkeypatch.setattr(
        notification, "select", types.SimpleNamespace(poll=Poll, POLLIN=1, POLLHUP=16)
    )
    with ours, notification.Listener.receive_from(ours) as listener:
        assert listener.receive(20) is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    first, second = waits
    assert 20_000 >= first > second


def test_a_poll_that_a_signal_disturbs_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says POLLERR of a listener whose lock it could not take for a signal."""

    class Poll:
        def __init__(self) -> None:
            self._poll = select.poll()
            self._descriptor = -1

        def register(self, descriptor: int, events: int) -> None:
            self._descriptor = descriptor
            self._poll.register(descriptor, events)

        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            if not disturbed:
                disturbed.append(True)
                return [(self._descriptor, select.POLLERR)]
            return self._poll.poll(timeout)

    disturbed: list[bool] = []
    names = {"POLLIN": select.POLLIN, "POLLHUP": select.POLLHUP}
    monkeypatch.setattr(notification, "select", types.SimpleNamespace(poll=Poll, **names))
    told = conversation(getppid, lambda listener: listener.serve(lambda _: 7))
    assert told == [None, [7, 0]]


def test_waiting_ends() -> None:
    def supervise(listener: Any) -> object:
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            listener.receive(0.05)
        waited = time.monotonic() - start
        done.set()
        calls = list(listener)
        return waited >= 0.05, len(calls)

    done = threading.Event()
    assert conversation(done.wait, supervise) == [[True, 0], True]


# serve()


def test_serve() -> None:
    def answer(call: Any) -> int:
        what = call.args[0]
        if what == 1:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        if what == 2:
            raise OSError("without errno")
        if what == 3:
            call.fail(errno.EXDEV)
        if what == 4:
            call.read(0, 1)
        if what == 5:
            call.respond(55)
            raise OSError(errno.EPERM, "too late")
        if what == 6:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")  # its errno is below 0
        if what == 7:
            raise OSError(4096, "no errno")
        return 100 + int(what)

    def worker() -> object:
        return [getppid(what) for what in range(9)]

    assert conversation(worker, lambda listener: listener.serve(answer))[1] == [
        [100, 0],
        [-1, errno.ENOENT],
        [-1, errno.EIO],
        [-1, errno.EXDEV],
        [-1, errno.EFAULT],
        [55, 0],
        [-1, errno.EIO],
        [-1, errno.EIO],
        [108, 0],
    ]


@pytest.mark.parametrize("reads", [True, False])
def test_serve_passes_over_who_is_gone(*, reads: bool) -> None:
    ours, pid = confined(getppid)
    calls: list[object] = []

    def answer(call: Any) -> int:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        calls.append(call)
        return int(len(call.read(0, 1)) if reads else 0)

    with ours, notification.Listener.receive_from(ours) as listener:
        listener.serve(answer)
    assert len(calls) == 1


def test_serve_fails_closed() -> None:
    def answer(_: Any) -> int:
        raise KeyError("a bug")

    def supervise(listener: Any) -> object:
        with pytest.raises(KeyError):
            listener.serve(answer)
        return True

    assert conversation(getppid, supervise) == [True, [-1, errno.ENOSYS]]


# The kernel


def test_no_notification() -> None:
    def child() -> object:
        descriptor = install(always(ALLOW), NEW_LISTENER)
        outer = on_call(NR_SECCOMP, ERRNO | errno.EINVAL, GET_NOTIF_SIZES)
        kernel.install_raw(outer)
        return cause(lambda: notification.Listener(descriptor))

    assert kernel.run(child).value == ["no_notification", "EINVAL"]


def test_what_is_no_listener() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    with notification.Listener(reader) as listener:
        assert cause(listener.receive) == ["refused", "ENOTTY"]
    with notification.Listener(writer) as listener:  # with nobody to read, poll(2) says POLLERR
        assert cause(listener.receive) == ["refused", "ENOTTY"]
    listener.close()  # once more
    assert listener.fileno() == -1


def test_a_descriptor_that_is_closed_is_not_the_end() -> None:
    def child() -> object:
        listener = notification.Listener(os.dup(0))
        os.close(listener.fileno())
        return cause(listener.receive)

    assert kernel.run(child).value == ["refused", "EBADF"]


def test_the_structures_are_the_kernels() -> None:
    ours = notification._NOTIF.size, notification._RESPONSE.size, 64
    assert notification._sizes() == ours


FAMILIES = {
    **dict.fromkeys(("x86_64", "i386", "x32"), "x86"),
    **dict.fromkeys(("ppc", "ppc64", "ppc64le"), "powerpc"),
    "aarch64": "arm64",
}


@pytest.mark.parametrize("abi", sorted(row.split()[0] for row in runtime._ABIS.split(";")))
def test_the_ioctls_are_those_of_the_headers(abi: str, tmp_path: Path) -> None:
    gcc = shutil.which("gcc")
    families = [path.name for path in HEADERS.glob("*")]
    family = FAMILIES.get(abi) or next((name for name in families if abi.startswith(name)), "")
    if gcc is None or family not in families:
        pytest.skip("needs gcc, and linux-libc-dev with headers of this architecture")
    names = {"RECV": "", "SEND": "", "ADDFD": "", "ID_VALID": ""}
    macros = {name: f"SECCOMP_IOCTL_NOTIF_{name}" for name in names}
    macros["ID_VALID"] = "SECCOMP_IOR(2, __u64)"
    lines = ["#include <linux/ioctl.h>", "#include <linux/seccomp.h>"]
    for name, number in notification._ioctls(abi).items():
        lines.append(f'_Static_assert({macros[name]} == {number:#x}u, "{name}");')
    source = tmp_path / "ioctls.c"
    source.write_text("\n".join(lines) + "\n")
    include = ["-nostdinc", "-isystem", str(HEADERS / family), "-isystem", "/usr/include"]
    run = subprocess.run(
        [gcc, *include, "-fsyntax-only", source], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
