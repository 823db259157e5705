"""``notification.py``: what it tells, and its answers, descriptors and memory."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from listening import cause, confined, conversation, getppid
from running_kernel import NR_GETPPID
from runtime_template import notification

if TYPE_CHECKING:
    from collections.abc import Callable

kernel.require_x86_64()


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


@pytest.mark.few(6, "tries interpreters, sandboxes or moments one by one")
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


@pytest.mark.few(5, "tries interpreters, sandboxes or moments one by one")
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


@pytest.mark.root("becomes another user")
def test_memory_of_another_user_is_not_read() -> None:
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
