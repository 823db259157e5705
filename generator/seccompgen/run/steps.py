"""The part that a call plays in installing a filter: it asks, marks, or installs.

The runtime probes the kernel by two calls: one without a program, then one with a program of no
instructions. Its marker() makes only the first. Sources: seccomp(2), prctl(2).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from seccompgen.core.model import U32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seccompgen.run.process import Process

INSTALLERS = ("seccomp", "prctl")
"""Calls that can install a filter."""

_SET_MODE_FILTER = 1
_MODE_FILTER = 2
_PR_GET_SECCOMP, _PR_SET_SECCOMP = 21, 22
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39
_QUESTIONS = frozenset(
    {_PR_GET_SECCOMP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS}
)
_PROGRAM_LENGTH = 2
"""Bytes of the first field of ``struct sock_fprog``."""


class InstallStep(enum.Enum):
    """The part that a call plays in installing a filter; EMPTY has a program of no instructions."""

    NONE = enum.auto()
    ASKS = enum.auto()
    MARKS = enum.auto()
    EMPTY = enum.auto()
    INSTALLS = enum.auto()


def step_of(name: str, args: Sequence[int], process: Process) -> InstallStep:
    """Return the part that a call of ``process`` plays in installing a filter."""
    first, second, program = args[0] & U32, args[1] & U32, args[2]
    if name == "seccomp":
        installs, marks = first == _SET_MODE_FILTER, not second
    elif name == "prctl" and first in _QUESTIONS:
        installs, marks = first == _PR_SET_SECCOMP and second == _MODE_FILTER, True
    else:
        return InstallStep.NONE
    if not installs:
        return InstallStep.ASKS
    if not program:
        # With flags, the call asks whether the kernel has them, as libseccomp does.
        return InstallStep.MARKS if marks else InstallStep.ASKS
    length = process.memory(program, _PROGRAM_LENGTH)
    if not length:
        # Either the kernel cannot read it, or the process lets nobody else (PR_SET_DUMPABLE).
        hides = process.has_memory and not process.mappings
        return InstallStep.INSTALLS if hides else InstallStep.ASKS
    return InstallStep.INSTALLS if any(length) else InstallStep.EMPTY
