from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import in_child
import privileges
import pytest
import running_kernel as kernel
from running_kernel import (
    ALLOW,
    ERRNO,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    NEW_LISTENER,
    NR_EXIT_GROUP,
    NR_GETPPID,
    TRACE,
    TRAP,
    TSYNC,
    TSYNC_ESRCH,
    USER_NOTIF,
    always,
    on_call,
)
from runtime_template import changes, install, status

if TYPE_CHECKING:
    from collections.abc import Callable

    from running_kernel import Notification

kernel.require_x86_64()


def getppid() -> tuple[int, int]:
    return kernel.syscall(NR_GETPPID)


def forbid(action: int, flags: int = 0) -> int:
    return install(on_call(NR_GETPPID, action), flags, actions=(action & 0xFFFF0000, ALLOW))


def test_allow_puts_a_filter_in_force() -> None:
    def child() -> object:
        before = status()
        descriptor = install(always(ALLOW), actions=(ALLOW,))
        return descriptor, changes(before)["filters"], getppid()

    assert kernel.run(child).value == [-1, 1, [os.getpid(), 0]]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, 4095])
def test_errno(number: int) -> None:
    def child() -> object:
        forbid(ERRNO | number)
        return getppid(), kernel.syscall(kernel.NR_GETPID)[0] == os.getpid()

    assert kernel.run(child).value == [[-1, number], True]


def test_kill_process_takes_the_whole_process() -> None:
    def child() -> object:
        forbid(KILL_PROCESS)
        return in_child.survives_in_thread(getppid)

    outcome = kernel.run(child)
    assert (outcome.signal, outcome.exit_code, outcome.value) == (signal.SIGSYS, None, None)


def test_kill_thread_takes_the_thread_alone() -> None:
    def child() -> object:
        forbid(KILL_THREAD)
        return in_child.survives_in_thread(os.getpid), in_child.survives_in_thread(getppid)

    outcome = kernel.run(child)
    assert (outcome.signal, outcome.exit_code, outcome.value) == (None, 0, [True, False])


def test_trap_delivers_its_data() -> None:
    def child() -> object:
        caught = in_child.catch_sigsys()
        forbid(TRAP | 0xBEEF)
        getppid()
        return [(s.data, s.code, s.nr, s.arch) for s in caught]

    expected = [[0xBEEF, 1, NR_GETPPID, kernel.AUDIT_ARCH_X86_64]]
    assert kernel.run(child).value == expected


def test_trace_tells_the_tracer_its_data() -> None:
    def child() -> object:
        forbid(TRACE | 7)
        return getppid(), getppid()

    answers = iter([None, 1234])
    outcome, seen = kernel.run_traced(child, lambda _: next(answers))
    assert seen == (7, 7)
    assert outcome.value == [[os.getpid(), 0], [1234, 0]]


def test_trace_without_a_tracer_is_enosys() -> None:
    def child() -> object:
        forbid(TRACE | 7)
        return getppid()

    assert kernel.run(child).value == [-1, errno.ENOSYS]


def test_log_lets_the_call_through() -> None:
    def child() -> object:
        before = status()
        forbid(LOG)
        return changes(before)["filters"], getppid()

    assert kernel.run(child).value == [1, [os.getpid(), 0]]


def test_user_notif_asks_through_the_listener_that_is_returned() -> None:
    def child(hand_over: Callable[[int], None]) -> object:
        hand_over(forbid(USER_NOTIF, NEW_LISTENER))
        return getppid(), getppid(), getppid()

    answers = iter([None, -errno.EXDEV, 4321])
    outcome, seen = kernel.run_supervised(child, lambda _: next(answers))
    assert outcome.value == [[os.getpid(), 0], [-1, errno.EXDEV], [4321, 0]]
    assert [(call.nr, call.arch) for call in seen] == [(NR_GETPPID, kernel.AUDIT_ARCH_X86_64)] * 3


def test_the_listener_is_closed_on_exec() -> None:
    def child() -> object:
        descriptor = install(always(ALLOW), NEW_LISTENER)
        return Path(f"/proc/self/fd/{descriptor}").readlink().name, os.get_inheritable(descriptor)

    assert kernel.run(child).value == ["anon_inode:seccomp notify", False]


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privs_is_as_the_policy_says(wanted: bool) -> None:
    privileges.require()

    def child() -> object:
        privileges.gain()
        before = status()
        install(always(ALLOW), no_new_privs=wanted)
        return before["nnp"], changes(before)

    inherited, changed = kernel.run(child).value
    assert changed == {"nnp": int(wanted and not inherited), "filters": 1}


# Nothing may be left to do once the filter is in force: it may forbid anything.

ONLY_EXIT = on_call(NR_EXIT_GROUP, ALLOW, otherwise=KILL_PROCESS)


@pytest.mark.parametrize("flags", [0, TSYNC, NEW_LISTENER, TSYNC | TSYNC_ESRCH | NEW_LISTENER])
def test_a_filter_that_permits_only_exit(flags: int) -> None:
    def child() -> None:
        listener = install(ONLY_EXIT, flags, actions=(KILL_PROCESS, ALLOW))
        os._exit(7 if (listener >= 0) == bool(flags & NEW_LISTENER) else 8)

    outcome = kernel.run(child)
    assert (outcome.exit_code, outcome.signal) == (7, None)


def test_a_filter_that_permits_only_exit_kills_what_does_more() -> None:
    def child() -> None:
        install(ONLY_EXIT)
        getppid()
        os._exit(7)

    assert kernel.run(child).signal == signal.SIGSYS


def test_other_threads_do_not_cost_a_call_under_the_filter() -> None:
    # While the kernel is at it another thread asks for the GIL. Were it free, that thread would
    # have it by the time the filter is in force, and waiting for it is a call that kills.
    wake_up, wake = os.pipe()

    def spin() -> None:
        os.read(wake_up, 1)
        while True:
            pass

    def child(hand_over: Callable[[int], None]) -> None:
        threading.Thread(target=spin, daemon=True).start()
        outer = on_call(kernel.NR_SECCOMP, USER_NOTIF, kernel.SET_MODE_FILTER)
        hand_over(kernel.install_raw(outer, NEW_LISTENER))
        sys.setswitchinterval(10)
        install(ONLY_EXIT)
        os._exit(7)

    def delay(call: Notification) -> None:
        if call.args[2]:  # not the first probe, which has no program
            os.write(wake, b".")
            time.sleep(0.1)

    outcome, seen = kernel.run_supervised(child, delay)
    os.close(wake_up)
    os.close(wake)
    assert [bool(call.args[2]) for call in seen] == [False, True, True]
    assert (outcome.exit_code, outcome.signal) == (7, None)


# Threads that run already


def ask_in_threads(flags: int) -> list[list[int]]:
    """Return what four threads, started before the filter, get from getppid under it."""

    def child() -> object:
        installed = threading.Event()
        answers: list[tuple[int, int]] = []

        def body() -> None:
            installed.wait()
            answers.append(getppid())

        threads = [threading.Thread(target=body) for _ in range(4)]
        for thread in threads:
            thread.start()
        forbid(ERRNO | errno.EDOM, flags)
        installed.set()
        for thread in threads:
            thread.join()
        return [*answers, getppid()]

    value = kernel.run(child).value
    assert isinstance(value, list)
    return value


@pytest.mark.parametrize("flags", [TSYNC, TSYNC | TSYNC_ESRCH])
def test_tsync_confines_every_thread(flags: int) -> None:
    assert ask_in_threads(flags) == [[-1, errno.EDOM]] * 5


def test_without_tsync_only_the_caller_is_confined() -> None:
    assert ask_in_threads(0) == [[os.getpid(), 0]] * 4 + [[-1, errno.EDOM]]


def test_threads_started_afterwards_are_confined() -> None:
    def child() -> object:
        forbid(ERRNO | errno.EDOM)
        answers: list[tuple[int, int]] = []
        thread = threading.Thread(target=lambda: answers.append(getppid()))
        thread.start()
        thread.join()
        return answers

    assert kernel.run(child).value == [[-1, errno.EDOM]]
