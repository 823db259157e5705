"""install() of filters on io_uring's operations: what must be so before, and what it falls back to.

The kernel here need not have such filters. `FakeKernel` answers in its place where registering them
is what matters; that they hold is tried in guests.
"""

from __future__ import annotations

import ast
import atexit
import ctypes
import errno
import mmap
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from interpreters import find_interpreter
from running_kernel import ALLOW, ERRNO, NR_GETPPID, NR_SECCOMP, on_call
from runtime_template import TEMPLATE, rings, runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

kernel.require_x86_64()

NUMBERS = NR_SETUP, NR_ENTER, NR_REGISTER = (425, 426, 427)
FILTERED = on_call(NR_GETPPID, ERRNO | 33)
OTHER = on_call(NR_SETUP, ERRNO | errno.ENOSYS)
RET_0, RET_1 = kernel.always(0), kernel.always(1)

NOP, READV, CONNECT, SOCKET = 0, 1, 16, 45
ADDRESS = struct.pack("=H", 2) + struct.pack("!H4s8x", 5432, bytes([10, 1, 2, 3]))
OPERATIONS = ((NOP, 0, RET_1), (CONNECT, 24, RET_1))
TRIALS = ((NOP, (), True), (CONNECT, ADDRESS, True), (READV, (), False))

NO_MMAP, REGISTERED_FD_ONLY = 1 << 14, 1 << 15


AS_MEANT = "(0, 0, 1)"
"""The answer of trials of which the first was refused, and none was otherwise than meant."""


def install(
    *,
    operations: Any = OPERATIONS,
    trials: Any = TRIALS,
    permits_exec: bool = False,
    without: str = "refuse_rings",
    abi: str = "x86_64",
    program: bytes = FILTERED,
    flags: int = 0,
    actions: tuple[int, ...] = (ALLOW,),
) -> dict[str, Any]:
    """Install, and return the error, or which program is in force."""
    section = (NUMBERS, operations, trials, permits_exec, OTHER)
    try:
        result = rings.install(
            "worker",
            {abi: (NR_SECCOMP, program, section)},
            flags=flags,
            no_new_privs=True,
            actions=actions,
            without=without,
        )
    except runtime.SeccompError as error:
        assert rings.filtered() is rings.obstacle() is None
        return {"cause": error.cause, "errno": error.errno, "text": str(error), **error.facts}
    assert result == -1
    by_program = kernel.syscall(NR_GETPPID) == (-1, 33)
    assert rings.filtered() is by_program
    assert by_program or kernel.syscall(NR_SETUP, 0, 0) == (-1, errno.ENOSYS)
    assert by_program is (rings.obstacle() is None)
    return {"filtered": by_program}


def outcome(child: Callable[[], Any]) -> Any:
    seen = kernel.run(child)
    assert seen.error is None
    return seen.value


def descriptors() -> set[str]:
    """Return those that are open, but for the one that is open to see it."""
    return {path.name for path in Path("/proc/self/fd").iterdir() if path.exists()}


class FakeKernel:
    """Answers io_uring_register(2) as a kernel that has filters, and has no ring."""

    def __init__(self, *, last: int = 65, rejected: int = -1) -> None:
        self.last, self.rejected = last, rejected
        self.sizes = {CONNECT: 24, 18: 24, 28: 24, SOCKET: 12}
        self.privileged = True
        self.registered: list[tuple[int, int, int, bytes]] = []

    def call(self, asked: Any, number: int, *words: int) -> tuple[int, int]:
        if number != NR_REGISTER:
            result = kernel.syscall(number, *words)
            return result[0], result[1] if result[0] == -1 else 0
        if words[0] != 0xFFFFFFFF and words[0] != -1:
            return -1, errno.EINVAL
        assert words[1:] == (37, asked.kernel.address, 1)
        if not self.privileged:
            return -1, errno.EACCES
        memory = asked.kernel.memory
        kind, reserved, more, opcode, flags, length, size, pointer = struct.unpack_from(
            "=2H4IB3xQ", memory
        )
        assert (kind, reserved, more, bytes(memory[32:72])) == (1, 0, 0, bytes(40))
        assert pointer == asked.kernel.address + 72
        if opcode >= self.last:
            return -1, errno.EINVAL
        memory[20] = has = self.sizes.get(opcode, 0)
        if size != has and (flags & 2 or size > has):
            return -1, errno.EMSGSIZE
        if opcode == self.rejected:
            return -1, errno.ENOMEM
        self.registered.append((opcode, flags, size, bytes(memory[72 : 72 + 8 * length])))
        return 0, 0


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    made = FakeKernel()
    monkeypatch.setattr(rings._Rings, "_call", lambda *words: made.call(*words))  # noqa: PLW0108 - bound
    found(monkeypatch, AS_MEANT)
    return made


def found(monkeypatch: pytest.MonkeyPatch, *answer: str) -> None:
    """Have the trials end as the last of ``answer`` says, an expression, after the others."""
    *first, last = answer
    lines = "\n    ".join([*first, f"return {last}"])
    made: dict[str, Any] = {}
    exec(f"def tried(numbers, trials):\n    {lines}", rings.__dict__, made)
    monkeypatch.setattr(rings, "_tried", made["tried"])


def make_ring(flags: int = 0) -> tuple[int, mmap.mmap]:
    """Make a ring; skips where none can be had. What is returned must be kept."""
    memory = mmap.mmap(-1, 3 * mmap.PAGESIZE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    at = 2 * mmap.PAGESIZE
    struct.pack_into("=I", memory, at + 8, flags)
    if flags & NO_MMAP:
        struct.pack_into("=Q", memory, at + 72, base + mmap.PAGESIZE)
        struct.pack_into("=Q", memory, at + 112, base)
    return kernel.syscall(NR_SETUP, 1, base + at)[0], memory


@pytest.fixture(scope="module")
def _rings_can_be_made() -> None:
    if outcome(lambda: make_ring(NO_MMAP)[0]) < 0:
        pytest.skip("no rings can be made here")


# Threads and rings


@pytest.mark.parametrize("without", ["refuse_rings", "fail"])
def test_a_second_thread_is_refused(without: str) -> None:
    def child() -> Any:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return install(without=without)

    told = outcome(child)
    assert (told["cause"], told["errno"], told["threads"]) == ("ring_threads", errno.EBUSY, 2)
    assert "this process has 2 threads" in told["text"]


@pytest.mark.usefixtures("_rings_can_be_made")
@pytest.mark.parametrize("without", ["refuse_rings", "fail"])
def test_a_ring_that_is_open_is_refused(without: str) -> None:
    def child() -> Any:
        ring, _memory = make_ring()
        return {**install(without=without), "made": ring}

    told = outcome(child)
    assert (told["cause"], told["errno"]) == ("ring_open", errno.EBUSY)
    assert told["ring"] == f"descriptor {told['made']}"
    assert f"there is a ring already (descriptor {told['made']})" in told["text"]


@pytest.mark.usefixtures("_rings_can_be_made")
def test_a_ring_that_is_only_mapped_is_refused() -> None:
    def child() -> Any:
        ring, _memory = make_ring()
        mapped = kernel.libc.mmap
        mapped.restype, mapped.argtypes = ctypes.c_void_p, [ctypes.c_size_t] * 6
        assert mapped(0, mmap.PAGESIZE, 3, 1, ring, 0x10000000) not in (None, 2**64 - 1)
        os.close(ring)
        return install()

    assert outcome(child)["ring"] == "in memory"


@pytest.mark.usefixtures("_rings_can_be_made")
@pytest.mark.parametrize("hidden", [(), (NR_ENTER,), (NR_REGISTER,)], ids=str)
def test_a_ring_that_is_only_registered_is_refused(hidden: tuple[int, ...]) -> None:
    """Found by either call, where a sandbox forbids the other."""

    def child() -> Any:
        ring, _memory = make_ring(NO_MMAP | REGISTERED_FD_ONLY)
        if ring < 0:
            return "too old"
        for call in hidden:
            kernel.install_raw(on_call(call, ERRNO | errno.EPERM))
        return install()

    told = outcome(child)
    assert told == "too old" or told["ring"] == "registered as 0"


def test_a_thread_that_has_ended_and_a_ring_that_is_closed_do_not_matter() -> None:
    def child() -> Any:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        ring, _memory = make_ring()
        if ring >= 0:
            os.close(ring)
        return install()

    assert "filtered" in outcome(child)


def test_a_thread_that_is_about_to_end_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    real, counts = rings._Rings._lines, iter([b"Threads:\t3\n", b"Threads:\t2\n"])

    def lines(asked: Any, path: str) -> list[bytes]:
        return [next(counts, b"Threads:\t1\n")] if path.endswith("status") else real(asked, path)

    monkeypatch.setattr(rings._Rings, "_lines", lines)
    assert "filtered" in outcome(install)


def test_proc_has_to_count_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rings._Rings, "_lines", lambda *_: [b"Name:\tother\n"])
    assert outcome(install)["cause"] == "no_mode"


@pytest.mark.parametrize("name", ["status", "fd", "maps"])
def test_proc_has_to_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open, real_list = open, os.listdir

    def opened(path: Any, *options: Any) -> Any:
        if str(path).endswith(name):
            raise FileNotFoundError(errno.ENOENT, "not mounted")
        return real_open(path, *options)

    def listed(path: Any) -> Any:
        if str(path).endswith(name):
            raise FileNotFoundError(errno.ENOENT, "not mounted")
        return real_list(path)

    monkeypatch.setitem(rings.__dict__, "open", opened)
    monkeypatch.setattr(os, "listdir", listed)
    told = outcome(install)
    assert (told["cause"], told["errno"]) == ("no_proc", errno.ENOENT)
    assert told["path"] == f"/proc/thread-self/{name}"


# What the kernel has


@pytest.mark.parametrize("last", [40, 65, 256])
def test_each_operation_of_the_kernel_gets_a_filter(last: int, fake: FakeKernel) -> None:
    """Refused ones as well: the refusal of the rest spares those that have one from before."""
    fake.last = last
    operations = ((NOP, 0, RET_1), (CONNECT, 24, RET_1 + RET_1), (17, 0, RET_1), (300, 0, RET_1))

    def child() -> Any:
        told = install(operations=operations, trials=TRIALS)
        return [told, [[*one[:3], one[3].hex()] for one in fake.registered]]

    told, registered = outcome(child)
    assert told == {"filtered": True}
    wanted = [[opcode, 0, 0, RET_0.hex()] for opcode in range(last)]
    wanted[NOP][3] = wanted[17][3] = RET_1.hex()
    wanted[CONNECT] = [CONNECT, 2, 24, (RET_1 + RET_1).hex()]
    wanted[-1][1] = 1
    assert registered == wanted


def test_what_needs_no_values_is_tried_unless_it_is_said() -> None:
    """Each other operation is refused, or permitted if its program permits whatever comes."""
    operations = ((NOP, 0, RET_1), (2, 0, RET_1), (3, 0, RET_0), (CONNECT, 24, RET_1 + RET_1))
    trials = ((CONNECT, ADDRESS, True), (5, (), True))
    made = rings._Rings(None, NUMBERS, operations, trials, False).trials
    assert made[:2] == trials
    assert dict.fromkeys(range(65), False) | {NOP: True, 2: True} == {
        **{opcode: allowed for opcode, values, allowed in made[2:] if values == ()},
        **dict.fromkeys((3, 5, CONNECT), False),
    }
    assert not {3, 5, CONNECT} & {one[0] for one in made[2:]}


BY_ERRNO = [
    (errno.EINVAL, "no_ring_filters"),
    (errno.EACCES, "no_ring_filters"),
    (errno.ENOSYS, "no_ring_filters"),
    (errno.EPERM, "no_ring_filters"),
    (errno.EFAULT, "no_ring_filters"),
    (errno.EMSGSIZE, "pretended"),
    (0, "pretended"),
]


@pytest.mark.parametrize(("answer", "cause"), BY_ERRNO)
def test_whatever_a_sandbox_answers_for_the_kernel_rings_are_refused(
    answer: int, cause: str
) -> None:
    def child(without: str) -> Any:
        kernel.install_raw(on_call(NR_REGISTER, ERRNO | answer))
        return install(without=without)

    assert outcome(lambda: child("refuse_rings")) == {"filtered": False}
    told = outcome(lambda: child("fail"))
    assert told["cause"] == cause
    assert told["errno"] == (errno.EPROTO if cause == "pretended" else answer)


def test_without_privileges_they_are_set_first(fake: FakeKernel) -> None:
    """The kernel tells what it has only to who may install."""
    fake.privileged = False
    real = runtime._Kernel.set_no_new_privs

    def child() -> Any:
        def set_no_new_privs(asked: Any) -> None:
            fake.privileged = True
            real(asked)

        runtime._Kernel.set_no_new_privs = set_no_new_privs
        return install(without="fail")

    assert outcome(child) == {"filtered": True}


def test_a_field_that_the_kernel_does_not_show(fake: FakeKernel) -> None:
    del fake.sizes[CONNECT]
    told = outcome(lambda: install(without="fail"))
    assert (told["cause"], told["errno"]) == ("ring_fields", errno.EMSGSIZE)
    assert (told["has"], told["wanted"]) == (0, 24)
    assert "operation 16 (CONNECT) the kernel shows filters 0 bytes of fields" in told["text"]
    assert outcome(install) == {"filtered": False}
    assert outcome(lambda: [install(), len(fake.registered)])[1] == 0


def test_a_program_that_is_not_taken(fake: FakeKernel) -> None:
    fake.rejected = CONNECT
    told = outcome(lambda: install(without="fail"))
    assert (told["cause"], told["errno"]) == ("ring_rejected", errno.ENOMEM)
    assert told["operation"] == "operation 16 (CONNECT)"
    assert outcome(install) == {"filtered": False}


@pytest.mark.parametrize(
    ("answer", "refuses", "fails"),
    [
        (errno.ENOSYS, {"filtered": False}, {"filtered": True}),
        (errno.EPERM, {"filtered": False}, None),
    ],
)
def test_where_there_is_no_io_uring_at_all_nothing_is_lacking(
    answer: int, refuses: Any, fails: Any
) -> None:
    """ENOSYS is for good; EPERM may be a setting that somebody changes later."""

    def child(without: str) -> Any:
        for call in NUMBERS:
            kernel.install_raw(on_call(call, ERRNO | answer))
        told = install(without=without)
        return told if "filtered" in told else None

    assert outcome(lambda: child("refuse_rings")) == refuses
    assert outcome(lambda: child("fail")) == fails


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


# Under any sandbox


@pytest.mark.parametrize("without", ["refuse_rings", "fail"])
@pytest.mark.parametrize("call", NUMBERS)
@pytest.mark.parametrize("answer", [0, errno.EPERM, errno.ENOSYS, errno.EBADF, errno.EMSGSIZE])
def test_no_ring_is_ever_without_its_filters(call: int, answer: int, without: str) -> None:
    def child() -> Any:
        kernel.install_raw(on_call(call, ERRNO | answer))
        told = install(without=without)
        if "filtered" in told:
            assert rings._tried(NUMBERS, ((READV, (), False),))[0] != rings._LET_THROUGH
        return told

    told = outcome(child)
    assert "cause" in told or "filtered" in told


# Under each Python

# Runs on 3.9, knows nothing of the test suite. The kernel's part is played, all else is real: both
# child processes, the code that the second executes, and what is let through on a ring.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from application import _io_uring, _runtime
class Rings(_io_uring._Rings):
    def _missing(self):
        pass
_io_uring._Rings = Rings
real = _io_uring._tried
def lost(numbers, trials):
    return "numbers" in globals(), 0, 1
def kept(numbers, trials):
    return 0, 0, 1
program, other = bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
def install(executed, trials, operations=()):
    _io_uring._tried = executed
    section = ((425, 426, 427), operations, trials, executed is not real, other)
    programs = {"x86_64": (317, program, section)}
    options = {"flags": 0, "no_new_privs": True, "actions": (), "without": sys.argv[4]}
    try:
        _io_uring.install("p", programs, **options)
        return _io_uring.filtered()
    except _runtime.SeccompError as error:
        return [error.cause, error.case, error.reason]
print([install(real, ((0, (), False),)), install(lost, ((0, (), False),)),
       install(kept, ((0, (), False),)),
       install(real, ((16, bytes(16), True),), [(n, 0, _io_uring._RET_1) for n in range(65)])])
"""
VERSIONS = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "pypy"]


@pytest.mark.usefixtures("_rings_can_be_made")
@pytest.mark.few(2, "tries interpreters one by one")
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version(version: str, tmp_path: Path) -> None:
    python = shutil.which("pypy3") if version == "pypy" else find_interpreter(version)
    if python is None:
        pytest.skip("needs that version")
    package = tmp_path / "application"
    package.mkdir()
    (package / "__init__.py").touch()
    for template in TEMPLATE.parent.glob("_*.py"):
        shutil.copy(template, package)
    words = [kernel.always(ALLOW).hex(), kernel.always(ALLOW).hex(), "fail"]
    done = subprocess.run(
        [python, "-I", "-W", "error", "-c", SCRIPT, tmp_path, *words],
        capture_output=True,
        text=True,
        timeout=kernel.TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    through, lost, *others = ast.literal_eval(done.stdout)
    assert through[:2] == ["ring_trial", "let_through"]
    assert through[2] == "operation 0 was to be refused, and the kernel let it through"
    assert lost[:2] == ["ring_exec", "lost"]
    assert others == [True, True]


# The rest


@pytest.mark.parametrize(
    ("wrong", "cause", "registered"),
    [
        ({"flags": 1 << 20}, "unknown_flag", 0),
        ({"actions": (0x7F000000,)}, "lacks_action", 0),
        ({"program": b""}, "no_program", 65),
    ],
)
def test_what_is_wrong_with_the_seccomp_program(
    wrong: Any, cause: str, registered: int, fake: FakeKernel
) -> None:
    """Found out before anything is registered where the kernel can be asked."""

    def child() -> Any:
        told = install(**wrong)
        return [told["cause"], len(fake.registered), rings.filtered()]

    assert outcome(child) == [cause, registered, None]


@pytest.mark.parametrize("program", [FILTERED, OTHER])
def test_what_could_not_be_returned_before_is_returned(program: bytes) -> None:
    """As `_runtime.install` says, with nothing asked again under the filter that is in force."""

    def child() -> Any:
        kernel.install_raw(program)
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        runtime._unreturned.__dict__[0, program] = [(0, 0)]
        found = runtime._refusal("install", "no_rings", "EPERM")
        rings._found[:] = [None if program == FILTERED else found]
        return install()

    assert outcome(child) == {"filtered": program == FILTERED}


@pytest.mark.usefixtures("fake")
def test_what_fails_leaves_nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    def child() -> Any:
        monkeypatch.setattr(rings, "_install", refuse)
        return install()

    def refuse(*_: object, **__: object) -> Any:
        assert rings.filtered() is True
        raise runtime._refusal("install", "memory", "ENOMEM", length=1)

    assert outcome(child)["cause"] == "memory"


def test_the_programs_are_for_other_abis() -> None:
    assert outcome(lambda: install(abi="s390x"))["cause"] == "wrong_abi"


def test_the_error_reaches_another_process_whole() -> None:
    def child() -> Any:
        kernel.install_raw(on_call(NR_REGISTER, ERRNO | errno.EPERM))
        try:
            section = (NUMBERS, OPERATIONS, TRIALS, False, b"")
            programs = {"x86_64": (NR_SECCOMP, FILTERED, section)}
            rings.install("w", programs, flags=0, no_new_privs=True, actions=(), without="fail")
        except runtime.SeccompError as error:
            copied = pickle.loads(pickle.dumps(error))
            assert vars(copied) == vars(error)
            assert (str(copied), copied.remedy) == (str(error), error.remedy)
            return [copied.errno_name, copied.reason, copied.remedy]
        return None

    name, reason, remedy = outcome(child)
    assert name == "EPERM"
    assert reason.endswith("has no filters on operations of io_uring (Operation not permitted)")
    assert remedy.startswith("use Linux 7.0 or newer")


def test_nothing_is_in_force_before() -> None:
    assert outcome(rings.filtered) is None
