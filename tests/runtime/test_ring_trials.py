"""What install() tries of the filters on io_uring's operations, in children, and what it finds.

The kernel here need not have such filters: see `test_rings`.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from ring_installs import (
    ADDRESS,
    AS_MEANT,
    CONNECT,
    FILTERED,
    NOP,
    NR_ENTER,
    NR_SETUP,
    NUMBERS,
    RET_1,
    SOCKET,
    FakeKernel,
    descriptors,
    found,
    install,
    outcome,
)
from running_kernel import ERRNO, NR_SECCOMP, on_call
from runtime_template import rings

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

kernel.require_x86_64()


# What a child process finds


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("answer", "cause", "number", "text"),
    [
        ("(1, 2, 0)", "ring_trial", errno.EPROTO, "operation 1 was to be refused"),
        ("(2, 1, 0)", "ring_trial", errno.EACCES, "operation 16 (CONNECT) was to be allowed"),
        ("(3, 0, 12)", "ring_trial", errno.ENOMEM, "could not try the filters on a ring (Cannot"),
        ("(4, 0, 22)", "ring_trial", errno.EINVAL, "could not try"),
        ("(0, 0, 0)", "ring_trial", errno.EIO, "could not try"),
        ("1 / 0", "ring_trial", errno.EIO, "could not try"),
        ("os._exit(3)", "ring_trial", errno.EIO, "could not try"),
        ("os.kill(os.getpid(), 9)", "ring_trial", errno.EIO, "could not try"),
    ],
)
def test_what_is_wrong_with_the_filters(
    answer: str, cause: str, number: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, "import os", answer)
    told = outcome(lambda: install(without="fail"))
    assert (told["cause"], told["errno"]) == (cause, number)
    assert text in told["text"]
    assert outcome(install) == {"filtered": False}


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_no_ring_can_be_made(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters are in force by then, for what somebody permits later."""
    found(monkeypatch, f"(3, 0, {number})")
    assert outcome(install) == {"filtered": False}
    assert outcome(lambda: install(without="fail")) == {"filtered": True}


def test_why_no_ring_can_be_made_is_told(monkeypatch: pytest.MonkeyPatch, fake: FakeKernel) -> None:
    assert not fake.registered
    found(monkeypatch, "(3, 0, 1)")

    def child() -> Any:
        install()
        return [rings.obstacle().cause, str(rings.obstacle())]

    cause, text = outcome(child)
    assert cause == "no_rings"
    assert "cannot install filter 'worker': no ring can be made here" in text


EXECUTED = '"numbers" in globals()'
"""Whether the trial is made by the interpreter that was executed."""


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("answer", "number", "text"),
    [
        ("(1, 0, 0)", errno.EPROTO, "loses filters on rings when a program is executed"),
        ("(0, 0, 0)", errno.EIO, "does not run"),
        ("(2, 0, 0)", errno.EIO, "does not run"),
        ("(3, 0, 1)", errno.EPERM, "does not run"),
        ("1 / 0", errno.EIO, "does not run"),
    ],
)
def test_filters_that_are_lost_at_exec(
    answer: str, number: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, f"{answer} if {EXECUTED} else {AS_MEANT}")
    told = outcome(lambda: install(permits_exec=True, without="fail"))
    assert told["cause"] == "ring_exec"
    assert text in told["text"]
    assert told["errno"] == number
    assert outcome(lambda: install(permits_exec=True)) == {"filtered": False}
    assert outcome(install) == {"filtered": True}


@pytest.mark.usefixtures("fake")
def test_filters_that_outlast_an_exec(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, AS_MEANT)
    assert outcome(lambda: install(permits_exec=True, without="fail")) == {"filtered": True}


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("how", ["frozen", "another", "missing", "empty"])
def test_what_is_no_interpreter_is_not_executed(how: str, tmp_path: Path) -> None:
    """Somebody's program might start itself, and that again."""
    another = tmp_path / ("python3" if how == "missing" else "application")
    if how == "another":
        another.write_text("#!/bin/sh\necho > started\n")
        another.chmod(0o755)

    def child() -> Any:
        os.chdir(tmp_path)
        if how == "frozen":
            sys.frozen = True  # type: ignore[attr-defined]
        else:
            sys.executable = "" if how == "empty" else str(another)
        return install(permits_exec=True, without="fail")

    told = outcome(child)
    assert (told["cause"], told["errno"]) == ("ring_exec", errno.EIO)
    assert [*tmp_path.iterdir()] == [another] * (how == "another")


@pytest.mark.usefixtures("fake")
def test_what_is_executed_tries_what_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In both programs, as in a ring that lets it through nothing is seen to be lost."""
    found(monkeypatch, "(0, 2, 5) if len(trials) > 1 else (0, 0, trials == ((1, (), False),))")
    assert outcome(lambda: install(permits_exec=True, without="fail")) == {"filtered": True}
    found(monkeypatch, f"(0, 2, 5) if len(trials) > 1 else (0, 0, {EXECUTED})")
    assert outcome(lambda: install(permits_exec=True, without="fail"))["cause"] == "ring_exec"
    found(monkeypatch, "(0, 1, 5) if len(trials) > 1 else (0, 0, trials == ((1, (), False),))")
    told = outcome(lambda: install(permits_exec=True, without="fail"))
    assert told["cause"] == "ring_exec"


@pytest.mark.usefixtures("fake")
def test_where_nothing_is_refused_no_exec_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, "(0, 0, 0)")
    every = [(opcode, 0, RET_1) for opcode in range(65)]
    allowed: dict[str, Any] = {"operations": every, "trials": (), "without": "fail"}
    assert outcome(lambda: install(**allowed)) == {"filtered": True}
    assert outcome(lambda: install(**allowed, permits_exec=True))["cause"] == "ring_exec"


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("kind", ["trials", "exec"])
def test_a_child_that_hangs_is_ended(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rings, "_WAITS", 3 if kind == "trials" else 20)
    when = "True" if kind == "trials" else EXECUTED
    found(monkeypatch, "import time", f"time.sleep(1000) if {when} else {AS_MEANT}")

    def child() -> Any:
        told = install(permits_exec=True, without="fail")
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        return told

    assert outcome(child)["cause"] == ("ring_trial" if kind == "trials" else "ring_exec")


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("fork", BlockingIOError(errno.EAGAIN, "no")),
        ("fork", RuntimeError("not in a subinterpreter")),
        ("pipe", OSError(errno.EMFILE, "no")),
    ],
)
def test_no_child_can_be_had(name: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Any:
        raise error

    def child() -> Any:
        monkeypatch.setattr(os, name, refuse)
        return install(without="fail")

    told = outcome(child)
    assert told["cause"] == "ring_trial"
    assert told["errno"] == (error.errno if isinstance(error, OSError) else errno.EIO)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("handled", ["ignored", "reaped", "default"])
def test_nothing_stays_of_the_children(handled: str) -> None:
    """No zombie, no descriptor, no exit handler that ran, no signal that stays blocked."""

    def child() -> Any:
        def reap(*_: object) -> None:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

        handlers = {"ignored": signal.SIG_IGN, "reaped": reap, "default": signal.SIG_DFL}
        signal.signal(signal.SIGCHLD, handlers[handled])  # type: ignore[arg-type]
        read, write = os.pipe()
        atexit.register(os.write, write, b"ran")
        before = (
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]),
            descriptors(),
        )
        try:
            told = install(permits_exec=True, without="fail")
        except ChildProcessError:  # the handler's own, where nothing is left to reap
            assert handled == "reaped"
            told = {"filtered": rings.filtered()}
            rings._install(
                "w", {"x86_64": (NR_SECCOMP, FILTERED)}, flags=0, no_new_privs=True, actions=()
            )
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert descriptors() == before[1]
        assert mask == before[0] | {signal.SIGUSR2}
        os.set_blocking(read, False)
        with pytest.raises(BlockingIOError):
            os.read(read, 1)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        return told

    assert outcome(child) in ({"filtered": True}, {"filtered": None})


@pytest.mark.usefixtures("fake")
def test_no_handler_runs_in_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, "import os", "os.kill(os.getpid(), 10)", AS_MEANT)

    def child() -> Any:
        def handle(*_: object) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGUSR1, handle)
        return install(without="fail")

    assert outcome(child) == {"filtered": True}


@pytest.mark.usefixtures("fake")
def test_a_signal_meanwhile_waits_until_the_filters_are_in_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its exception passes through, and leaves the signals as they were."""
    found(monkeypatch, "import os", "os.kill(os.getppid(), 10)", AS_MEANT)

    def child() -> Any:
        def handle(*_: object) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGUSR1, handle)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        with pytest.raises(KeyboardInterrupt):
            install(without="fail")
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
        found(monkeypatch, AS_MEANT)
        return install(without="fail")

    assert outcome(child) == {"filtered": True}


# Operations that are tried


@pytest.mark.usefixtures("_rings_can_be_made")
def test_no_operation_that_is_tried_has_an_effect(tmp_path: Path) -> None:
    """On a ring without filters everything is let through, and fails, or does nothing."""

    def child() -> Any:
        os.chdir(tmp_path)
        before = descriptors()
        addresses = [(CONNECT, ADDRESS, True), (SOCKET, (0, 0, 0), True)]
        created = [(18, (os.O_CREAT | os.O_RDWR, 0o600), True), (28, (os.O_CREAT, 0o600, 8), True)]
        every = [(opcode, (), True) for opcode in range(90)]
        told = rings._tried(NUMBERS, (*every, *addresses, *created))
        ring = [one for one in descriptors() if one not in before]
        return [told, len(ring), [*map(str, tmp_path.iterdir())]]

    # The ring's descriptor, and that of a socket if the kernel makes one of zeros: none does.
    assert outcome(child) == [[0, 0, 0], 1, []]


@pytest.mark.usefixtures("_rings_can_be_made")
def test_what_was_to_be_refused_is_told() -> None:
    trials = ((NOP, (), True), (NOP, (), True), (CONNECT, ADDRESS, False))
    assert outcome(lambda: rings._tried(NUMBERS, trials)) == [1, 2, 0]


@pytest.mark.usefixtures("_rings_can_be_made")
def test_what_completes_late_leaves_room_for_a_refusal() -> None:
    """FSYNC completes when it likes; the last trial has an answer of its own, or it is let through.

    The answer to a malformed one stands for a refusal, which no kernel here gives.
    """
    trials = ((3, (), True),) * 16 + ((15, (), False),)

    def waits(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code is rings._tried.__code__:
            if event == "line" and frame.f_locals.get("place") == 16:
                time.sleep(0.2)
                return None
            return waits
        return None

    def child() -> object:
        sys.settrace(waits)
        return rings._tried(NUMBERS, trials)

    assert outcome(child) == [0, 0, 0]


@pytest.mark.usefixtures("_rings_can_be_made")
def test_what_is_malformed_says_nothing_unless_it_has_values() -> None:
    """LINK_TIMEOUT alone is; and openat2 with unknown flags, which a filter sees first."""
    trials = ((15, (), False), (28, (1 << 60, 0, 0), False))
    assert outcome(lambda: rings._tried(NUMBERS, trials)) == [1, 1, 0]
    assert outcome(lambda: rings._tried(NUMBERS, trials[:1])) == [0, 0, 0]


@pytest.mark.usefixtures("_rings_can_be_made")
@pytest.mark.parametrize(
    ("call", "answer", "told"),
    [
        (NR_SETUP, errno.EPERM, [3, 0, errno.EPERM]),
        (NR_SETUP, errno.ENOMEM, [3, 0, errno.ENOMEM]),
        (NR_SETUP, 0, [4, 0, errno.EPROTO]),
        (NR_ENTER, errno.EPERM, [4, 0, errno.EPERM]),
        (NR_ENTER, 0, [4, 0, 0]),
    ],
)
def test_what_a_sandbox_answers_for_a_ring_is_no_answer(
    call: int, answer: int, told: list[int]
) -> None:
    def child() -> Any:
        kernel.install_raw(on_call(call, ERRNO | answer))
        ctypes.set_errno(0)
        return rings._tried(NUMBERS, ((NOP, (), True),))

    assert outcome(child) == told
