"""What powers.toml says of refused calls, seen: programs crash, spin or take -1 for an answer."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from running_kernel import ERRNO, install_raw, on_call, require_x86_64, run
from seccompgen.kernel.powers import Effect, powers
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Callable

require_x86_64()

LIBC = ctypes.CDLL(None)
ALLOCATIONS = 3000


def grow() -> None:
    for _ in range(ALLOCATIONS):
        LIBC.malloc(100_000)


def handle() -> None:
    signal.signal(signal.SIGUSR1, lambda *_: None)
    os.kill(os.getpid(), signal.SIGUSR1)


def under(call: str, function: Callable[[], object]) -> Callable[[], object]:
    number = shipped_tables().tables["x86_64"].numbers[call]

    def confined() -> object:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.disable()
        install_raw(on_call(number, ERRNO | 1))
        return function()

    return confined


@pytest.mark.parametrize(
    ("call", "function"),
    [
        ("brk", grow),
        ("exit_group", lambda: LIBC._exit(3)),
        ("tgkill", LIBC.abort),
        ("rt_sigreturn", handle),
    ],
)
def test_a_crash(call: str, function: Callable[[], object]) -> None:
    assert powers().refused[call].effect is Effect.CRASH
    assert run(under(call, function)).signal == signal.SIGSEGV


@pytest.mark.parametrize("call", ["getpid", "getuid", "umask"])
def test_an_error_that_is_taken_for_a_number(call: str) -> None:
    assert powers().refused[call].effect is Effect.SILENCE
    assert run(under(call, lambda: getattr(LIBC, call)(0))).value == -1


def test_a_thread_that_cannot_end_spins() -> None:
    """It makes the call again and again: its processor's time goes on while nobody else works."""
    assert powers().refused["exit"].effect is Effect.SPIN

    def end() -> bool:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        before = time.process_time()
        while time.process_time() - before < 0.05:
            time.sleep(0.01)
        return True

    assert run(under("exit", end)).value is True
