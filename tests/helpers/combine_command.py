"""Policies and instructions to combine from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from command import inside, snapshot
from interpreter import assemble

if TYPE_CHECKING:
    from pathlib import Path

ONE = """\
description: |
  Plain reading and writing.
  More of it.
arches: [x86_64, s390x]
default_action: errno
syscalls:
- {action: allow, names: [read, write, exit_group]}
- action: allow
  multiplexed: errno
  names_with_args:
  - {name: socket, arguments: [{argument: 0, operation: Equal, value: 1, width: 32}]}
"""
TWO = """\
arches: [x86_64, aarch64]
default_action: allow
syscalls:
- {action: errno(EACCES), names: [write, openat]}
- {action: kill_process, names: [execve]}
"""
ASKS = """\
arches: [x86_64]
default_action: user_notif
flags: [new_listener]
syscalls:
- {action: allow, names: [read]}
"""
LEFT_OUT = [
    "one.yml: note: has no program for aarch64; left out",
    "two.yml: note: has no program for s390x; left out",
]
LD_NR, LD_ARG = (0x20, 0, 0, 0), (0x20, 0, 0, 16)
ERRNO, ALLOW, KILL = ((0x06, 0, 0, k) for k in (0x00050001, 0x7FFF0000, 0x80000000))


def refused(here: Path, *args: str) -> list[str]:
    """Run a command that must refuse its input, and change nothing; return what it says."""
    before = snapshot(here)
    result = inside(*args, cwd=here)
    assert (result.code, result.out) == (2, ""), result
    assert snapshot(here) == before
    return result.err.splitlines()


def raw(path: Path, *instructions: tuple[int, int, int, int]) -> str:
    path.write_bytes(assemble(instructions, "little"))
    return path.name
