"""A program that is permitted nothing but what gives nothing, on the running kernel: it works."""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from running_kernel import install_raw, libc, require_x86_64, run
from seccompgen.core.abis import ABIS
from seccompgen.kernel.powers import powers
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.pipeline.build import build_policy
from seccompgen.policy.groups import stock_groups

if TYPE_CHECKING:
    from collections.abc import Callable

require_x86_64()

EPERM = 1
NOTHING = [
    name
    for name, group in stock_groups().items()
    if group.kinds and not any(powers().kinds[kind].gives for kind in group.kinds)
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a filter that permits the groups of what gives nothing."""
    path = tmp_path_factory.mktemp("nothing") / "nothing.yml"
    path.write_text(
        "arches: [x86_64]\ndefault_action: errno(EPERM)\nsyscalls:\n"
        "- {action: errno(ENOSYS), names: [clone3]}\n"
        f"- {{action: allow, names: {[f'@{name}' for name in NOTHING]}}}\n"
    )
    return build_policy(path, shipped_tables(), [ABIS["x86_64"]]).programs[0].to_bytes()


def computes() -> int:
    return sum(len(str(7**n)) for n in range(300))


def allocates() -> bool:
    """The heap and mappings grow, move and go."""
    grown = all(libc.malloc(size) for size in (100, 100_000, 10_000_000) for _ in range(50))
    with mmap.mmap(-1, 1 << 20) as area:
        area.resize(1 << 22)
        area.madvise(mmap.MADV_DONTNEED)
    return grown and len(bytearray(1 << 26)) == 1 << 26


def threads() -> list[int]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(abs, range(-8, 0)))


def waits() -> list[bool]:
    """For descriptors of its own, a signal that it has itself sent, a thread, and time."""
    reader, writer = os.pipe()
    here, there = socket.socketpair()
    came: list[int] = []
    signal.signal(signal.SIGALRM, lambda *_: came.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    signal.pause()
    os.write(writer, b"x")
    there.send(b"y")
    with select.epoll() as waiting:
        waiting.register(reader)
        waiting.register(here)
        ready = waiting.poll()
    done = threading.Event()
    threading.Timer(0.001, done.set).start()
    time.sleep(0.001)
    return [len(ready) == 2, came == [1], done.wait(10)]


@pytest.mark.parametrize(
    ("work", "result"),
    [
        (computes, computes()),
        (allocates, True),
        (threads, [*range(8, 0, -1)]),
        (waits, [True, True, True]),
        (lambda: [os.getpid() > 0, os.getuid() >= 0, len(os.urandom(8)), os.cpu_count() is None],
         [True, True, 8, False]),
    ],
)  # fmt: skip
def test_it_works(program: bytes, work: Callable[[], object], result: object) -> None:
    def confined() -> object:
        install_raw(program)
        return work()

    outcome = run(confined)
    assert (outcome.error, outcome.value) == (None, result)


def test_it_gets_nothing(program: bytes, tmp_path: Path) -> None:
    """Code, files, programs, processes, sockets, and signals to others."""
    libc.mmap.restype = ctypes.c_void_p
    code = mmap.PROT_READ | mmap.PROT_EXEC

    def confined() -> list[int]:
        area = mmap.mmap(-1, 4096)
        at = ctypes.addressof(ctypes.c_char.from_buffer(area))
        install_raw(program)
        tried: list[Callable[[], object]] = [
            lambda: mmap.mmap(-1, 4096, prot=code),
            lambda: raised(libc.mprotect(ctypes.c_void_p(at), 4096, code)),
            lambda: (tmp_path / "new").write_text(""),
            lambda: list(Path("/").iterdir()),
            lambda: os.execv("/bin/true", ["true"]),
            os.fork,
            socket.socket,
            lambda: os.kill(os.getppid(), 0),
            lambda: os.setuid(0),
        ]
        return [errno_of(one) for one in tried]

    outcome = run(confined)
    assert (outcome.error, outcome.value) == (None, [EPERM] * 9)


def raised(result: int) -> None:
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")


def errno_of(tried: Callable[[], object]) -> int:
    try:
        tried()
    except OSError as error:
        return error.errno or 0
    return 0
