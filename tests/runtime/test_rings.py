"""install() of filters on io_uring's operations: what must be so before, and what it falls back to.

The kernel here need not have such filters. `FakeKernel` answers in its place where registering them
is what matters; that they hold is tried in guests.
"""

from __future__ import annotations

import ast
import ctypes
import errno
import mmap
import os
import pickle
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from interpreters import find_interpreter
from ring_installs import (
    ADDRESS,
    CONNECT,
    FILTERED,
    NO_MMAP,
    NOP,
    NR_ENTER,
    NR_REGISTER,
    NUMBERS,
    OPERATIONS,
    OTHER,
    READV,
    REGISTERED_FD_ONLY,
    RET_0,
    RET_1,
    TRIALS,
    FakeKernel,
    install,
    make_ring,
    outcome,
)
from running_kernel import ALLOW, ERRNO, NR_SECCOMP, on_call
from runtime_template import TEMPLATE, rings, runtime

if TYPE_CHECKING:
    from pathlib import Path


kernel.require_x86_64()


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
