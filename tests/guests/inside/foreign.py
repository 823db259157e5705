"""Start a program of another ABI of the kernel under a filter, and tell how it ended."""

import ctypes
import os
from collections.abc import Sequence

from guests.inside import confined

_PATH = b"/tmp/foreign"


def ends(
    maker: confined.Confined, nr_execve: int, trials: "Sequence[Sequence[bytes]]"
) -> "list[list[object]]":
    """Return how each program (an ELF file) ended under each filter.

    ["exit", its status], ["signal", number], ["trap", si_errno, si_arch] or ["error", text].
    """
    return [_end(maker, nr_execve, program, elf) for program, elf in trials]


def _end(maker: confined.Confined, nr_execve: int, program: bytes, elf: bytes) -> "list[object]":
    with open(_PATH, "wb") as file:
        file.write(elf)
    os.chmod(_PATH, 0o755)
    path = ctypes.c_char_p(_PATH)
    arguments = (ctypes.c_char_p * 2)(path, None)
    address = ctypes.cast(path, ctypes.c_void_p).value or 0
    execute = confined.packed((nr_execve, address, ctypes.addressof(arguments)))
    run = maker.run(execute, program, 0, "traced")
    if run.refused or run.made:
        return ["error", run.refused or "execve returned"]
    for _, kind, value, arch in run.outside:
        if kind == confined.TRAPPED:
            return ["trap", value, arch]
    if os.WIFSIGNALED(run.status):
        return ["signal", os.WTERMSIG(run.status)]
    return ["exit", os.WEXITSTATUS(run.status)]
