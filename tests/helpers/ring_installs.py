"""Installs of filters on io_uring's operations in a child, and what plays the kernel's part."""

from __future__ import annotations

import ctypes
import errno
import mmap
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import running_kernel as kernel
from running_kernel import ALLOW, ERRNO, NR_GETPPID, NR_SECCOMP, on_call
from runtime_template import rings, runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

NUMBERS = NR_SETUP, NR_ENTER, NR_REGISTER = (425, 426, 427)
FILTERED = on_call(NR_GETPPID, ERRNO | 33)
OTHER = on_call(NR_SETUP, ERRNO | errno.ENOSYS)
RET_0, RET_1 = kernel.always(0), kernel.always(1)

NOP, READV, CONNECT, SOCKET = 0, 1, 16, 45
ADDRESS = struct.pack("=H", 2) + struct.pack("!H4s8x", 5432, bytes([10, 1, 2, 3]))
OPERATIONS = ((NOP, 0, RET_1), (CONNECT, 24, RET_1))
TRIALS = ((NOP, (), True), (CONNECT, ADDRESS, True), (READV, (), False))

NO_MMAP, REGISTERED_FD_ONLY = 1 << 14, 1 << 15


AS_MEANT = "(0, 0, 1)"
"""The answer of trials of which the first was refused, and none was otherwise than meant."""


def install(
    *,
    operations: Any = OPERATIONS,
    trials: Any = TRIALS,
    permits_exec: bool = False,
    without: str = "refuse_rings",
    abi: str = "x86_64",
    program: bytes = FILTERED,
    flags: int = 0,
    actions: tuple[int, ...] = (ALLOW,),
) -> dict[str, Any]:
    """Install, and return the error, or which program is in force."""
    section = (NUMBERS, operations, trials, permits_exec, OTHER)
    try:
        result = rings.install(
            "worker",
            {abi: (NR_SECCOMP, program, section)},
            flags=flags,
            no_new_privs=True,
            actions=actions,
            without=without,
        )
    except runtime.SeccompError as error:
        assert rings.filtered() is rings.obstacle() is None
        return {"cause": error.cause, "errno": error.errno, "text": str(error), **error.facts}
    assert result == -1
    by_program = kernel.syscall(NR_GETPPID) == (-1, 33)
    assert rings.filtered() is by_program
    assert by_program or kernel.syscall(NR_SETUP, 0, 0) == (-1, errno.ENOSYS)
    assert by_program is (rings.obstacle() is None)
    return {"filtered": by_program}


def outcome(child: Callable[[], Any]) -> Any:
    seen = kernel.run(child)
    assert seen.error is None
    return seen.value


def descriptors() -> set[str]:
    """Return those that are open, but for the one that is open to see it."""
    return {path.name for path in Path("/proc/self/fd").iterdir() if path.exists()}


class FakeKernel:
    """Answers io_uring_register(2) as a kernel that has filters, and has no ring."""

    def __init__(self, *, last: int = 65, rejected: int = -1) -> None:
        self.last, self.rejected = last, rejected
        self.sizes = {CONNECT: 24, 18: 24, 28: 24, SOCKET: 12}
        self.privileged = True
        self.registered: list[tuple[int, int, int, bytes]] = []

    def call(self, asked: Any, number: int, *words: int) -> tuple[int, int]:
        if number != NR_REGISTER:
            result = kernel.syscall(number, *words)
            return result[0], result[1] if result[0] == -1 else 0
        if words[0] != 0xFFFFFFFF and words[0] != -1:
            return -1, errno.EINVAL
        assert words[1:] == (37, asked.kernel.address, 1)
        if not self.privileged:
            return -1, errno.EACCES
        memory = asked.kernel.memory
        kind, reserved, more, opcode, flags, length, size, pointer = struct.unpack_from(
            "=2H4IB3xQ", memory
        )
        assert (kind, reserved, more, bytes(memory[32:72])) == (1, 0, 0, bytes(40))
        assert pointer == asked.kernel.address + 72
        if opcode >= self.last:
            return -1, errno.EINVAL
        memory[20] = has = self.sizes.get(opcode, 0)
        if size != has and (flags & 2 or size > has):
            return -1, errno.EMSGSIZE
        if opcode == self.rejected:
            return -1, errno.ENOMEM
        self.registered.append((opcode, flags, size, bytes(memory[72 : 72 + 8 * length])))
        return 0, 0


def found(monkeypatch: pytest.MonkeyPatch, *answer: str) -> None:
    """Have the trials end as the last of ``answer`` says, an expression, after the others."""
    *first, last = answer
    lines = "\n    ".join([*first, f"return {last}"])
    made: dict[str, Any] = {}
    exec(f"def tried(numbers, trials):\n    {lines}", rings.__dict__, made)
    monkeypatch.setattr(rings, "_tried", made["tried"])


def make_ring(flags: int = 0) -> tuple[int, mmap.mmap]:
    """Make a ring; skips where none can be had. What is returned must be kept."""
    memory = mmap.mmap(-1, 3 * mmap.PAGESIZE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    at = 2 * mmap.PAGESIZE
    struct.pack_into("=I", memory, at + 8, flags)
    if flags & NO_MMAP:
        struct.pack_into("=Q", memory, at + 72, base + mmap.PAGESIZE)
        struct.pack_into("=Q", memory, at + 112, base)
    return kernel.syscall(NR_SETUP, 1, base + at)[0], memory
