from __future__ import annotations

import errno
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import kernel
import pytest
from helpers.runtime import changes, install, refusal, runtime, status
from kernel import (
    ALLOW,
    ERRNO,
    FLAG_LOG,
    GET_ACTION_AVAIL,
    KILL_PROCESS,
    LOG,
    NEW_LISTENER,
    NR_PRCTL,
    NR_SECCOMP,
    SET_MODE_FILTER,
    SPEC_ALLOW,
    TSYNC,
    TSYNC_ESRCH,
    USER_NOTIF,
    WAIT_KILLABLE_RECV,
    always,
    instruction,
    on_call,
)

if TYPE_CHECKING:
    from collections.abc import Callable

kernel.require_x86_64()

ALLOW_ALL = always(ALLOW)


def refused(child: Callable[[], dict[str, Any]], number: int, *parts: str, nnp: int) -> None:
    """Assert the error of ``child`` (see `refusal`), and that no filter was added.

    ``parts`` occur in the sentence, in this order; ``nnp`` is 1 where no_new_privs got set.
    """
    outcome = kernel.run(child)
    assert outcome.error is None
    value = outcome.value
    if status()["nnp"]:  # the tests themselves run without new privileges
        nnp = 0
    assert (value["errno"], value["filters"], value["nnp"]) == (number, 0, nnp), value["text"]
    position = 0
    for part in ("filter 'worker' is not in force: ", *parts):
        position = value["text"].find(part, position)
        assert position >= 0, (part, value["text"])
    assert not value["text"].endswith(".")


def under(outer: bytes, program: bytes = ALLOW_ALL, flags: int = 0, **options: Any) -> Any:
    """Return a child that tries to install under ``outer``, which plays another kernel."""

    def child() -> dict[str, Any]:
        kernel.install_raw(outer, nnp=os.geteuid() != 0)
        return refusal(program, flags, **options)

    return child


def test_it_is_an_oserror_with_errno_and_sentence() -> None:
    error = runtime.SeccompError(errno.EBUSY, "sentence")
    assert isinstance(error, OSError)
    assert type(error).__name__ == "SeccompError"
    assert (error.errno, error.strerror) == (errno.EBUSY, "sentence")


# The kernel, or what stands before it


def test_no_seccomp() -> None:
    child = under(on_call(NR_SECCOMP, ERRNO | errno.ENOSYS))
    refused(child, errno.ENOSYS, "has no seccomp(2)", "; use Linux 3.17 or newer", nnp=0)


def test_no_filter_mode() -> None:
    child = under(on_call(NR_SECCOMP, ERRNO | errno.EINVAL))
    refused(child, errno.EINVAL, "has no seccomp filters", "; use one", nnp=0)


def test_forbidden_by_a_sandbox() -> None:
    child = under(on_call(NR_SECCOMP, ERRNO | errno.EPERM))
    expected = ("a sandbox around", "Operation not permitted", "; have it permit the call")
    refused(child, errno.EPERM, *expected, nnp=0)


def test_a_sandbox_that_pretends_to_have_done_it() -> None:
    child = under(on_call(NR_SECCOMP, ERRNO | 0))
    refused(child, errno.EPROTO, "without doing it", "; run outside", nnp=0)


def test_no_new_privs_forbidden_by_a_sandbox() -> None:
    child = under(on_call(NR_PRCTL, ERRNO | errno.EPERM, 38))
    refused(child, errno.EPERM, "no_new_privs cannot be set", "; let the sandbox", nnp=0)


@pytest.mark.parametrize("answer", [errno.EOPNOTSUPP, errno.EINVAL])  # EINVAL: before 4.14
@pytest.mark.parametrize(
    ("action", "words"),
    [
        (KILL_PROCESS, "kill_process (Linux 4.14)"),
        (LOG, "log (Linux 4.14)"),
        (USER_NOTIF, "user_notif (Linux 5.0)"),
        (0x00010000, "0x10000"),
    ],
)
def test_lacks_an_action(action: int, words: str, answer: int) -> None:
    outer = on_call(NR_SECCOMP, ERRNO | answer, GET_ACTION_AVAIL)
    child = under(outer, actions=(ALLOW, action))
    refused(child, answer, "does not grant the action", words, "; use a newer", nnp=0)


def test_an_action_that_this_kernel_does_not_know() -> None:
    refused(
        lambda: refusal(ALLOW_ALL, actions=(ALLOW, 0x00010000)),
        errno.EOPNOTSUPP,
        "does not grant the action 0x10000",
        nnp=0,
    )


def test_actions_as_old_as_filters_are_not_asked_for() -> None:
    def child() -> object:
        kernel.install_raw(on_call(NR_SECCOMP, ERRNO | errno.EINVAL, GET_ACTION_AVAIL))
        before = status()
        install(ALLOW_ALL, actions=(0, 0x00030000, 0x00050000, 0x7FF00000, 0x7FFF0000))
        return changes(before)["filters"]

    assert kernel.run(child).value == 1


def lacking(flag: int) -> bytes:
    """Return a program that answers EINVAL where SET_MODE_FILTER is asked for ``flag``."""
    return (
        instruction(0x20, 0, 0, 0)
        + instruction(0x15, 0, 5, NR_SECCOMP)
        + instruction(0x20, 0, 0, 16)
        + instruction(0x15, 0, 3, SET_MODE_FILTER)
        + instruction(0x20, 0, 0, 24)
        + instruction(0x45, 0, 1, flag)
        + always(ERRNO | errno.EINVAL)
        + always(ALLOW)
    )


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        (TSYNC, "flags tsync (Linux 3.17);"),
        (FLAG_LOG, "flags log (Linux 4.14);"),
        (SPEC_ALLOW, "flags spec_allow (Linux 4.17);"),
        (NEW_LISTENER, "flags new_listener (Linux 5.0), wait_killable_recv (Linux 5.19);"),
        (TSYNC_ESRCH, "flags tsync_esrch (Linux 5.7);"),
        (WAIT_KILLABLE_RECV, "flags wait_killable_recv (Linux 5.19);"),
        (FLAG_LOG | TSYNC, "flags tsync (Linux 3.17), log (Linux 4.14);"),
    ],
)
def test_lacks_a_flag(flag: int, words: str) -> None:
    child = under(lacking(flag), flags=0x3F)
    refused(child, errno.EINVAL, "lacks the filter " + words, nnp=0)


def test_a_flag_that_this_kernel_does_not_know() -> None:
    refused(
        lambda: refusal(ALLOW_ALL, FLAG_LOG | 1 << 20),
        errno.EINVAL,
        "lacks the filter flags 0x100000; use a newer kernel",
        nnp=0,
    )


@pytest.mark.parametrize(
    ("flags", "remedy"),
    [
        (TSYNC | NEW_LISTENER, "give the policy tsync_esrch"),
        (WAIT_KILLABLE_RECV, "new_listener where it has wait_killable_recv"),
    ],
)
def test_flags_that_do_not_go_together(flags: int, remedy: str) -> None:
    child = under(ALLOW_ALL, flags=flags)
    refused(child, errno.EINVAL, "not all of them together", remedy, nnp=0)


# The program


def test_no_program_for_this_abi() -> None:
    expected = ("is x86_64", "for aarch64, s390x", "; add x86_64")
    refused(lambda: refusal(ALLOW_ALL, abis=("s390x", "aarch64")), errno.ENOEXEC, *expected, nnp=0)


@pytest.mark.parametrize(
    "program",
    [b"", ALLOW_ALL[:7], ALLOW_ALL + b"\0", ALLOW_ALL * 4097, ALLOW_ALL * 65537],
    ids=["empty", "short", "long", "4097", "65537"],
)
def test_bytes_that_are_no_program(program: bytes) -> None:
    expected = (f"{len(program)} bytes are not a program", "; generate")
    refused(lambda: refusal(program), errno.EINVAL, *expected, nnp=0)


def test_the_longest_program_is_taken() -> None:
    def child() -> object:
        before = status()
        install(ALLOW_ALL * 4096)
        return changes(before)["filters"]

    assert kernel.run(child).value == 1


@pytest.mark.parametrize(
    "program",
    [
        instruction(0x15, 9, 9, 0) + ALLOW_ALL,  # jumps beyond the end
        instruction(0x20, 0, 0, 0),  # ends without a return
        instruction(0x20, 0, 0, 64) + ALLOW_ALL,  # reads beyond struct seccomp_data
    ],
    ids=["jump", "end", "load"],
)
def test_a_program_that_the_kernel_rejects(program: bytes) -> None:
    length = len(program) // 8
    expected = (f"rejects the program of {length} instructions", "; generate")
    refused(lambda: refusal(program), errno.EINVAL, *expected, nnp=1)


# The process


def test_no_privilege_and_no_no_new_privs() -> None:
    if status()["nnp"]:
        pytest.skip("the tests themselves run without new privileges")

    def child() -> dict[str, Any]:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        return refusal(ALLOW_ALL, no_new_privs=False)

    refused(child, errno.EACCES, "CAP_SYS_ADMIN", "; say `no_new_privs: true`", nnp=0)


def test_more_instructions_than_a_process_may_have() -> None:
    def child() -> dict[str, Any]:
        kernel.install_raw(ALLOW_ALL)
        while True:
            try:
                kernel.install_raw(ALLOW_ALL * 4096)
            except OSError as error:
                assert error.errno == errno.ENOMEM
                return refusal(ALLOW_ALL * 4096)

    refused(child, errno.ENOMEM, "4096 instructions more do not fit", "32768", "; inst", nnp=0)


def test_a_second_listener() -> None:
    def child() -> dict[str, Any]:
        install(ALLOW_ALL, NEW_LISTENER)
        return refusal(ALLOW_ALL, NEW_LISTENER)

    refused(child, errno.EBUSY, "has a listener", "; take new_listener out", nnp=0)


def test_an_error_of_another_kind() -> None:
    # No descriptor is left for the listener.
    def child() -> dict[str, Any]:
        return refusal(ALLOW_ALL, NEW_LISTENER, descriptors=False)

    refused(child, errno.EMFILE, "refuses it (Too many open files)", "; look", nnp=1)


@pytest.mark.parametrize(
    ("flags", "names_it"), [(TSYNC, True), (TSYNC | TSYNC_ESRCH, False)], ids=["tid", "esrch"]
)
def test_a_thread_with_a_filter_of_its_own(flags: int, names_it: bool) -> None:
    def child() -> dict[str, Any]:
        diverged, done = threading.Event(), threading.Event()

        def diverge() -> None:
            kernel.install_raw(ALLOW_ALL)
            diverged.set()
            done.wait()

        threads = [threading.Thread(target=done.wait) for _ in range(3)]
        threads.insert(1, threading.Thread(target=diverge))
        for thread in threads:
            thread.start()
        diverged.wait()
        value = refusal(ALLOW_ALL, flags)
        done.set()
        tid = f"thread {threads[1].native_id} of this process has a filter of its own"
        return value | {"text": value["text"].replace(tid, "thread TID has a filter of its own")}

    who = "thread TID has" if names_it else ": a thread of this process has"
    refused(child, errno.ESRCH, who, "a filter of its own", "; install the filter before", nnp=1)


def test_a_python_without_ctypes() -> None:
    def child() -> dict[str, Any]:
        for name in [name for name in sys.modules if name.split(".")[0] in {"ctypes", "_ctypes"}]:
            del sys.modules[name]
        sys.modules["_ctypes"] = None  # type: ignore[assignment] # what a build without it does
        return refusal(ALLOW_ALL)

    refused(child, errno.ENOSYS, "cannot call the C library", "; use one", nnp=0)
