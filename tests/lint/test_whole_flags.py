"""Words of flags that a filter compares as a whole: what is refused passes with another flag."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from linting import FORMS, findings
from running_kernel import IS_X86_64, install_raw, run, syscall
from seccompgen.core.abis import ABIS
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint import Severity
from seccompgen.lint.rules.arguments.whole_flags import ADDED_FLAGS
from seccompgen.pipeline.build import build_policy

if TYPE_CHECKING:
    from seccompgen.lint import Finding

NR_MPROTECT, NR_CLONE, NR_PERSONALITY, NR_SCHED_SETSCHEDULER = 10, 56, 135, 144
NR_FUTEX, NR_MKNODAT = 202, 259
OURS = 1234
"""An errno that no call gives by itself."""


class Rule(NamedTuple):
    """A rule of a list of what is refused, and the flag that gets past it."""

    call: str
    when: str
    flag: str


RULES = [
    Rule("socket", "type == SOCK_RAW", "SOCK_CLOEXEC"),
    Rule("socketpair", "type < SOCK_DGRAM", "SOCK_CLOEXEC"),
    Rule("accept4", "flags == SOCK_CLOEXEC", "SOCK_NONBLOCK"),
    Rule("sendto", "flags == MSG_OOB", "MSG_NOSIGNAL"),
    Rule("mprotect", "prot == PROT_EXEC", "PROT_READ"),
    # All four that there are, it seems.
    Rule("mmap", "prot in {0x4, 0x5, 0x6, 0x7}", "PROT_SEM"),
    Rule("pkey_mprotect", "prot & 0xff == 6", "PROT_READ"),
    Rule("open", "flags == O_RDONLY", "O_CLOEXEC"),
    Rule("openat", "flags & O_ACCMODE == O_WRONLY", "O_RDWR"),
    Rule("open_by_handle_at", "flags & O_ACCMODE != O_RDONLY", "O_TRUNC"),
    Rule("mq_open", "oflag & O_WRONLY", "O_RDWR"),
    Rule("fcntl", "cmd == F_SETFL and arg == FASYNC", "O_CLOEXEC"),
    Rule("mknod", "mode == S_IFCHR", "0o400"),
    Rule("mknodat", "mode & S_IFMT == S_IFREG", "0"),
    Rule("chmod", "mode == 0o4755", "0o4775"),
    Rule("clone", "flags == CLONE_NEWUSER|SIGCHLD", "CLONE_UNTRACED"),
    Rule("unshare", "unshare_flags == CLONE_NEWNET", "CLONE_NEWUTS"),
    Rule("setns", "nstype == CLONE_NEWUTS", "CLONE_NEWIPC"),
    Rule("personality", "personality == READ_IMPLIES_EXEC", "UNAME26"),
    Rule("futex", "op == FUTEX_LOCK_PI", "FUTEX_LOCK_PI_PRIVATE"),
    Rule("sched_setscheduler", "policy == SCHED_FIFO", "SCHED_RESET_ON_FORK"),
    Rule("seccomp", "flags == SECCOMP_FILTER_FLAG_NEW_LISTENER", "SECCOMP_FILTER_FLAG_LOG"),
]
UNDER_MASKS = """\
default_action: allow
arches: [x86_64]
syscalls:
- action: errno
  names_with_args:
  - {name: socket, when: type & 0xf == SOCK_RAW}
  - {name: accept4, when: not flags & SOCK_CLOEXEC}
  - {name: mprotect, when: prot & (PROT_WRITE|PROT_EXEC) == PROT_WRITE|PROT_EXEC}
  - {name: mmap, when: prot & PROT_EXEC and flags & MAP_ANONYMOUS}
  - {name: open, when: flags & O_ACCMODE != O_RDONLY or flags & O_TRUNC}
  - {name: openat, when: flags & (O_WRONLY|O_RDWR|O_CREAT|O_TRUNC)}
  - {name: fcntl, when: cmd == F_SETPIPE_SZ and arg == 4096}
  - {name: fcntl, when: cmd == F_SETFL and arg & FASYNC}
  - {name: ioctl, when: cmd == TIOCSTI}
  - {name: mknod, when: 'mode & S_IFMT in {S_IFCHR, S_IFBLK}'}
  - {name: chmod, when: mode & (S_ISUID|S_ISGID)}
  - {name: clone, when: not flags & CLONE_THREAD}
  - {name: unshare, when: unshare_flags & CLONE_NEWUSER}
  - {name: setns, when: nstype == 0 or nstype & CLONE_NEWNET}
  - {name: personality, when: personality != 0xffffffff}
  - {name: futex, when: 'op & FUTEX_CMD_MASK == FUTEX_LOCK_PI'}
  - {name: sched_setscheduler, when: 'policy & 0xff in {SCHED_FIFO, SCHED_RR}'}
  - {name: renameat2, when: flags == RENAME_EXCHANGE}
  - {name: memfd_create, when: flags == 0}
  - {name: prctl, when: option == PR_SET_SECCOMP}
"""
PERMITTED_WORDS = """\
default_action: errno
arches: [x86_64]
syscalls:
- action: allow
  names: [exit_group, rt_sigreturn, read]
  names_with_args:
  - {name: socket, when: type == SOCK_STREAM|SOCK_CLOEXEC or type == SOCK_DGRAM|SOCK_CLOEXEC}
  - {name: accept4, when: flags & (SOCK_CLOEXEC|SOCK_NONBLOCK)}
  - {name: sendto, when: flags == MSG_NOSIGNAL}
  - {name: mprotect, when: not prot & PROT_EXEC or prot & 7 == PROT_READ|PROT_EXEC}
  - {name: mmap, when: 'prot in {PROT_READ, PROT_READ|PROT_WRITE, PROT_READ|PROT_EXEC}'}
  - {name: openat, when: 'flags in {O_CLOEXEC, O_RDWR|O_CLOEXEC, O_CLOEXEC|O_DIRECTORY}'}
  - {name: open, when: flags & O_CLOEXEC and not flags & O_CREAT}
  - {name: open_by_handle_at, when: flags & O_ACCMODE == O_RDONLY and not flags & O_TRUNC}
  - {name: open_by_handle_at, when: 'flags & O_ACCMODE in {O_WRONLY, O_RDWR}'}
  - {name: clone, when: flags == 0x3d0f00}
  - {name: personality, when: 'personality in {0, 8, 0x20000, 0x20008, 0xffffffff}'}
  - {name: futex, when: 'op in {FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE, 0x189}'}
  - {name: sched_setscheduler, when: policy == SCHED_RESET_ON_FORK}
  - {name: mknod, when: mode == S_IFIFO|0o600}
  - {name: fchmod, when: mode & 0o222}
  - {name: fcntl, when: 'cmd in {F_GETFD, F_GETFL} or cmd == F_SETFL and arg == O_RDWR|O_NONBLOCK'}
"""


def whole(path: Path, form: str) -> list[Finding]:
    found = findings(path, form, shipped_tables())
    return [one for one in found if one.kind.value == "whole-flags"]


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yml"
    rules = "\n".join(f"  - {{name: {one.call}, when: '{one.when}'}}" for one in RULES)
    path.write_text(
        f"default_action: allow\narches: [x86_64]\nsyscalls:\n- action: errno({OURS})\n"
        f"  names_with_args:\n{rules}\n"
    )
    return path


@pytest.mark.parametrize("form", FORMS)
def test_what_a_flag_lets_past(bad: Path, form: str) -> None:
    found = whole(bad, form)
    # What empties a file is no flag that takes nothing from it.
    weights = {"O_TRUNC" in one.message: one.severity for one in found}
    assert weights == {False: Severity.ERROR, True: Severity.WARNING}
    said = [f" {one.message}" for one in found]
    for rule in RULES:
        # A rule with several values has one finding; of programs nobody knows the rules.
        message, *more = (one for one in said if f" {rule.call}'s " in one)
        assert form == "program" or not more
        refused, passing = message.partition(": ")[2].split(" is refused, but ")
        assert rule.flag in re.split(r"[| ]", passing)
        assert rule.flag not in refused.split("|")
    if form == "policy":
        lines = [one.position.line for one in found if one.position]
        assert sorted(lines) == list(range(6, 6 + len(RULES)))


@pytest.mark.parametrize("text", [UNDER_MASKS, PERMITTED_WORDS], ids=["masks", "words"])
@pytest.mark.parametrize("form", FORMS)
def test_masks_and_lists_of_words_are_none(tmp_path: Path, text: str, form: str) -> None:
    path = tmp_path / "good.yml"
    path.write_text(text)
    assert [one.message for one in whole(path, form)] == []


@pytest.mark.parametrize("form", FORMS)
def test_a_flag_gets_past_a_supervisor(tmp_path: Path, form: str) -> None:
    path = tmp_path / "policy.yml"
    path.write_text(
        "default_action: allow\narches: [x86_64]\nflags: [new_listener]\nsyscalls:\n"
        "- {action: user_notif, names: [openat], when: flags == O_WRONLY}\n"
    )
    (found,) = whole(path, form)
    assert ": O_WRONLY is left to a supervisor, but O_WRONLY|O_CLOEXEC is " in found.message


def test_the_flags_are_of_their_arguments() -> None:
    """Each is one of the constants of its family, and a single bit on every ABI that has it."""
    facts = shipped_tables().facts
    for family, added in ADDED_FLAGS.items():
        for flag in added.split():
            if flag[0].isdigit():
                assert int(flag, 0).bit_count() == 1
                continue
            assert flag in family
            values = {facts.value(flag, abi) for abi in ABIS.values()} - {None, 0}
            assert values
            assert {value.bit_count() for value in values if value} == {1}


@pytest.fixture
def program(bad: Path) -> bytes:
    if not IS_X86_64:
        pytest.skip("needs a 64-bit Python on Linux x86_64")
    return build_policy(bad, shipped_tables()).programs[0].to_bytes()


def test_the_kernel_lets_them_past(bad: Path, program: bytes) -> None:
    """Of each two calls the one gets the filter's errno, and the other does not."""
    found = whole(bad, "policy")
    pairs = [(one.witness, one.beside) for one in found if one.witness and one.beside]

    def outcomes() -> list[list[bool]]:
        install_raw(program)
        return [
            [syscall(one.call.nr, *one.call.args) == (-1, OURS) for one in (beside, witness)]
            for witness, beside in pairs
            if witness.call.nr != NR_CLONE  # whose child would go on from here
        ]

    assert run(outcomes).value == [[True, False]] * (len(RULES) - 1)


def test_what_gets_past_does_what_was_refused(program: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    name = ctypes.create_string_buffer(bytes(path))
    lock, priority = (ctypes.c_int * 1)(0), (ctypes.c_int * 1)(1)

    def done() -> list[object]:
        memory = mmap.mmap(-1, mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        install_raw(program)
        syscall(NR_MPROTECT, address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
        maps = Path("/proc/self/maps").read_text().splitlines()
        syscall(NR_FUTEX, ctypes.addressof(lock), 6 | 128)  # FUTEX_LOCK_PI_PRIVATE
        syscall(NR_PERSONALITY, 0x420000)
        syscall(NR_MKNODAT, -100, ctypes.addressof(name), 0o600, 0)
        with path.open("r+") as file:  # not O_WRONLY, but O_RDWR
            written = file.write("content")
        os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))
        syscall(NR_SCHED_SETSCHEDULER, 0, os.SCHED_FIFO | 0x40000000, ctypes.addressof(priority))
        return [
            *(line.split()[1] for line in maps if line.startswith(f"{address:x}-")),
            lock[0] == os.getpid(),
            syscall(NR_PERSONALITY, 0xFFFFFFFF)[0],
            written,
            path.read_text(),
            os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK,
        ]

    *told, scheduler = run(done).value
    assert told == ["r-xs", True, 0x420000, 7, ""]
    if os.geteuid() == 0:  # others may not
        assert scheduler == os.SCHED_FIFO
