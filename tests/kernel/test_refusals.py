"""What powers.toml says of refused calls, seen: programs crash, spin, or do not notice."""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import platform
import resource
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from running_kernel import ERRNO, install_raw, on_call, require_x86_64, run
from seccompgen.kernel.powers import RefusalEffect, powers
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Callable

require_x86_64()

LIBC = ctypes.CDLL(None)
EXTENSION = 1 << 20


def grow() -> bool:
    return all(LIBC.malloc(100_000) for _ in range(3000))


def extend() -> bool:
    """Take memory as malloc does where its heap is full: that of another thread lies elsewhere."""
    LIBC.sbrk.restype = ctypes.c_void_p
    ctypes.memset(LIBC.sbrk(EXTENSION), 0, EXTENSION)
    return True


def handle() -> None:
    signal.signal(signal.SIGUSR1, lambda *_: None)
    os.kill(os.getpid(), signal.SIGUSR1)


def under(call: str, function: Callable[[], object], errno: int = 1) -> Callable[[], object]:
    number = shipped_tables().tables["x86_64"].numbers[call]

    def confined() -> object:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.disable()
        install_raw(on_call(number, ERRNO | errno))
        return function()

    return confined


@pytest.mark.parametrize(
    ("call", "function"),
    [
        ("brk", extend),
        ("exit_group", lambda: LIBC._exit(3)),
        ("tgkill", LIBC.abort),
        ("rt_sigreturn", handle),
    ],
)
def test_a_crash(call: str, function: Callable[[], object]) -> None:
    assert powers().refused[call].effect is RefusalEffect.CRASH
    assert run(under(call, function)).signal == signal.SIGSEGV


@pytest.mark.parametrize("call", ["getpid", "getuid", "umask"])
def test_an_error_that_is_taken_for_a_number(call: str) -> None:
    assert powers().refused[call].effect is RefusalEffect.SILENCE
    assert run(under(call, lambda: getattr(LIBC, call)(0))).value == -1


def test_a_thread_that_cannot_end_spins() -> None:
    """It makes the call again and again: its processor's time goes on while nobody else works.

    The thread is not joined: since Python 3.13, that waits for its end in the kernel.
    """
    assert powers().refused["exit"].effect is RefusalEffect.SPIN

    def end() -> bool:
        begun = threading.Event()
        threading.Thread(target=begun.set, daemon=True).start()
        begun.wait()
        before = time.process_time()
        while time.process_time() - before < 0.05:
            time.sleep(0.01)
        return True

    assert run(under("exit", end)).value is True


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries spin")
def test_a_lock_that_cannot_wait_ends_the_program() -> None:
    assert powers().refused["futex"].effect is RefusalEffect.SPIN
    lock = threading.Lock()

    def wait() -> None:
        lock.acquire()
        lock.acquire(timeout=0.01)

    assert run(under("futex", wait)).signal == signal.SIGABRT


def test_memory_that_is_not_given_back() -> None:
    assert powers().refused["munmap"].effect is RefusalEffect.SILENCE

    def unmap() -> bool:
        mmap.mmap(-1, 1 << 26).close()
        return "/dev/zero" in Path("/proc/self/maps").read_text()

    assert run(under("munmap", unmap)).value is True


def test_more_is_refused_than_meant() -> None:
    assert powers().refused["sendto"].effect is RefusalEffect.EXCESS

    def send() -> int | None:
        one, _ = socket.socketpair()
        try:
            return one.send(b"x")
        except PermissionError as error:
            return error.errno

    assert run(under("sendto", send)).value == 1


def test_errno_0_is_an_answer() -> None:
    """For brk it is that of a kernel without room; whoever forks becomes a child of nobody."""
    assert run(under("brk", grow, 0)).value is True

    def fork() -> list[int]:
        before = os.getpid()
        return [os.fork(), os.getpid() - before]

    assert run(under("clone", fork, 0)).value == [0, 0]
