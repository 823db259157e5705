"""``run --trace`` when the command, the supervisor or both crash, stop, or end."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from tracing import (
    NO_EXEC,
    PTRACE,
    PYTHON,
    alive,
    both,
    children,
    run,
    start,
    state,
    traced,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

kernel.require_x86_64()


@both
@pytest.mark.parametrize(
    "crash",
    [
        "os.kill(os.getpid(), 9)",
        *[
            pytest.param(crash, marks=pytest.mark.long("other ends"))
            for crash in ("os.abort()", "os._exit(3)")
        ],
    ],
)
def test_a_target_that_crashes_or_exits_at_once(
    how: list[str], crash: str, no_parent: Path
) -> None:
    done, told = traced(how, no_parent, f"import os; os.getppid(); {crash}")
    assert done.code == {"os.abort()": -6, "os._exit(3)": 3}.get(crash, -9)
    assert len(told) == 1
    assert run(*how, NO_EXEC, "--", "true").code == 0


def test_an_abort_that_is_refused_is_told_from_a_crash(tmp_path: Path) -> None:
    """glibc's abort() ends by SIGSEGV then, and the program has said nothing of a refusal."""
    policy = tmp_path / "policy.yml"
    policy.write_text("default_action: allow\nsyscalls:\n- {action: errno, names: [tgkill]}\n")
    code = "import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.abort()"
    done = run("--trace", policy, "--", PYTHON, "-I", "-S", "-c", code)
    assert done.code == -signal.SIGSEGV
    first, hint, *_ = done.err.splitlines()
    assert "tgkill(" in first
    assert "SIGABRT): errno(EPERM) by" in first
    assert "aborts, and may not send itself SIGABRT: the C library ends it by SIGSEGV" in hint
    assert done.err.count("aborts, and may not") == 1


@pytest.mark.few(1, "runs programs under a tracer again and again")
@both
def test_a_signal_to_the_supervisor_reaches_the_command(how: list[str], no_parent: Path) -> None:
    # A handler of Python's would wait for the end of a pause() that begins just after the signal.
    code = (
        "import signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {1, 2, 10, 15})\n"
        "print('ready', flush=True)\n"
        "sys.exit(100 + signal.sigwait({1, 2, 10, 15}))\n"
    )
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
        with start(*how, no_parent, "--", PYTHON, "-c", code) as child:
            assert child.stdout and child.stdout.readline() == "ready\n"
            child.send_signal(number)
            assert child.wait(120) == 100 + number
    with start(*how, no_parent, "--", "sleep", "60") as child:
        wait_for(lambda: children(child.pid))
        child.terminate()
        assert child.wait(120) == -signal.SIGTERM


@pytest.mark.few(1, "runs programs under a tracer again and again")
@both
@pytest.mark.parametrize("orphaned", [False, True])
def test_it_stops_with_the_command_and_continues_it(
    how: list[str], orphaned: bool, no_parent: Path
) -> None:
    """Also in an orphaned process group, which the kernel lets no terminal stop."""
    group: dict[str, Any] = {"start_new_session": True} if orphaned else {"process_group": 0}
    with start(*how, no_parent, "--", "sh", "-c", "kill -STOP $$; exit 5", **group) as child:
        wait_for(lambda: state(child.pid) == "T")
        # To the supervisor alone: a shell would continue all of the job.
        child.send_signal(signal.SIGCONT)
        assert child.wait(120) == 5


@pytest.mark.few(1, "runs programs under a tracer again and again")
@both
def test_processes_that_outlive_the_command_are_watched_on(
    how: list[str], no_parent: Path, tmp_path: Path
) -> None:
    gate, done = tmp_path / "gate", tmp_path / "done"
    code = f"""
import os, pathlib, time
if os.fork() == 0:
    while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)
    os.getppid()
    pathlib.Path({str(done)!r}).touch()
    os._exit(0)
os._exit(5)
"""
    with start(*how, no_parent, "--", PYTHON, "-c", code) as child:
        assert child.stderr
        assert "COMMAND has ended, processes of it go on" in child.stderr.readline()
        gate.touch()
        assert child.wait(120) == 5
        assert "refused:" in child.stderr.read()
    assert done.exists()


@pytest.mark.few(1, "runs programs under a tracer again and again")
@both
def test_when_the_supervisor_is_killed_the_command_is_not_left_unconfined(
    how: list[str], forbid: Callable[..., Path], tmp_path: Path
) -> None:
    policy = forbid("errno(EACCES)")
    notes = tmp_path / "notes"
    code = f"""
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
child = os.fork()
with open({str(notes)!r}, "a") as file:
    while True:
        result = libc.syscall(110)
        who = "child" if child == 0 else "command"
        print(who, result, ctypes.get_errno(), file=file, flush=True)
        time.sleep(0.01)
"""
    with start(*how, policy, "--", PYTHON, "-c", code) as child:
        wait_for(lambda: notes.exists() and notes.read_text().count("child") > 3)
        (command,) = children(child.pid)
        (grandchild,) = children(command)
        child.kill()
        child.wait(120)
        try:
            wait_for(lambda: not alive(command))
            if how is PTRACE:
                wait_for(lambda: not alive(grandchild))
            else:
                # Confined as before, by a filter that nobody answers for.
                wait_for(lambda: notes.read_text().endswith("child -1 38\n"))
        finally:
            if alive(grandchild):
                os.kill(grandchild, signal.SIGKILL)
    assert {line.split()[1] for line in notes.read_text().splitlines()} == {"-1"}
