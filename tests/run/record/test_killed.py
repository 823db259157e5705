"""Processes that are killed before the recorder hears what they did: nothing of it is lost.

The recorder is stopped meanwhile, so that it finds all of it done, and the process gone.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recording import calls
from running_kernel import require_x86_64
from tracing import PYTHON, children, halted, killed, state, wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence

require_x86_64()

AT_FULL_SPEED = """
default_action: errno
syscalls:
- action: allow
  names: [read, write, fork, execve, pause, futex, sched_yield, brk, mmap, munmap, madvise]
"""
"""Policy of the calls that make no stop, and so go on while the recorder is stopped."""
BEGIN = """
import ctypes, os, threading
libc = ctypes.CDLL(None)
libc.syscall(317, 1, 0, None)  # the marker: seccomp(SECCOMP_SET_MODE_FILTER, 0, NULL)
os.getsid(0)
def begin():
    os.write(1, b"%d\\n" % os.getpid())
    os.read(0, 1)
"""
FORKS = """
begin()
if libc.syscall(57) == 0:
    os.getpgid(0)
    os.write(1, b"born\\n")
    os._exit(0)
libc.pause()
"""
EXECUTES = """
words = (ctypes.c_char_p * 3)(b"/bin/sleep", b"1000", None)
def execute():
    begin()
    libc.execve(words[0], words, None)
threading.Thread(target=execute).start()
libc.pause()
"""


def begin(policy: Path, code: str, options: Sequence[str]) -> tuple[subprocess.Popen[str], int]:
    """Start to record a program; return the recorder and the PID of the program, once it waits."""
    known = policy.with_name("known.yml")
    known.write_text(AT_FULL_SPEED)
    words = [PYTHON, "-m", "seccompgen", "record", "--exact", *options, "--merge", str(known)]
    words += ["-o", str(policy), "--", PYTHON, "-I", "-c", BEGIN + code]
    pipe = subprocess.PIPE
    recorder = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert recorder.stdout
    return recorder, int(recorder.stdout.readline())


def go_on(recorder: subprocess.Popen[str]) -> None:
    assert recorder.stdin
    recorder.stdin.write("x")
    recorder.stdin.flush()


@pytest.mark.parametrize("options", [[], ["--startup-marker"]], ids=["all", "marked"])
def test_the_child_of_a_process_that_was_killed_before_it_reported_it(
    policy: Path, options: list[str]
) -> None:
    recorder, pid = begin(policy, FORKS, options)
    with halted(recorder.pid):
        go_on(recorder)
        wait_for(lambda: state(pid) == "t" and [*map(state, children(pid))] == ["t"])
        killed(pid)
    out, err = recorder.communicate(timeout=120)
    assert (out, recorder.returncode) == ("born\n", 128 + signal.SIGKILL), err
    assert {"getsid", "getpgid", "exit_group"} <= {*calls(policy)}


def test_a_process_that_was_killed_before_it_reported_another_program(policy: Path) -> None:
    """The thread that executed it had a number that nobody has any more."""
    recorder, pid = begin(policy, EXECUTES, ["--startup-marker"])
    with halted(recorder.pid):
        go_on(recorder)
        comm = Path(f"/proc/{pid}/comm")
        wait_for(lambda: comm.read_text() == "sleep\n" and state(pid) == "t")
        killed(pid)
    _, err = recorder.communicate(timeout=120)
    assert recorder.returncode == 128 + signal.SIGKILL, err
    assert "getsid" in calls(policy)
