"""Start a program of another ABI of the kernel under a filter, and tell how it ended."""

import ctypes
import os
from collections.abc import Sequence

from kernels.inside import confined
from kernels.inside.confined import libc

_PATH = b"/tmp/foreign"


def ends(nr_seccomp: int, trials: "Sequence[Sequence[bytes]]") -> "list[list[object]]":
    """Return how each program (an ELF file) ended under each filter.

    ["exit", its status], ["signal", number], ["trap", si_errno, si_arch] or ["error", text].
    """
    return [_end(nr_seccomp, program, elf) for program, elf in trials]


def _end(nr_seccomp: int, program: bytes, elf: bytes) -> "list[object]":
    with open(_PATH, "wb") as file:
        file.write(elf)
    os.chmod(_PATH, 0o755)

    def install() -> None:
        confined.install_raw(nr_seccomp, program, 0)
        # Called as a function of C, since Python's own does more.
        arguments = (ctypes.c_char_p * 2)(_PATH, None)
        libc.execve(_PATH, arguments, (ctypes.c_char_p * 1)(None))
        raise OSError(ctypes.get_errno(), "execve")

    child = confined.Child([(0,) * confined.CALL_WORDS], install, set())
    child.fork(child.work_traced)
    status = child.wait_tracing()
    run = child.result(status)
    if run.refused:
        return ["error", run.refused]
    kind, value, arch = memoryview(run.records).cast("Q")[2:5]
    if kind == confined.TRAPPED:
        return ["trap", value, arch]
    if os.WIFSIGNALED(status):
        return ["signal", os.WTERMSIG(status)]
    return ["exit", os.WEXITSTATUS(status)]
