"""`running_kernel` itself: it sees of a child what there is to see."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import in_child
import pytest
import running_kernel as kernel

kernel.require_x86_64()


def test_a_value_an_exception_an_exit_code_a_signal() -> None:
    def fail() -> None:
        raise ValueError("because")

    assert kernel.run(lambda: {"a": [1, None]}) == kernel.Outcome(
        {"a": [1, None]}, None, 0, None, False
    )
    failed = kernel.run(fail)
    assert failed.error is not None
    assert failed.error.startswith("ValueError: because (running_kernel.py:")
    assert Path(__file__).name in failed.error
    assert kernel.run(lambda: os._exit(3)) == kernel.Outcome(None, None, 3, None, False)
    killed = kernel.run(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert killed == kernel.Outcome(None, None, None, signal.SIGTERM, False)


def test_a_long_value() -> None:
    assert kernel.run(lambda: "x" * 1_000_000).value == "x" * 1_000_000


def test_a_child_that_hangs_is_killed_with_its_own_children() -> None:
    notes = in_child.Notes()

    def hang() -> None:
        notes.leave(str(os.fork() or os.getpid()).encode())
        time.sleep(60)

    for timeout in (0.3, 3, 30):  # on a busy machine it takes a while to come so far
        with pytest.raises(TimeoutError):
            kernel.run(hang, timeout=timeout)
        if notes.read():
            break
    grandchild = int(notes.read())
    for _ in range(1000):
        state = Path(f"/proc/{grandchild}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.001)
    pytest.fail("the grandchild lives")


def test_a_core_dump_is_seen(tmp_path: Path) -> None:
    if Path("/proc/sys/kernel/core_pattern").read_text().startswith("|"):
        pytest.skip("core dumps go to a program")

    def child() -> None:
        kernel.install_raw(kernel.on_call(kernel.NR_GETPPID, kernel.KILL_PROCESS))
        kernel.syscall(kernel.NR_GETPPID)

    assert kernel.run(child, cores=tmp_path).core is True
    assert kernel.run(child).core is False


def test_a_filter_sees_i386_calls() -> None:
    call = kernel.i386_call()

    def child() -> object:
        before = call(kernel.I386_NR_GETPPID)
        kernel.install_raw(kernel.on_arch(kernel.AUDIT_ARCH_I386, kernel.ERRNO | 33))
        return before, call(kernel.I386_NR_GETPPID), kernel.syscall(kernel.NR_GETPPID)

    assert kernel.run(child).value == [os.getpid(), -33, [os.getpid(), 0]]


def test_i386_calls_take_six_arguments() -> None:
    call = kernel.i386_call()

    def child() -> object:
        caught: list[list[int]] = []
        for index in range(6):
            kernel.install_raw(
                kernel.instruction(0x20, 0, 0, 16 + 8 * index)
                + kernel.instruction(0x15, 0, 1, 0x7EADBEE0 + index)
                + kernel.always(kernel.ERRNO | 100 + index)
                + kernel.always(kernel.ALLOW)
            )
            args = [0] * 6
            args[index] = 0x7EADBEE0 + index
            caught.append([call(kernel.I386_NR_GETPPID, *args)])
        return caught

    assert kernel.run(child).value == [[-100], [-101], [-102], [-103], [-104], [-105]]


def test_a_filter_sees_x32_calls() -> None:
    number = kernel.X32_BIT | kernel.NR_GETPPID

    def child() -> object:
        kernel.install_raw(kernel.on_call(number, kernel.ERRNO | 33))
        return kernel.syscall(number), kernel.syscall(kernel.NR_GETPPID)

    assert kernel.run(child).value == [[-1, 33], [os.getpid(), 0]]


def test_arguments_arrive_whole() -> None:
    def child() -> object:
        kernel.install_raw(
            kernel.instruction(0x20, 0, 0, 20)
            + kernel.instruction(0x15, 0, 1, 0xFFFFFFFF)
            + kernel.always(kernel.ERRNO | 33)
            + kernel.always(kernel.ALLOW)
        )
        return kernel.syscall(kernel.NR_GETPPID, -1), kernel.syscall(kernel.NR_GETPPID, 1 << 31)

    assert kernel.run(child).value == [[-1, 33], [os.getpid(), 0]]


def test_a_tracer_sees_only_what_is_traced_and_lets_the_child_end() -> None:
    outcome, seen = kernel.run_traced(lambda: os.getpid() > 0)
    assert (outcome.value, outcome.exit_code, seen) == (True, 0, ())


def test_a_traced_child_that_is_killed() -> None:
    def child() -> None:
        kernel.install_raw(kernel.on_call(kernel.NR_GETPPID, kernel.KILL_PROCESS))
        kernel.syscall(kernel.NR_GETPPID)

    outcome, _ = kernel.run_traced(child)
    assert outcome.signal == signal.SIGSYS


def test_a_traced_child_gets_its_signals() -> None:
    outcome, _ = kernel.run_traced(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert outcome.signal == signal.SIGTERM


def test_a_supervised_child_that_fails_before_it_hands_over() -> None:
    outcome, seen = kernel.run_supervised(lambda _: 1 // 0, lambda _: None)
    assert (outcome.error or "").startswith("ZeroDivisionError")
    assert seen == ()
