"""The way that a bad filter of the past left open leads where the refused one does.

Each of these does, under the filter and on the running kernel, what the filter was there to refuse.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import stat
import struct
from typing import TYPE_CHECKING

import pytest
from escape.attacks.rings import Ring
from historic import FOLDER, OURS, program_of
from running_kernel import install_raw, require_x86_64, run, syscall
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.pipeline.build import build_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from running_kernel import Outcome

require_x86_64()

AT_FDCWD = -100
SETUID = 0o4755
NR_MPROTECT, NR_CLONE, NR_EXECVE, NR_CHMOD, NR_PTRACE = 10, 56, 59, 90, 101
NR_PROCESS_VM_WRITEV, NR_EXECVEAT, NR_PKEY_MPROTECT, NR_CLONE3 = 311, 322, 329, 435
NR_FCHMODAT2, NR_OPENAT, NR_IO_URING_SETUP, NR_IO_URING_ENTER = 452, 257, 425, 426
IORING_OP_OPENAT = 18
CLONE_NEWUTS, SIGCHLD = 0x04000000, 17
REFUSED = (-1, OURS)


def under(name: str, function: Callable[[], object]) -> Outcome:
    """Run a function in a child under the filter of a case."""
    program = program_of(FOLDER / f"{name}.yml").to_bytes()

    def confined() -> object:
        install_raw(program)
        return function()

    outcome = run(confined)
    assert outcome.error is None
    return outcome


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_open_makes_a_setuid_file(tmp_path: Path) -> None:
    path = tmp_path / "made"

    def make() -> bool:
        os.umask(0)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, SETUID))
        name = ctypes.create_string_buffer(bytes(path))
        return syscall(NR_CHMOD, ctypes.addressof(name), SETUID) == REFUSED

    assert under("systemd-suid-open", make).value is True
    assert mode_of(path) == SETUID


def test_fchmodat2_makes_a_file_setuid(tmp_path: Path) -> None:
    path = tmp_path / "changed"
    path.touch()

    def change() -> list[tuple[int, int]]:
        name = ctypes.create_string_buffer(bytes(path))
        address = ctypes.addressof(name)
        return [
            syscall(NR_CHMOD, address, SETUID),
            syscall(NR_FCHMODAT2, AT_FDCWD, address, SETUID, 0),
        ]

    refused, done = under("systemd-suid-fchmodat2", change).value
    assert tuple(refused) == REFUSED
    if tuple(done) == (-1, errno.ENOSYS):
        pytest.skip("needs Linux 6.6")
    assert tuple(done) == (0, 0)
    assert mode_of(path) == SETUID


def test_execveat_executes_a_program() -> None:
    """It ends with the status of that program, which execve is refused."""

    def execute() -> None:
        words = [ctypes.create_string_buffer(word) for word in (b"/bin/sh", b"-c", b"exit 7")]
        addresses = [ctypes.addressof(word) for word in words]
        argv = (ctypes.c_void_p * 4)(*addresses, None)
        if syscall(NR_EXECVE, addresses[0], ctypes.addressof(argv), 0) != REFUSED:
            return
        syscall(NR_EXECVEAT, AT_FDCWD, addresses[0], ctypes.addressof(argv), 0, 0)

    assert under("qemu-spawn", execute).exit_code == 7


def test_pkey_mprotect_makes_memory_executable() -> None:
    def protect() -> list[tuple[int, int]]:
        memory = mmap.mmap(-1, mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        every = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        return [
            syscall(NR_MPROTECT, address, mmap.PAGESIZE, every),
            syscall(NR_PKEY_MPROTECT, address, mmap.PAGESIZE, every, -1),
        ]

    refused, done = under("systemd-wx-pkey", protect).value
    assert tuple(refused) == REFUSED
    assert tuple(done) == (0, 0)


def test_process_vm_writev_writes_into_a_process() -> None:
    def write() -> list[object]:
        source = ctypes.create_string_buffer(b"from outside")
        target = ctypes.create_string_buffer(len(source))
        ours = struct.pack("=QQ", ctypes.addressof(source), len(source))
        theirs = struct.pack("=QQ", ctypes.addressof(target), len(target))
        local, remote = (ctypes.create_string_buffer(one) for one in (ours, theirs))
        vectors = (ctypes.addressof(local), 1, ctypes.addressof(remote), 1)
        refused = syscall(NR_PTRACE, 0)
        syscall(NR_PROCESS_VM_WRITEV, os.getpid(), *vectors, 0)
        return [refused == REFUSED, target.value.decode()]

    assert under("openshell-twins", write).value == [True, "from outside"]


def test_clone3_makes_a_namespace() -> None:
    """Its child has another UTS namespace than the process that clone refuses one."""

    def clone() -> list[object]:
        space = os.stat("/proc/self/ns/uts").st_ino  # noqa: PTH116 - of what it links to
        refused = syscall(NR_CLONE, CLONE_NEWUTS | SIGCHLD)
        fields = [CLONE_NEWUTS | 0x10000000, 0, 0, 0, SIGCHLD, 0, 0, 0]  # and CLONE_NEWUSER
        arguments = ctypes.create_string_buffer(struct.pack("=8Q", *fields), 64)
        ours, theirs = os.pipe()
        child, number = syscall(NR_CLONE3, ctypes.addressof(arguments), 64)
        if child == -1:
            return [refused == REFUSED, number]
        if child == 0:
            own = os.stat("/proc/self/ns/uts").st_ino  # noqa: PTH116
            os.write(theirs, b"other" if own != space else b"same")
            os._exit(0)
        os.waitpid(child, 0)
        os.close(theirs)
        return [refused == REFUSED, os.read(ours, 16).decode()]

    told = under("systemd-namespaces-clone3", clone).value
    if told == [True, errno.EPERM]:
        pytest.skip("users may make no namespaces here")
    assert told == [True, "other"]


def test_a_ring_reads_what_an_allowlist_does_not_open(tmp_path: Path) -> None:
    """It permits no call that opens a file, and a ring to whoever sets one up."""
    path = tmp_path / "policy.yml"
    permitted = "exit_group, rt_sigreturn, read, write, close, mmap, munmap, brk, fstat, fcntl"
    path.write_text(
        "default_action: errno\narches: [x86_64]\nsyscalls:\n- action: allow\n"
        f"  names: [{permitted}, io_uring_setup, io_uring_enter]\n"
    )
    (program,) = build_policy(path, shipped_tables()).programs
    secret = tmp_path / "secret"
    secret.write_text("read by a ring")

    def read() -> list[object]:
        name, params = ctypes.create_string_buffer(bytes(secret)), ctypes.create_string_buffer(120)
        install_raw(program.to_bytes())
        refused = syscall(NR_OPENAT, AT_FDCWD, ctypes.addressof(name), os.O_RDONLY)
        number, error = syscall(NR_IO_URING_SETUP, 4, ctypes.addressof(params))
        if number < 0:
            return [refused, error]
        ring = Ring(number, params)
        ring.put(IORING_OP_OPENAT, AT_FDCWD, 0, ctypes.addressof(name), 0, os.O_RDONLY)
        syscall(NR_IO_URING_ENTER, number, 1, 1, 1)
        return [refused, os.read(ring.result(), 64).decode()]

    refused, told = run(read).value
    assert tuple(refused) == (-1, errno.EPERM)
    if told in {errno.ENOSYS, errno.EPERM}:
        pytest.skip("no io_uring here")
    assert told == "read by a ring"
