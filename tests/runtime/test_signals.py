"""Signals whose handlers raise while install() runs, at every instruction where they can come."""

from __future__ import annotations

import ctypes
import functools
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
import runtime_template as helper
from running_kernel import (
    ALLOW,
    KILL_PROCESS,
    NEW_LISTENER,
    NR_GETPPID,
    NR_SECCOMP,
    USER_NOTIF,
    on_call,
)
from runtime_template import notification, runtime, status

if TYPE_CHECKING:
    from collections.abc import Callable

kernel.require_x86_64()

ASK = on_call(NR_GETPPID, USER_NOTIF)
# It kills whoever asks for seccomp(2) again, as most filters do.
ONCE = on_call(NR_SECCOMP, KILL_PROCESS)


DONE = 2**40
"""The result of getppid(2) at last."""


class LateError(TimeoutError):
    """The exception of a handler: an OSError, as ctypes and import raise them as well."""


@pytest.fixture(scope="module")
def moment(tmp_path_factory: pytest.TempPathFactory) -> ctypes.PyDLL:
    """The trace function of tests/helpers/moment.c."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("needs gcc")
    library = tmp_path_factory.mktemp("moment") / "moment.so"
    source = Path(helper.__file__).with_name("moment.c")
    options = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([gcc, *options, "-o", library, source], check=True)
    loaded = ctypes.PyDLL(str(library))
    loaded.moment_start.argtypes = [ctypes.c_long]
    return loaded


def late(*_: object) -> None:
    raise LateError("a handler's")


def unload_ctypes() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in {"ctypes", "_ctypes"}]:
        del sys.modules[name]


def interrupted(
    moment: Any, install: Callable[..., object], first: int, step: int, prepare: Callable[[], None]
) -> dict[str, Any]:
    """Have the signal at one moment after the other, until a filter is in force; say what came.

    ``install`` raised the handler's exception each time, or returned. Once the filter is in force
    it is called again if it could not return.
    """
    signal.signal(signal.SIGALRM, late)
    start, stop = moment.moment_start, moment.moment_stop
    before = status()["filters"]
    # From CPython 3.12 on, code has all its moments only once it was traced.
    prepare()
    start(sys.maxsize)
    with pytest.raises(runtime.SeccompError, match="malformed"):
        install(b"\0" * 8)
    stop()
    while True:
        prepare()
        result: object = None
        raised = came = False
        try:
            start(first)
            result = install()
            came = bool(stop())
        except LateError:
            raised = came = True
            stop()
        if status()["filters"] != before:
            break
        assert raised, "install() returned without a filter"
        first += step
    again = install() if result is None else result
    link = str(Path(f"/proc/self/fd/{again}").readlink()) if again != -1 else ""
    return {
        "moment": first,
        "came": came,
        "returned": result is not None,
        "filters": status()["filters"] - before,
        "link": link,
    }


def every_moment(
    moment: Any,
    program: bytes,
    flags: int,
    step: int,
    prepare: Callable[[], None],
    coarse: int = 1,
) -> list[dict[str, Any]]:
    """Try moments from the first to the last at which a signal can come.

    Before the filter is in force, only one of ``coarse`` of them is tried.
    """

    def install(code: bytes = program) -> object:
        return runtime.install(
            "worker",
            {"x86_64": (NR_SECCOMP, code)},
            flags=flags,
            no_new_privs=True,
            actions=(ALLOW, USER_NOTIF),
        )

    seen: list[dict[str, Any]] = []
    first, by = 0, step * coarse
    while not seen or seen[-1]["came"]:
        child = functools.partial(interrupted, moment, install, first, by, prepare)
        outcome = kernel.run(child)
        assert outcome.error is None
        assert outcome.signal is None
        if by != step:  # back to the moments that were passed over
            first, by = max(0, outcome.value["moment"] - by + step), step
            continue
        seen.append(outcome.value)
        first = outcome.value["moment"] + step
    return seen


COARSE = pytest.mark.parametrize(
    "coarse",
    [40, pytest.param(1, marks=pytest.mark.weekly("every moment, also before it is in force"))],
)


@pytest.mark.few(1, "tries interpreters, sandboxes or moments one by one")
@COARSE
@pytest.mark.parametrize(
    ("program", "flags"), [(ASK, NEW_LISTENER), (ONCE, 0)], ids=["listener", "once"]
)
def test_what_a_handler_kept_from_returning_can_be_had_again(
    program: bytes, flags: int, coarse: int, moment: Any
) -> None:
    seen = every_moment(moment, program, flags, 1, lambda: None, coarse)
    assert seen[0]["moment"] > 100  # so many moments came before the filter was in force
    assert {case["filters"] for case in seen} == {1}
    if flags:
        assert {case["link"] for case in seen} == {"anon_inode:seccomp notify"}
    assert [case for case in seen if not case["returned"]]  # the filter was in force, and told so


def test_what_is_kept_is_the_threads_own() -> None:
    """A thread may get the identifier of one that has ended, but not what that could not return."""

    def child() -> object:
        idents = []
        counts = []

        def interrupted() -> None:
            idents.append(threading.get_ident())
            runtime._unreturned.__dict__[0, ONCE] = [(0, 0)]

        def other() -> None:
            idents.append(threading.get_ident())
            before = status()["filters"]
            programs = {"x86_64": (NR_SECCOMP, ONCE)}
            runtime.install("worker", programs, flags=0, no_new_privs=True, actions=())
            counts.append(status()["filters"] - before)

        for body in (interrupted, other):
            thread = threading.Thread(target=body)
            thread.start()
            thread.join()
            # The kernel's thread, whose stack the next one gets, ends after Python's.
            while len(list(Path("/proc/self/task").iterdir())) > 1:
                time.sleep(0.001)
        return len(set(idents)), counts

    assert kernel.run(child).value == [1, [1]]


@COARSE
def test_a_handler_while_ctypes_is_loaded(moment: Any, coarse: int) -> None:
    seen = every_moment(moment, ONCE, 0, 7, unload_ctypes, coarse)
    assert seen[0]["moment"] > 300  # CPython 3.13 has half as many moments as 3.11
    assert {case["filters"] for case in seen} == {1}


def test_no_call_is_lost_that_a_handler_kept_from_returning(moment: Any) -> None:
    """A signal at every moment of receive(), each time with a call that waits."""

    def child() -> object:
        signal.signal(signal.SIGALRM, late)
        listeners: list[int] = []
        installed = threading.Event()

        def work() -> None:
            program = {"x86_64": (NR_SECCOMP, ASK)}
            options = {"no_new_privs": True, "actions": (), "flags": NEW_LISTENER}
            listeners.append(runtime.install("worker", program, **options))
            installed.set()
            while kernel.syscall(NR_GETPPID)[0] != DONE:
                pass

        worker = threading.Thread(target=work)
        worker.start()
        installed.wait()
        listener = notification.Listener(listeners[0])
        raised = at = 0
        came = True
        while came:
            call = None
            try:
                moment.moment_start(at)
                call = listener.receive(60)
                came = bool(moment.moment_stop())
            except LateError:
                moment.moment_stop()
                raised += 1
                call = call or listener.receive(60)
            at += 1
            call.respond(at if came else DONE)
        worker.join()
        return raised

    outcome = kernel.run(child)
    assert outcome.error is None
    assert outcome.value > 15  # 3.13 looks for signals at fewer places than 3.11
