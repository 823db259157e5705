from __future__ import annotations

import errno
import os
import pickle
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import privileges
import pytest
import running_kernel as kernel
from running_kernel import (
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
from runtime_template import changes, install, refusal, runtime, status

if TYPE_CHECKING:
    from collections.abc import Callable

kernel.require_x86_64()

ALLOW_ALL = always(ALLOW)


def refused(
    child: Callable[[], dict[str, Any]], cause: str, number: int, *parts: str, nnp: int
) -> None:
    """Assert the error of ``child`` (see `refusal`), and that no filter was added.

    ``parts`` occur in the sentence, in this order; ``nnp`` is 1 where no_new_privs got set.
    """
    outcome = kernel.run(child)
    assert outcome.error is None
    value = outcome.value
    if status()["nnp"]:  # the tests themselves run without new privileges
        nnp = 0
    seen = (value["cause"], value["errno"], value["filters"], value["nnp"])
    assert seen == (cause, number, 0, nnp), value["text"]
    assert value["tried"] == "install filter 'worker'"
    assert value["text"] == f"cannot install filter 'worker': {value['reason']}; {value['remedy']}"
    position = 0
    for part in ("cannot install filter 'worker': ", *parts):
        position = value["text"].find(part, position)
        assert position >= 0, (part, value["text"])
    assert not value["text"].endswith(".")


def under(outer: bytes, program: bytes = ALLOW_ALL, flags: int = 0, **options: Any) -> Any:
    """Return a child that tries to install under ``outer``, which plays another kernel."""
    rights = privileges.gainable()

    def child() -> dict[str, Any]:
        if rights:
            privileges.gain()
        kernel.install_raw(outer, nnp=not rights)
        return refusal(program, flags, **options)

    return child


def test_it_is_an_oserror_with_errno_and_sentence() -> None:
    error = runtime.SeccompError(errno.EBUSY, "sentence")
    assert (error.errno, error.strerror, error.reason) == (errno.EBUSY, "sentence", "sentence")
    assert str(error) == f"[Errno {errno.EBUSY}] sentence"
    assert isinstance(error, OSError)
    assert type(error).__name__ == "SeccompError"


@pytest.mark.parametrize("name", ["EPERM", "EINVAL", "EOPNOTSUPP", "ENOSYS", "ESRCH", "ENOMEM"])
def test_it_knows_the_name_of_its_errno(name: str) -> None:
    assert runtime.SeccompError(getattr(errno, name), "sentence").errno_name == name
    assert runtime.SeccompError(4095, "sentence").errno_name == "4095"


def test_it_reaches_another_process_whole() -> None:
    with pytest.raises(runtime.SeccompError) as caught:
        install(ALLOW_ALL, 1 << 20)
    error = caught.value
    copied = pickle.loads(pickle.dumps(error))
    assert vars(copied) == vars(error)
    assert (copied.args, copied.errno_name) == (error.args, "EINVAL")
    assert (str(copied), copied.remedy) == (str(error), error.remedy)
    assert error.facts == {"flags": "0x100000"}


# The kernel, or what stands before it


def test_no_seccomp() -> None:
    child = under(on_call(NR_SECCOMP, ERRNO | errno.ENOSYS))
    refused(
        child, "no_seccomp", errno.ENOSYS, "has no seccomp(2)", "; use Linux 3.17 or newer", nnp=0
    )


def test_no_filter_mode() -> None:
    child = under(on_call(NR_SECCOMP, ERRNO | errno.EINVAL))
    refused(child, "no_filters", errno.EINVAL, "has no seccomp filters", "; use one", nnp=0)


def test_forbidden_by_a_sandbox() -> None:
    child = under(on_call(NR_SECCOMP, ERRNO | errno.EPERM))
    expected = ("a sandbox around", "Operation not permitted", "; have it permit the call")
    refused(child, "forbidden", errno.EPERM, *expected, nnp=0)


def test_a_sandbox_that_pretends_to_have_done_it() -> None:
    child = under(on_call(NR_SECCOMP, ERRNO | 0))
    refused(child, "pretended", errno.EPROTO, "without doing it", "; run outside", nnp=0)


def test_no_new_privs_forbidden_by_a_sandbox() -> None:
    child = under(on_call(NR_PRCTL, ERRNO | errno.EPERM, 38))
    refused(
        child, "no_new_privs", errno.EPERM, "no_new_privs cannot be set", "; let the sandbox", nnp=0
    )


def test_a_sandbox_that_pretends_to_have_set_no_new_privs() -> None:
    privileges.require()
    if status()["nnp"]:
        pytest.skip("the tests themselves run without new privileges")
    child = under(on_call(NR_PRCTL, ERRNO | 0, 38))
    expected = ("prctl(PR_SET_NO_NEW_PRIVS) as done without doing it", "; run outside")
    refused(child, "pretended", errno.EPROTO, *expected, nnp=0)


def test_a_sandbox_that_hides_whether_no_new_privs_is_set() -> None:
    child = under(on_call(NR_PRCTL, ERRNO | errno.EPERM, 39))
    expected = ("PR_GET_NO_NEW_PRIVS", "or let the sandbox")
    # Whether it is set now is what cannot be asked; /proc tells.
    nnp = int(privileges.gainable())  # the sandbox sets it where it must
    refused(child, "no_new_privs", errno.EPERM, *expected, nnp=nnp)


@pytest.mark.few(6, "tries interpreters, sandboxes or moments one by one")
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
    refused(
        child, "lacks_action", answer, "does not grant the action", words, "; use a newer", nnp=0
    )


def test_an_action_that_this_kernel_does_not_know() -> None:
    refused(
        lambda: refusal(ALLOW_ALL, actions=(ALLOW, 0x00010000)),
        "lacks_action",
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


@pytest.mark.few(6, "tries interpreters, sandboxes or moments one by one")
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
    refused(child, "lacks_flag", errno.EINVAL, "lacks the filter " + words, nnp=0)


# The kernel is not asked for these: the outer filter kills whoever does.
ASKING_KILLS = on_call(NR_SECCOMP, KILL_PROCESS)


@pytest.mark.parametrize("flags", [1 << 6, FLAG_LOG | 1 << 20, 1 << 63 | 1 << 6, -1])
def test_a_flag_that_the_runtime_does_not_know(flags: int) -> None:
    unknown = f"does not know the filter flags {flags & ~0x3F:#x}; generate the filter and"
    refused(under(ASKING_KILLS, flags=flags), "unknown_flag", errno.EINVAL, unknown, nnp=0)


@pytest.mark.few(5, "tries interpreters, sandboxes or moments one by one")
@pytest.mark.parametrize("more", [0, FLAG_LOG, SPEC_ALLOW])
@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (TSYNC | NEW_LISTENER, ("tsync and new_listener", "give the policy tsync_esrch")),
        (TSYNC | NEW_LISTENER | WAIT_KILLABLE_RECV, ("tsync and", "give the policy tsync_esrch")),
        (WAIT_KILLABLE_RECV, ("there is none", "give the policy new_listener")),
        (TSYNC | TSYNC_ESRCH | WAIT_KILLABLE_RECV, ("there is none", "policy new_listener")),
    ],
)
def test_flags_that_exclude_each_other(flags: int, parts: tuple[str, ...], more: int) -> None:
    child = under(ASKING_KILLS, flags=flags | more)
    refused(child, "conflicting_flags", errno.EINVAL, *parts, nnp=0)


def legal(flags: int) -> bool:
    apart = flags & TSYNC and flags & NEW_LISTENER and not flags & TSYNC_ESRCH
    return not apart and not (flags & WAIT_KILLABLE_RECV and not flags & NEW_LISTENER)


def test_the_kernel_agrees_which_flags_go_together() -> None:
    def child() -> object:
        probes = [kernel.syscall(NR_SECCOMP, SET_MODE_FILTER, flags, 0) for flags in range(64)]
        return [number == errno.EFAULT for _, number in probes]

    assert kernel.run(child).value == [legal(flags) for flags in range(64)]


@pytest.mark.few(6, "tries interpreters, sandboxes or moments one by one")
@pytest.mark.parametrize("flags", [flags for flags in range(64) if legal(flags)])
def test_every_other_combination_is_put_in_force(flags: int) -> None:
    def child() -> object:
        before = status()
        descriptor = install(ALLOW_ALL, flags)
        return descriptor >= 0, changes(before)["filters"]

    assert kernel.run(child).value == [bool(flags & NEW_LISTENER), 1]


def test_flags_that_a_kernel_takes_one_by_one_only() -> None:
    outer = on_call(NR_SECCOMP, ERRNO | errno.EINVAL, SET_MODE_FILTER, FLAG_LOG | SPEC_ALLOW)
    child = under(outer, flags=FLAG_LOG | SPEC_ALLOW)
    expected = ("takes each of the filter flags but not all of them together (0x6)", "; take some")
    refused(child, "flags_apart", errno.EINVAL, *expected, nnp=0)


# The program


def test_no_program_for_this_abi() -> None:
    expected = ("is x86_64", "for aarch64, s390x", "; add x86_64")
    refused(
        lambda: refusal(ALLOW_ALL, abis=("s390x", "aarch64")),
        "wrong_abi",
        errno.ENOEXEC,
        *expected,
        nnp=0,
    )


@pytest.mark.parametrize(
    "program",
    [b"", ALLOW_ALL[:7], ALLOW_ALL + b"\0", ALLOW_ALL * 4097, ALLOW_ALL * 65537],
    ids=["empty", "short", "long", "4097", "65537"],
)
def test_bytes_that_are_no_program(program: bytes) -> None:
    expected = (f"{len(program)} bytes are not a program", "; generate")
    refused(lambda: refusal(program), "no_program", errno.EINVAL, *expected, nnp=0)


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
    refused(lambda: refusal(program), "rejected", errno.EINVAL, *expected, nnp=1)


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

    refused(
        child, "no_privilege", errno.EACCES, "CAP_SYS_ADMIN", "; say `no_new_privs: true`", nnp=0
    )


def test_more_instructions_than_a_process_may_have() -> None:
    def child() -> dict[str, Any]:
        kernel.install_raw(ALLOW_ALL)
        while True:
            try:
                kernel.install_raw(ALLOW_ALL * 4096)
            except OSError as error:
                assert error.errno == errno.ENOMEM
                return refusal(ALLOW_ALL * 4096)

    refused(
        child, "memory", errno.ENOMEM, "4096 instructions more do not fit", "32768", "; inst", nnp=0
    )


def test_a_second_listener() -> None:
    def child() -> dict[str, Any]:
        install(ALLOW_ALL, NEW_LISTENER)
        return refusal(ALLOW_ALL, NEW_LISTENER)

    refused(
        child, "second_listener", errno.EBUSY, "has a listener", "; take new_listener out", nnp=0
    )


def test_an_error_of_another_kind() -> None:
    # No descriptor is left for the listener.
    def child() -> dict[str, Any]:
        return refusal(ALLOW_ALL, NEW_LISTENER, descriptors=False)

    refused(child, "other", errno.EMFILE, "refuses it (Too many open files)", "; look", nnp=1)


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
        assert value.pop("facts").get("tid") == (threads[1].native_id if names_it else None)
        tid = f"thread {threads[1].native_id} of this process has"
        for key in ("text", "reason"):
            value[key] = value[key].replace(tid, "thread TID has")
        return value

    who = "thread TID has" if names_it else ": a thread of this process has"
    refused(
        child,
        "diverging_thread",
        errno.ESRCH,
        who,
        "a filter of its own",
        "; install the filter before",
        nnp=1,
    )


def test_a_python_without_ctypes() -> None:
    def child() -> dict[str, Any]:
        for name in [name for name in sys.modules if name.split(".")[0] in {"ctypes", "_ctypes"}]:
            del sys.modules[name]
        sys.modules["_ctypes"] = None  # type: ignore[assignment] # what a build without it does
        return refusal(ALLOW_ALL)

    refused(child, "no_ctypes", errno.ENOSYS, "cannot call the C library", "; use one", nnp=0)


@pytest.mark.parametrize("name", ["ctypes", "_ctypes"])
def test_a_module_in_the_place_of_ctypes(name: str) -> None:
    def child() -> dict[str, Any]:
        for other in [
            other for other in sys.modules if other.split(".")[0] in {"ctypes", "_ctypes"}
        ]:
            del sys.modules[other]
        sys.modules[name] = types.ModuleType(name)
        if name == "ctypes":
            runtime._NEWEST_LEAN = (3, 8)
        return refusal(ALLOW_ALL)

    refused(child, "no_ctypes", errno.ENOSYS, f"module '{name}' has no", "; use one", nnp=0)
