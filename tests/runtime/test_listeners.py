"""Listeners of user notifications: handed over, waited on, served, and closed."""

from __future__ import annotations

import ctypes
import errno
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
from typing import Any

import pytest
import running_kernel as kernel
from listening import cause, confined, conversation, getppid
from running_kernel import ALLOW, ERRNO, NEW_LISTENER, NR_SECCOMP, always, on_call
from runtime_template import install, notification, runtime

kernel.require_x86_64()

GET_NOTIF_SIZES = 3
HEADERS = Path("/usr/lib/linux/uapi")


def test_a_listener_is_handed_over() -> None:
    ours, pid = confined(lambda: os._exit(7 if getppid() == (1234, 0) else 8))
    with ours, notification.Listener.receive_from(ours) as listener:
        assert not os.get_inheritable(listener.fileno())
        call = listener.receive(20)
        assert call.pid == pid
        call.respond(1234)
        assert listener.receive(20) is None
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


NR_CLOSE, NR_SENDMSG, NR_PIDFD_GETFD = 3, 46, 438


def test_a_listener_that_is_asked_for_its_own_hand_over() -> None:
    """The worker waits in sendmsg until somebody takes the listener out: `listener-deadlock`."""
    asks = on_call(NR_SENDMSG, kernel.USER_NOTIF)[:-8] + on_call(NR_CLOSE, kernel.USER_NOTIF)
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            number = install(asks, NEW_LISTENER, actions=(kernel.USER_NOTIF, ALLOW))
            os.write(theirs.fileno(), bytes([number]))
            notification.send_listener(theirs, number)
        finally:
            os._exit(0)
    theirs.close()
    descriptor = kernel.syscall(NR_PIDFD_GETFD, os.pidfd_open(pid), ours.recv(1)[0])[0]
    with notification.Listener(descriptor) as fetched:
        call = fetched.receive(20)
        assert call.nr == NR_SENDMSG
        call.proceed()
        with ours, notification.Listener.receive_from(ours) as listener:
            # Closing its own afterwards needs a supervisor that answers, and has one.
            call = listener.receive(20)
            assert call.nr == NR_CLOSE
            call.proceed()
            assert listener.receive(20) is None
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


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
