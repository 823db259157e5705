"""i386 calls on an x86_64 kernel, with something in the upper halves of registers.

It shows that to filters, and the call gets the lower halves: so a filter must not look at more.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from oracle import ABIS, U32
from strategies import compiled, plain_tables

if TYPE_CHECKING:
    from collections.abc import Callable

kernel.require_x86_64()

I386 = plain_tables()["i386"]
GARBAGE = (1 << 32, 0xFFFFFFFF << 32, 0x7FFFFFFF80000000 & ~U32)
READ_HIGH, JUMP_EQUAL = 0x20, 0x15


@pytest.mark.few(5, "tries interpreters, sandboxes or moments one by one")
@pytest.mark.parametrize("argument", range(6))
def test_a_filter_sees_the_upper_half(argument: int) -> None:
    call = kernel.i386_call()
    program = (
        kernel.instruction(READ_HIGH, 0, 0, 16 + 8 * argument + 4)
        + kernel.instruction(JUMP_EQUAL, 0, 1, 0xABCDEF01)
        + kernel.always(kernel.ERRNO | 77)
        + kernel.always(kernel.ALLOW)
    )
    args = [0] * 6
    args[argument] = 0xABCDEF01 << 32 | 5

    def child() -> object:
        kernel.install_raw(program)
        plain = [arg & U32 for arg in args]
        return call(kernel.I386_NR_GETPPID, *args), call(kernel.I386_NR_GETPPID, *plain)

    assert kernel.run(child).value == [-77, os.getpid()]


def low_memory(size: int = 4096) -> mmap.mmap:
    """Return memory below 4 GiB, for pointers of 32 bits."""
    map_32bit = 0x40
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | map_32bit
    return mmap.mmap(-1, size, flags=flags)


LOW_MEMORY = low_memory()
"""Mapped early: where a Python is linked to a fixed address, its heap grows over all of this."""


def address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def calls(memory: mmap.mmap, file: int) -> dict[str, tuple[int, ...]]:
    """Return calls of all kinds of handlers: of ints, longs, pointers, 64-bit values in two words.

    ``compat_`` ones among them (fcntl64, ioctl, sendfile), and one with six arguments.
    """
    at = address(memory)
    memory[:] = b"\0" * len(memory)
    memory[:6] = b"/proc\0"
    return {
        "dup2": (file, 200),
        "lseek": (file, 3, os.SEEK_SET),
        "_llseek": (file, 0, 5, at + 64, os.SEEK_SET),
        "fcntl64": (file, fcntl.F_GETFL, 0),
        "access": (at, os.R_OK),
        "write": (file, at, 6),
        "pread64": (file, at + 128, 6, 0, 0),
        "ftruncate": (file, 4096),
        "mmap2": (0, 4096, mmap.PROT_READ, mmap.MAP_PRIVATE, file, 0),
        "getpriority": (0, 0),
        "socket": (socket.AF_UNIX, socket.SOCK_DGRAM, 0),
        "prctl": (3, 0, 0, 0, 0),  # PR_GET_DUMPABLE
        "fadvise64_64": (file, 0, 0, 4096, 0, 0),
        "munmap": (at + 4096, 0),
    }


def made(call: Callable[..., int], add: int) -> dict[str, Any]:
    """Make each of ``calls`` with ``add`` in all upper halves; tell what it returned and did."""
    memory = LOW_MEMORY
    file = os.memfd_create("file")
    results: dict[str, Any] = {}
    for name, args in calls(memory, file).items():
        result = call(I386[name], *(arg | add for arg in args))
        results[name] = result if name != "mmap2" else 0 < -result < 4096
        results[f"after {name}"] = os.lseek(file, 0, os.SEEK_CUR), os.fstat(file).st_size
        results[f"memory after {name}"] = bytes(memory[64:160]).hex()
    return results


@pytest.mark.few(2, "tries interpreters, sandboxes or moments one by one")
@pytest.mark.parametrize("garbage", GARBAGE, ids=hex)
def test_calls_get_the_lower_halves(garbage: int) -> None:
    call = kernel.i386_call()
    plain = kernel.run(lambda: made(call, 0)).value
    assert kernel.run(lambda: made(call, garbage)).value == plain
    worked = [name for name in plain if "after" not in name and plain[name] in range(1 << 31)]
    assert len(worked) >= 12, plain


@pytest.mark.parametrize("garbage", GARBAGE, ids=hex)
def test_what_a_policy_refuses_is_refused(garbage: int) -> None:
    call = kernel.i386_call()
    entry = {"name": "socket", "arguments": [{"operation": "Equal", "value": int(socket.AF_INET)}]}
    policy = {
        "arches": ["x86_64"],
        "compat_arches": ["i386"],
        "default_action": "allow",
        "multiplexed": "allow",
        "syscalls": [{"action": "errno(EACCES)", "names_with_args": [entry]}],
    }
    program = compiled(policy)["x86_64"]
    args = (int(socket.AF_INET), int(socket.SOCK_STREAM), 0)

    def child() -> object:
        before = call(I386["socket"], *(arg | garbage for arg in args))
        kernel.install_raw(program)
        refused = [call(I386["socket"], *(arg | add for arg in args)) for add in (0, garbage)]
        other = call(I386["socket"], int(socket.AF_UNIX) | garbage, args[1] | garbage, garbage)
        return before >= 0, refused, other >= 0

    assert kernel.run(child).value == [True, [-errno.EACCES] * 2, True]


def test_what_a_supervisor_is_shown() -> None:
    call = kernel.i386_call()
    args = [0xABCDEF0000000000 | n << 32 | n for n in range(6)]
    notify = 0x7FC00000
    program = (
        kernel.instruction(READ_HIGH, 0, 0, 4)
        + kernel.instruction(JUMP_EQUAL, 1, 0, ABIS["i386"].audit_arch)
        + kernel.always(kernel.ALLOW)
        + kernel.always(notify)
    )

    def child(hand_over: Callable[[int], None]) -> object:
        hand_over(kernel.install_raw(program, 8))
        return call(kernel.I386_NR_GETPPID, *args)

    _, seen = kernel.run_supervised(child, lambda _: None)
    assert [list(one.args) for one in seen] == [args]
