"""Policies and targets that the tests of ``run`` share."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NO_PARENT = """
default_action: allow
syscalls:
- action: {action}
  names: [getppid]
"""


@pytest.fixture
def forbid(tmp_path: Path) -> Callable[..., Path]:
    """Write a policy that answers getppid, in line 5, by an action."""

    def write(action: str, more: str = "") -> Path:
        path = tmp_path / "no_parent.yml"
        path.write_text(NO_PARENT.format(action=action) + more)
        return path

    return write


@pytest.fixture
def no_parent(forbid: Callable[..., Path]) -> Path:
    """A policy that refuses getppid by EACCES."""
    return forbid("errno(EACCES)")


I386_CODE = 0x08048054
"""The address of the first instruction of what `assembled` writes."""


def assembled(path: Path, code: bytes) -> Path:
    """Write an executable for i386."""
    base, head = 0x08048000, 84
    size = head + len(code)
    header = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + head, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    path.write_bytes(header + struct.pack("<8I", 1, 0, base, base, size, size, 5, 4096) + code)
    path.chmod(0o755)
    return path


@pytest.fixture
def i386_program(tmp_path: Path) -> Path:
    """An executable for i386, assembled by hand: getpid(); exit(7)."""
    kernel.i386_call()
    code = bytes.fromhex("b814000000cd80b801000000bb07000000cd80")
    return assembled(tmp_path / "i386_program", code)


@pytest.fixture
def i386_handler(tmp_path: Path) -> Path:
    """An executable for i386 whose handler of SIGSYS writes 24 bytes of its siginfo, and ends."""
    kernel.i386_call()
    main = (
        "b8ae000000 bb1f000000 b9{action} 31d2 be08000000 cd80"  # rt_sigaction(SIGSYS, action)
        "b840000000 cd80"  # getppid()
        "b801000000 bb09000000 cd80"  # exit(9)
    )
    handler = bytes.fromhex(
        "8b4c2408 b804000000 bb01000000 ba18000000 cd80"  # write(1, siginfo, 24)
        "b801000000 31db cd80"  # exit(0)
    )
    length = len(bytes.fromhex(main.format(action="00" * 4)))
    start = I386_CODE + length
    code = bytes.fromhex(main.format(action=struct.pack("<I", start + len(handler)).hex()))
    action = struct.pack("<IIIQ", start, 4 | 0x04000000, start, 0)  # SA_SIGINFO, SA_RESTORER
    return assembled(tmp_path / "i386_handler", code + handler + action)
