"""Sandboxes made by chance, and the question whether a filter got in force under them.

A sandbox of seccomp answers by what a filter sees of a call: its number, its six arguments, the
address it is made from. So it can answer seccomp(2) with any errno, and with errno 0, which looks
like a success. Nothing that a confined process says is believed here: its parent looks at it.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import in_child
import privileges
import running_kernel as kernel
from running_kernel import ALLOW, ERRNO, NR_PRCTL, NR_SECCOMP, always, instruction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INNER = 33
"""The errno by which the filter under test answers getppid(2)."""
FILTER = kernel.on_call(kernel.NR_GETPPID, ERRNO | INNER)

_LOAD, _EQUAL, _GREATER, _ANY_BIT = 0x20, 0x15, 0x25, 0x45
_ERRNOS = (0, 0, 0, errno.EFAULT, errno.EFAULT, errno.EINVAL, errno.EINVAL, errno.EPERM)
_RARE = (errno.ENOSYS, errno.EACCES, errno.EBUSY, errno.ESRCH, errno.ENOMEM, errno.EOPNOTSUPP)
# What a Python does while it loads and calls: openat read close fstat mmap mprotect munmap brk
# futex lseek ioctl getrandom newfstatat getppid.
_OTHERS = (257, 0, 3, 5, 9, 10, 11, 12, 202, 8, 16, 318, 262, 110)
# And while it imports: fcntl getdents64 getcwd readlink stat madvise mremap pread64 gettid
# clock_gettime.
_WHILE_IMPORTING = (*_OTHERS, 72, 217, 79, 89, 4, 28, 25, 17, 186, 228)


Condition = tuple[int, int, int, bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """Answer ``nr`` with ``number`` where all conditions hold: (jump, offset, value, taken)."""

    nr: int
    conditions: tuple[Condition, ...]
    number: int

    def program(self) -> bytes:
        code = b""
        tests = ((_EQUAL, 0, self.nr, True), *self.conditions)
        for position, (jump, offset, value, expected) in enumerate(tests):
            past = 2 * (len(tests) - position) - 1
            to = (0, past) if expected else (past, 0)
            code += instruction(_LOAD, 0, 0, offset) + instruction(jump, *to, value)
        return code + always(ERRNO | self.number)


def conditions(*, operation: int | None = None, null: bool | None = None) -> tuple[Condition, ...]:
    """Return those of calls with this first argument, and with a null pointer as third or not."""
    tests: tuple[Condition, ...] = ()
    if operation is not None:
        tests += ((_EQUAL, 16, operation, True),)
    if null is not None:
        tests += ((_EQUAL, 36, 0, null),)  # a pointer on x86_64 has bits in its high word
    return tests


def chance_sandbox(seed: int, *, others: bool = True) -> tuple[Rule, ...]:
    """Return rules made from ``seed``; the first that fits answers, and the rest is allowed.

    With ``others`` they also answer calls that only a Python makes on its way.
    """
    chance = random.Random(seed)
    rules = []
    for _ in range(chance.choice((1, 1, 2, 3, 5))):
        nr = chance.choice((NR_SECCOMP,) * 6 + (NR_PRCTL,) * 3 + (0,) * others)
        tests: list[Condition] = []
        if nr == NR_SECCOMP:
            shape = chance.random()
            if shape < 0.5:
                tests += conditions(operation=chance.choice((1, 1, 1, 2)))
            if shape < 0.4:
                tests += conditions(null=chance.random() < 0.4)
            if chance.random() < 0.15:
                tests += [(_EQUAL, 24, chance.choice((0, 1, 2, 8)), chance.random() < 0.7)]
        elif nr == NR_PRCTL and chance.random() < 0.8:
            tests += conditions(operation=chance.choice((38, 38, 39)))
        elif nr == 0:
            nr = chance.choice(_OTHERS)
        # The rest of what a filter sees: the call's address, and arguments that nobody reads.
        for _ in range(chance.choice((0, 0, 0, 1, 2))):
            jump = chance.choice((_EQUAL, _GREATER, _ANY_BIT))
            value = chance.choice((0, 1, 8, 0x10, 0x7FFF, 0x80000000, chance.getrandbits(32)))
            tests += [(jump, 4 * chance.randrange(2, 16), value, chance.random() < 0.5)]
        usual = _ERRNOS if chance.random() < 0.8 else _RARE
        rules.append(Rule(nr, tuple(tests), chance.choice(usual)))
    return tuple(rules)


def lying_sandbox(seed: int) -> tuple[Rule, ...]:
    """Return rules made from ``seed`` for all calls of an install() that has to import.

    They answer with a success, or with any errno, those that only the kernel knows among them; but
    not with EINTR, upon which Python tries again for ever.
    """
    chance = random.Random(seed)
    rules = []
    for _ in range(chance.choice((1, 1, 2, 2, 3, 4))):
        nr = chance.choice((NR_PRCTL, NR_SECCOMP, *_WHILE_IMPORTING))
        tests: tuple[Condition, ...] = ()
        if nr in {NR_PRCTL, NR_SECCOMP} and chance.random() < 0.7:
            tests = conditions(operation=chance.choice((1, 2, 38, 39)))
        elif chance.random() < 0.3:
            tests = ((_GREATER, 16 + 8 * chance.randrange(3), chance.choice((3, 64, 4096)), True),)
        number = chance.choice((*_ERRNOS, *_RARE, errno.EMFILE, 512, 4095))
        rules.append(Rule(nr, tests, number))
    return tuple(rules)


def sandbox_program(rules: tuple[Rule, ...]) -> bytes:
    """Return the program of a sandbox, to be installed raw."""
    return b"".join(rule.program() for rule in rules) + always(ALLOW)


# Each way to answer for the kernel, or not, where install functions ask and where they act.
_ANSWERS = (None, 0, errno.EFAULT, errno.EINVAL, errno.EPERM)
_PLACES = (
    (NR_SECCOMP, conditions(operation=1, null=True)),
    (NR_SECCOMP, conditions(operation=1, null=False)),
    (NR_PRCTL, conditions(operation=38)),
)
SYSTEMATIC = [
    tuple(
        Rule(*where, number)
        for where, number in zip(_PLACES, numbers, strict=True)
        if number is not None
    )
    for numbers in itertools.product(_ANSWERS, _ANSWERS, (None, 0))
]
SANDBOXES = [*SYSTEMATIC, *(chance_sandbox(seed, others=False) for seed in range(50))]
"""For what makes no calls but seccomp(2) and prctl(2)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A process under a sandbox, after it tried to install `FILTER`.

    ``told`` is what it told: ``"done"`` and a listener's descriptor, a refusal, or nothing where
    it was killed by its sandbox's answers. The others are the kernel's word: the filters in force
    in addition to the sandbox, no_new_privs, what getppid(2) returned, and the kind of file that
    the descriptor is.
    """

    told: str
    filters: int
    no_new_privs: bool
    getppid: int
    listener: str


NOTHING = Seen("", 0, no_new_privs=False, getppid=0, listener="")


def attempt(rules: tuple[Rule, ...], install: Callable[[], str], *, nnp: bool) -> Seen:
    """Call ``install`` in a child under a sandbox; ``nnp`` is whether that sets no_new_privs.

    ``install`` returns what it tells. The child makes no system call of its own afterwards but
    getppid, and waits in a loop for the parent to look at it, and to kill it.
    """
    notes = in_child.Notes()
    pid = os.fork()
    if pid == 0:
        try:
            if not nnp:
                privileges.gain()
            kernel.install_raw(sandbox_program(rules), nnp=nnp)
            told = install()
            result, number = kernel.syscall(kernel.NR_GETPPID)
            notes.leave(f"{told}\n{-number if result == -1 else result}\nend".encode())
        finally:
            while True:
                pass
    deadline = time.monotonic() + kernel.TIMEOUT
    while not notes.read().endswith(b"\nend"):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None:
            return NOTHING
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise TimeoutError(f"nothing came of {rules}")
        time.sleep(0.0005)
    told, answer, _ = notes.read().decode().split("\n")
    seen = _look(pid, told, int(answer))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return seen


def attempt_program(rules: tuple[Rule, ...], program: Path, *, nnp: bool) -> Seen:
    """Run a program under a sandbox; it writes what it tells, and what getppid(2) returned.

    These are two lines. It waits for its input to end then.
    """
    with subprocess.Popen(
        [program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Here is one thread only, and nothing else runs in the child.
        preexec_fn=lambda: kernel.install_raw(sandbox_program(rules), nnp=nnp),  # noqa: PLW1509
    ) as process:
        assert process.stdout
        told, answer = process.stdout.readline(), process.stdout.readline()
        return _look(process.pid, told.strip(), int(answer)) if answer else NOTHING


def _look(pid: int, told: str, getppid: int) -> Seen:
    """Return what the kernel says of a process under one sandbox more than this one."""
    listener = ""
    if told.startswith("done") and int(told.split()[1]) >= 0:
        try:
            listener = str(Path(f"/proc/{pid}/fd/{told.split()[1]}").readlink())
        except OSError:
            listener = "none"
    before = _status(os.getpid())["Seccomp_filters"] + 1
    threads = [_status(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()]
    counts = {status["Seccomp_filters"] - before for status in threads}
    # Threads that differ are never right, so the number is one that never is.
    filters = counts.pop() if len(counts) == 1 else -1
    return Seen(told, filters, all(status["NoNewPrivs"] for status in threads), getppid, listener)


def check(rules: tuple[Rule, ...], seen: Seen, flags: int, *, nnp: bool) -> bool:
    """Assert that the filter is in force, if it was told so; return whether it was."""
    if not seen.told.startswith("done "):
        assert seen.told.startswith("refused ") or not seen.told, (rules, seen)
        assert seen.filters == 0, (rules, seen)
        return False
    assert (seen.filters, seen.getppid) == (1, -INNER), (rules, seen)
    assert seen.no_new_privs or not nnp, (rules, seen)
    is_listener = seen.listener == "anon_inode:seccomp notify"
    assert is_listener == bool(flags & kernel.NEW_LISTENER), (rules, seen)
    return True


def try_library(path: Path, flags: int, sandboxes: Sequence[tuple[Rule, ...]] = SANDBOXES) -> None:
    """Try the function ``go`` of a library, which returns a negative errno, or a descriptor or 0.

    It installs a filter that answers getppid(2) as `FILTER` does.
    """
    go = ctypes.CDLL(str(path)).go

    def install() -> str:
        result = go()
        if result < 0:
            return f"refused {-result}"
        return f"done {result if flags & kernel.NEW_LISTENER else -1}"

    nnp = os.geteuid() != 0
    told = [check(rules, attempt(rules, install, nnp=nnp), flags, nnp=True) for rules in sandboxes]
    assert 5 < sum(told) < len(told)


def _status(pid: int) -> dict[str, int]:
    """Return the numbers in a process's status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = (line.split(":\t", 1) for line in lines if ":\t" in line)
    return {name: int(value) for name, value in fields if value.isdecimal()}
