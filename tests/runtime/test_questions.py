from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, Any

import privileges
import pytest
import running_kernel as kernel
from running_kernel import (
    ALLOW,
    ERRNO,
    GET_ACTION_AVAIL,
    NR_PRCTL,
    NR_SECCOMP,
    always,
    on_call,
)
from runtime_template import install, runtime, status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

kernel.require_x86_64()

ALLOW_ALL = always(ALLOW)
NR_OPENAT = 257
PR_GET_NO_NEW_PRIVS = 39
ACTIONS = ("kill_process", "kill_thread", "trap", "errno", "user_notif", "trace", "log", "allow")
NEWER = {"kill_process", "user_notif", "log"}


def asked(question: Callable[[], object], outer: bytes | None = None) -> Any:
    """Return the answer that a child gets under ``outer``, or what SeccompError tells it."""

    def child() -> object:
        if outer is not None:
            kernel.install_raw(outer, nnp=os.geteuid() != 0)
        try:
            return question()
        except runtime.SeccompError as error:
            told = f"{error.reason}; {error.remedy}"
            assert error.strerror.endswith(f": {told}"), error.strerror
            assert error.tried.startswith("ask whether ")
            return [error.cause, error.errno_name, error.strerror]

    outcome = kernel.run(child)
    assert outcome.error is None
    return outcome.value


# supported()


@pytest.mark.few(3, "tries interpreters, sandboxes or moments one by one")
@pytest.mark.parametrize(
    ("outer", "answer"),
    [
        (None, True),
        (ALLOW_ALL, True),
        (on_call(NR_SECCOMP, ERRNO | errno.ENOSYS), False),
        (on_call(NR_SECCOMP, ERRNO | errno.EINVAL), False),
    ],
    ids=["kernel", "filter", "no-seccomp", "no-filters"],
)
def test_supported(outer: bytes | None, answer: object) -> None:
    assert asked(runtime.supported, outer) is answer
    assert asked(lambda: runtime.action_available("allow"), outer) is answer


@pytest.mark.parametrize(
    ("number", "cause", "name"), [(errno.EPERM, "forbidden", "EPERM"), (0, "pretended", "EPROTO")]
)
def test_supported_does_not_guess(number: int, cause: str, name: str) -> None:
    outer = on_call(NR_SECCOMP, ERRNO | number)
    for question in (runtime.supported, lambda: runtime.action_available("allow")):
        told = asked(question, outer)
        assert told[:2] == [cause, name]
        assert told[2].startswith("cannot ask whether the kernel ")


def test_asking_changes_nothing() -> None:
    def child() -> object:
        before = status()
        runtime.supported()
        runtime.action_available("log")
        runtime.no_new_privs()
        runtime.mode()
        return status() == before

    assert kernel.run(child).value is True


# action_available()


@pytest.mark.few(7, "tries interpreters, sandboxes or moments one by one")
@pytest.mark.parametrize("action", ACTIONS)
def test_this_kernel_has_every_action(action: str) -> None:
    assert asked(lambda: runtime.action_available(action)) is True


@pytest.mark.few(6, "tries interpreters, sandboxes or moments one by one")
@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])  # EINVAL: before 4.14
@pytest.mark.parametrize("action", ACTIONS)
def test_an_older_kernel_lacks_the_newer_actions(action: str, number: int) -> None:
    outer = on_call(NR_SECCOMP, ERRNO | number, GET_ACTION_AVAIL)
    assert asked(lambda: runtime.action_available(action), outer) is (action not in NEWER)


def test_asking_for_an_action_may_be_forbidden() -> None:
    outer = on_call(NR_SECCOMP, ERRNO | errno.EPERM, GET_ACTION_AVAIL)
    told = asked(lambda: runtime.action_available("log"), outer)
    assert told[:2] == ["forbidden", "EPERM"]


def test_no_such_action() -> None:
    with pytest.raises(ValueError, match="'kill' is no action; these are: kill_process, kill_th"):
        runtime.action_available("kill")


# no_new_privs()


def test_no_new_privs_is_as_the_kernel_says() -> None:
    def child() -> object:
        before = runtime.no_new_privs() == bool(status()["nnp"])
        kernel.install_raw(ALLOW_ALL)
        return before, runtime.no_new_privs()

    assert kernel.run(child).value == [True, True]


def test_no_new_privs_of_the_calling_thread() -> None:
    if status()["nnp"]:
        pytest.skip("the tests themselves run without new privileges")

    def child() -> object:
        seen: list[bool] = []

        def other() -> None:
            kernel.syscall(NR_PRCTL, 38, 1)
            seen.append(runtime.no_new_privs())

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return runtime.no_new_privs(), seen

    assert kernel.run(child).value == [False, [True]]


def test_no_new_privs_where_prctl_is_forbidden() -> None:
    told = asked(runtime.no_new_privs, on_call(NR_PRCTL, ERRNO | errno.EPERM, PR_GET_NO_NEW_PRIVS))
    assert told[:2] == ["no_new_privs", "EPERM"]
    assert "PR_GET_NO_NEW_PRIVS) fails (Operation not permitted)" in told[2]


# set_no_new_privs()


def test_no_new_privs_can_be_set_alone() -> None:
    def child() -> object:
        before = status()
        runtime.set_no_new_privs()
        return runtime.no_new_privs(), status()["filters"] - before["filters"]

    assert kernel.run(child).value == [True, 0]


@pytest.mark.parametrize(
    ("number", "option", "cause"),
    [(errno.EPERM, 38, "no_new_privs"), (0, 38, "pretended"), (errno.EPERM, 39, "no_new_privs")],
)
def test_setting_no_new_privs_is_not_believed(number: int, option: int, cause: str) -> None:
    privileges.require()
    if status()["nnp"]:
        pytest.skip("the tests themselves run without new privileges")

    def child() -> object:
        privileges.gain()
        kernel.install_raw(on_call(NR_PRCTL, ERRNO | number, option), nnp=False)
        with pytest.raises(runtime.SeccompError) as caught:
            runtime.set_no_new_privs()
        return caught.value.cause, caught.value.tried

    assert kernel.run(child).value == [cause, "set no_new_privs"]


# mode()


def test_mode_counts_filters() -> None:
    def child() -> object:
        modes = [runtime.mode()]
        for _ in range(3):
            install(ALLOW_ALL)
            modes.append(runtime.mode())
        return modes

    first, *rest = kernel.run(child).value
    inherited = status()["filters"]
    assert first == ["filter" if inherited else "disabled", inherited]
    assert rest == [["filter", inherited + 1 + count] for count in range(3)]


def test_mode_of_the_calling_thread() -> None:
    def child() -> object:
        seen: list[object] = []

        def other() -> None:
            kernel.install_raw(ALLOW_ALL)
            seen.append(runtime.mode()[1])

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return runtime.mode()[1], seen

    inherited = status()["filters"]
    assert kernel.run(child).value == [inherited, [inherited + 1]]


def test_mode_where_the_filter_forbids_to_look() -> None:
    told = asked(runtime.mode, on_call(NR_OPENAT, ERRNO | errno.EACCES))
    assert told[:2] == ["no_proc", "EACCES"]
    assert "/proc/thread-self/status cannot be read (Permission denied); mount /proc" in told[2]


@pytest.mark.few(6, "tries interpreters, sandboxes or moments one by one")
@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (None, ["no_proc", "ENOENT"]),
        ("Name:\tx\n", ["no_mode", "ENOSYS"]),  # without CONFIG_SECCOMP
        ("Name:\tx\nSeccomp:\t3\n", ["no_mode", "ENOSYS"]),
        ("Seccomp:\t0\n", ["disabled", 0]),  # before Linux 5.9, as the next two
        ("Seccomp:\t1\n", ["strict", 0]),
        ("Seccomp:\t2\n", ["filter", None]),
        ("Seccomp:\t2\nSeccomp_filters:\t12\n", ["filter", 12]),
    ],
)
def test_mode_with_another_proc(text: str | None, answer: list[object], tmp_path: Path) -> None:
    privileges.require()
    if text is not None:
        (tmp_path / "proc/thread-self").mkdir(parents=True)
        (tmp_path / "proc/thread-self/status").write_text(text)

    def question() -> object:
        privileges.gain()
        os.chroot(tmp_path)
        return runtime.mode()

    assert asked(question)[:2] == answer
