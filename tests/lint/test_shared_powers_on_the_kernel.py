"""Twins on the running kernel: where one call is refused, the other does what it was refused for.

What root alone can show, ports and quotas, is not here; that the kernel answers as findings say
is in `test_on_the_kernel`.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import resource
import signal
import socket
import stat
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import privileges
import pytest
from linting import findings
from running_kernel import ERRNO, install_raw, on_call, require_x86_64, run, syscall
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.pipeline.build import build_policy

if TYPE_CHECKING:
    from collections.abc import Callable

require_x86_64()

OURS = 1234
REFUSED = (-1, OURS)
NR_MMAP, NR_MPROTECT, NR_GETPID, NR_SOCKET, NR_CONNECT, NR_FCNTL = 9, 10, 39, 41, 42, 72
NR_SETUID, NR_OPENAT = 105, 257
NR_SCHED_SETSCHEDULER, NR_PRCTL, NR_SETRLIMIT, NR_ADD_KEY, NR_KEYCTL = 144, 157, 160, 248, 250
NR_PIVOT_ROOT, NR_MOUNT, NR_SCHED_SETATTR, NR_SECCOMP = 155, 165, 314, 317
CLONE_NEWNS, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x4000, 0x40000, 2
F_SETOWN, F_SETOWN_EX, F_SETSIG, F_OWNER_PID = 8, 15, 10, 1
SCHED_BATCH = 3
PR_SET_SECCOMP = 22
MSG_FASTOPEN = 0x20000000
KEYCTL_JOIN_SESSION_KEYRING = 1
EXECUTABLE = mmap.PROT_READ | mmap.PROT_EXEC


def prlimit64() -> tuple[object, bool]:
    refused = syscall(NR_SETRLIMIT, resource.RLIMIT_NOFILE, address(struct.pack("=QQ", 32, 32)))
    resource.prlimit(0, resource.RLIMIT_NOFILE, (32, 32))
    return refused, resource.getrlimit(resource.RLIMIT_NOFILE) == (32, 32)


def setresuid() -> tuple[object, bool]:
    refused = syscall(NR_SETUID, os.getuid())
    os.setresuid(os.getuid(), os.getuid(), os.getuid())
    return refused, True


def fast_open() -> tuple[object, bool]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        name = struct.pack("!2xH4s8x", server.getsockname()[1], bytes([127, 0, 0, 1]))
        name = struct.pack("=H", socket.AF_INET) + name[2:]
        refused = syscall(NR_CONNECT, client.fileno(), address(name), len(name))
        client.sendto(b"through", MSG_FASTOPEN, server.getsockname())
        server.settimeout(30)
        with server.accept()[0] as accepted:
            return refused, accepted.recv(16) == b"through"


def keyctl() -> tuple[object, bool]:
    """It makes a keyring, which is a key that add_key would make."""
    refused = syscall(NR_ADD_KEY, address(b"user\0"), address(b"name\0"), address(b"x"), 1, -3)
    return refused, syscall(NR_KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, 0)[0] > 0


def sched_setattr() -> tuple[object, bool]:
    refused = syscall(NR_SCHED_SETSCHEDULER, 0, SCHED_BATCH, address(struct.pack("=i", 0)))
    attributes = struct.pack("=IIQiIQQQ", 48, SCHED_BATCH, 0, 0, 0, 0, 0, 0)
    syscall(NR_SCHED_SETATTR, 0, address(attributes), 0)
    return refused, os.sched_getscheduler(0) == SCHED_BATCH


def owner() -> tuple[object, bool]:
    """A process that is not ours to signal by F_SETOWN gets SIGKILL by a pipe."""
    victim = os.fork()
    if victim == 0:
        signal.pause()
    ours, theirs = os.pipe()
    refused = syscall(NR_FCNTL, ours, F_SETOWN, victim)
    fcntl.fcntl(ours, F_SETOWN_EX, struct.pack("=ii", F_OWNER_PID, victim))
    fcntl.fcntl(ours, F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    os.write(theirs, b"x")
    return refused, os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1]) == -signal.SIGKILL


def mprotect() -> tuple[object, bool]:
    refused = syscall(NR_MMAP, 0, mmap.PAGESIZE, EXECUTABLE, 0x22, -1, 0)
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    code = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    memory.write(b"\xb8\x2a\x00\x00\x00\xc3")  # mov eax, 42; ret
    syscall(NR_MPROTECT, code, mmap.PAGESIZE, EXECUTABLE)
    return refused, ctypes.CFUNCTYPE(ctypes.c_int)(code)() == 42


def prctl() -> tuple[object, bool]:
    program = on_call(NR_GETPID, ERRNO | 77)
    filters = address(struct.pack("=HxxxxxxQ", len(program) // 8, address(program)))
    refused = syscall(NR_SECCOMP, 1, 0, filters)
    syscall(NR_PRCTL, PR_SET_SECCOMP, 2, filters)
    return refused, syscall(NR_GETPID) == (-1, 77)


def mapped() -> tuple[object, bool]:
    refused = syscall(NR_SOCKET, socket.AF_INET, socket.SOCK_STREAM, 0)
    with socket.socket(socket.AF_INET6) as server, socket.socket(socket.AF_INET6) as client:
        server.bind(("::ffff:127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        return refused, client.getpeername()[0] == "::ffff:127.0.0.1"


def unnamed() -> tuple[object, bool]:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "new")
        creating = os.O_CREAT | os.O_WRONLY
        refused = syscall(NR_OPENAT, -1, address(bytes(path) + b"\0"), creating, 0o600)
        file = os.open(place, os.O_TMPFILE | os.O_WRONLY)
        os.link(f"/proc/self/fd/{file}", path, src_dir_fd=file)  # so that Python calls linkat
        return refused, path.exists()


def regular() -> tuple[object, bool]:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "new")
        creating = os.O_CREAT | os.O_WRONLY
        refused = syscall(NR_OPENAT, -1, address(bytes(path) + b"\0"), creating, 0o600)
        os.mknod(path, 0o600 | stat.S_IFREG)
        return refused, path.is_file()


_KEPT: list[object] = []


def address(content: bytes) -> int:
    """Return where ``content`` is in memory, until the process ends."""
    _KEPT.append(ctypes.create_string_buffer(content, len(content)))
    return ctypes.addressof(_KEPT[-1])  # type: ignore[arg-type] # a buffer


def filter_of(directory: Path, rule: str, message: str) -> bytes:
    """Return the program of a policy that has a rule, and a finding that a call is permitted."""
    path = directory / "policy.yml"
    path.write_text(
        f"default_action: allow\narches: [x86_64]\nsyscalls:\n- {{action: errno({OURS}), {rule}}}\n"
    )
    tables = shipped_tables()
    said = [one.message.partition(", but ")[2] for one in findings(path, tables=tables)]
    assert message in {one.split(" ")[0] for one in said}
    (program,) = build_policy(path, tables).programs
    return program.to_bytes()


@pytest.mark.parametrize(
    ("rule", "message", "twin"),
    [
        ("names: [setrlimit]", "prlimit64", prlimit64),
        ("names: [setuid]", "setresuid", setresuid),
        ("names: [connect]", "sendto", fast_open),
        ("names: [add_key]", "keyctl", keyctl),
        ("names: [sched_setscheduler]", "sched_setattr", sched_setattr),
        ("names: [fcntl], when: cmd == F_SETOWN", "fcntl", owner),
        ("names: [mmap], when: prot & PROT_EXEC", "mprotect", mprotect),
        ("names: [seccomp]", "prctl", prctl),
        ("names: [socket], when: family == AF_INET", "socket", mapped),
        ("names: [openat], when: flags & O_CREAT", "openat", unnamed),
        ("names: [openat], when: flags & O_CREAT", "mknod", regular),
    ],
)
def test_the_twin_does_what_is_refused(
    tmp_path: Path, rule: str, message: str, twin: Callable[[], tuple[object, bool]]
) -> None:
    program = filter_of(tmp_path, rule, message)

    def confined() -> list[object]:
        install_raw(program)
        refused, done = twin()
        return [refused == REFUSED, done]

    outcome = run(confined)
    assert outcome.error is None
    assert outcome.value == [True, True]


def test_chroot_changes_the_root_that_pivot_root_may_not(tmp_path: Path) -> None:
    privileges.require()
    program = filter_of(tmp_path, "names: [pivot_root]", "chroot")

    def confined() -> list[object]:
        privileges.gain()
        install_raw(program)
        name = address(b".\0")
        refused = syscall(NR_PIVOT_ROOT, name, name)
        os.chroot(tmp_path)
        return [refused == REFUSED, [one.name for one in Path("/").iterdir()]]

    assert run(confined).value == [True, ["policy.yml"]]


def test_umount2_uncovers_what_mount_may_not_change(tmp_path: Path) -> None:
    privileges.require()
    program = filter_of(tmp_path, "names: [mount]", "umount2")
    libc = ctypes.CDLL(None, use_errno=True)
    place = bytes(tmp_path)

    def confined() -> list[object]:
        privileges.gain()
        done = libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
        done = done or libc.mount(b"none", place, b"tmpfs", 0, None)
        if done:
            return [os.strerror(ctypes.get_errno())]
        covered = [one.name for one in tmp_path.iterdir()]
        install_raw(program)
        refused = syscall(NR_MOUNT, 0, address(place + b"\0"), 0, MS_PRIVATE, 0)
        libc.umount2(place, MNT_DETACH)
        return [refused == REFUSED, covered, [one.name for one in tmp_path.iterdir()]]

    told = run(confined).value
    if len(told) == 1:
        pytest.skip(f"nothing can be mounted here: {told[0]}")
    assert told == [True, [], ["policy.yml"]]
