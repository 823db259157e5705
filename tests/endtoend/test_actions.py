"""Every action of the policy language, from a policy file to what the kernel does."""

from __future__ import annotations

import errno
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import in_child
import privileges
import pytest
import running_kernel as kernel
from running_kernel import NR_GETPID, NR_GETPPID, X32_BIT

if TYPE_CHECKING:
    from collections.abc import Callable

kernel.require_x86_64()

POLICY = "arches: [x86_64]\ndefault_action: allow\nsyscalls:\n- action: {}\n  names: [getppid]\n"


def getppid() -> tuple[int, int]:
    return kernel.syscall(NR_GETPPID)


def under(
    module: Any, call: Callable[[], object], before: Callable[[], object] = int
) -> kernel.Outcome:
    def child() -> object:
        before()
        module.install()
        return call()

    return kernel.run(child)


def test_allow(generate: Callable[[str], Any]) -> None:
    text = POLICY.replace("default_action: allow", "default_action: errno").format("allow")
    allowed = "    - exit_group\n    - write\n"
    module = generate(text.replace("  names: [getppid]", f"  names:\n    - getppid\n{allowed}"))
    outcome = under(module, lambda: (getppid(), kernel.syscall(NR_GETPID)))
    assert outcome.value == [[os.getpid(), 0], [-1, errno.EPERM]]


@pytest.mark.few(4, "tries each case in the kernel")
@pytest.mark.parametrize(
    ("action", "number"),
    [
        ("errno", errno.EPERM),
        ("errno(EACCES)", errno.EACCES),
        ("errno(ENOSYS)", errno.ENOSYS),
        ("errno(4095)", 4095),
        ("errno(0x7b)", 0x7B),
    ],
)
def test_errno(generate: Callable[[str], Any], action: str, number: int) -> None:
    assert under(generate(POLICY.format(action)), getppid).value == [-1, number]


def test_errno_zero_fakes_success(generate: Callable[[str], Any]) -> None:
    assert under(generate(POLICY.format("errno(0)")), getppid).value == [0, 0]


def test_kill_process(generate: Callable[[str], Any]) -> None:
    module = generate(POLICY.format("kill_process"))
    outcome = under(module, lambda: in_child.survives_in_thread(getppid))
    assert outcome.signal == signal.SIGSYS


def test_kill_thread(generate: Callable[[str], Any]) -> None:
    module = generate(POLICY.format("kill_thread"))
    assert under(module, lambda: in_child.survives_in_thread(getppid)).value is False
    assert under(module, lambda: in_child.survives_in_thread(os.getpid)).value is True


def test_trap_delivers_its_data(generate: Callable[[str], Any]) -> None:
    module = generate(POLICY.format("trap(513)"))

    def child() -> object:
        seen = in_child.catch_sigsys()
        module.install()
        getppid()
        (one,) = seen
        return one.data, one.nr, one.arch

    assert kernel.run(child).value == [513, NR_GETPPID, kernel.AUDIT_ARCH_X86_64]


def test_trace_without_a_tracer_is_enosys(generate: Callable[[str], Any]) -> None:
    assert under(generate(POLICY.format("trace(7)")), getppid).value == [-1, errno.ENOSYS]


def test_trace_delivers_its_data_to_a_tracer(generate: Callable[[str], Any]) -> None:
    module = generate(POLICY.format("trace(7)"))
    messages = []

    def child() -> object:
        module.install()
        return getppid()

    def answer(message: int) -> int | None:
        messages.append(message)
        return None

    outcome = kernel.run_traced(child, answer)
    assert messages == [7], outcome


def test_log_lets_the_call_through(generate: Callable[[str], Any]) -> None:
    assert under(generate(POLICY.format("log")), getppid).value == [os.getpid(), 0]


def test_user_notif_returns_a_listener(generate: Callable[[str], Any]) -> None:
    module = generate("flags: [new_listener]\n" + POLICY.format("user_notif"))
    asked = []

    def answer(notification: kernel.Notification) -> int | None:
        asked.append(notification.nr)
        return -errno.EADDRINUSE

    def child(hand_over: Callable[[int], None]) -> object:
        hand_over(module.install())
        return getppid()

    outcome, _ = kernel.run_supervised(child, answer)
    assert asked == [NR_GETPPID]
    assert outcome.value == [-1, errno.EADDRINUSE]


def test_tsync_confines_threads_that_run_already(generate: Callable[[str], Any]) -> None:
    def child(module: Any) -> object:
        asked, answered = threading.Event(), threading.Event()
        seen = []

        def body() -> None:
            answered.set()
            asked.wait()
            seen.append(getppid())

        threads = [threading.Thread(target=body) for _ in range(4)]
        for thread in threads:
            thread.start()
        answered.wait()
        module.install()
        asked.set()
        for thread in threads:
            thread.join()
        return seen

    alone = generate(POLICY.format("errno(EACCES)"))
    together = generate("flags: [tsync]\n" + POLICY.format("errno(EACCES)"))
    free = [os.getpid(), 0]
    assert kernel.run(lambda: child(alone)).value == [free] * 4
    assert kernel.run(lambda: child(together)).value == [[-1, errno.EACCES]] * 4


def test_install_on_import_confines(generate: Callable[[str], Any]) -> None:
    def child() -> object:
        generate("install_on_import: true\n" + POLICY.format("errno(EACCES)"))
        return getppid()

    assert kernel.run(child).value == [-1, errno.EACCES]


@pytest.mark.few(5, "tries each case in the kernel")
@pytest.mark.parametrize(
    ("flags", "number"),  # SECCOMP_FILTER_FLAG_*, as linux/seccomp.h has them
    [
        ("", 0),
        ("tsync", 1),
        ("log", 2),
        ("spec_allow", 4),
        ("new_listener", 8),
        ("new_listener, tsync, tsync_esrch", 25),
        ("new_listener, wait_killable_recv", 40),
    ],
)
def test_each_flag_is_handed_on(
    generate: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, flags: str, number: int
) -> None:
    module = generate(f"flags: [{flags}]\n" + POLICY.format("errno"))
    told: list[object] = []
    monkeypatch.setattr(module, "_install", lambda *_, **how: told.append(how["flags"]))
    module.install()
    assert told == [number]


def test_without_no_new_privs_the_bit_stays_clear(generate: Callable[[str], Any]) -> None:
    privileges.require()
    PR_GET_NO_NEW_PRIVS, NR_PRCTL = 39, 157  # noqa: N806 - the kernel's names
    off = generate("no_new_privs: false\n" + POLICY.format("errno"))
    on = generate("no_new_privs: true\n" + POLICY.format("errno"))

    def bit() -> int:
        return kernel.syscall(NR_PRCTL, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)[0]

    if bit():
        pytest.skip("the tests themselves run with no_new_privs")
    assert under(off, bit, privileges.gain).value == 0
    assert under(on, bit, privileges.gain).value == 1


FOREIGN = POLICY.format("errno(EACCES)")


def test_i386_calls_are_refused(generate: Callable[[str], Any]) -> None:
    call = kernel.i386_call()
    NR_I386_GETPID = 20  # noqa: N806
    assert under(generate(FOREIGN), lambda: call(NR_I386_GETPID)).signal == signal.SIGSYS
    gentle = generate("bad_arch_action: errno(EXDEV)\n" + FOREIGN)
    assert under(gentle, lambda: call(NR_I386_GETPID)).value == -errno.EXDEV


def test_i386_calls_follow_the_rules_where_compat_has_it(generate: Callable[[str], Any]) -> None:
    call = kernel.i386_call()
    module = generate("compat_arches: [i386]\n" + FOREIGN)
    NR_I386_GETPPID = 64  # noqa: N806 - looked up in i386's own table
    assert under(module, lambda: call(NR_I386_GETPPID)).value == -errno.EACCES
    assert under(module, getppid).value == [-1, errno.EACCES]


def test_x32_calls_are_refused(generate: Callable[[str], Any]) -> None:
    def x32() -> tuple[int, int]:
        return kernel.syscall(X32_BIT | NR_GETPPID)

    assert under(generate(FOREIGN), x32).signal == signal.SIGSYS
    gentle = generate("bad_arch_action: errno(EXDEV)\n" + FOREIGN)
    assert under(gentle, x32).value == [-1, errno.EXDEV]
    both = generate("compat_arches: [x32]\n" + FOREIGN)
    assert under(both, x32).value == [-1, errno.EACCES]


def test_unknown_numbers_and_minus_one(generate: Callable[[str], Any]) -> None:
    text = "unknown_action: errno(EXDEV)\n" + FOREIGN

    def child() -> object:
        return [kernel.syscall(nr) for nr in (9999, 0x3FFFFFFF, 0xFFFFFFFF, NR_GETPPID)]

    assert under(generate(text), child).value == [
        [-1, errno.EXDEV],
        [-1, errno.EXDEV],
        [-1, errno.EXDEV],
        [-1, errno.EACCES],
    ]
