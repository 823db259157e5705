"""The layers that compose: their answers on every ABI, and what they build on in this kernel.

What is expected is written from the kernel's headers and from net/unix/af_unix.c, not read from the
policies.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel
from stock.test_programs import ALLOW, HIGH, MIPS, NAMES, PARISC, ask, no_such_call, refused

if TYPE_CHECKING:
    from pathlib import Path

    from stock.test_programs import Asker

kernel.require_x86_64()

EACCES, EPERM = refused(errno.EACCES), refused(errno.EPERM)
LAYERS = ("no_path_sockets", "no_escape", "no_listen")
NEW = 0x10000000, 0x20000, 0x40000000, 0x20000000, 0x08000000, 0x04000000, 0x02000000
"""CLONE_NEWUSER, NEWNS, NEWNET, NEWPID, NEWIPC, NEWUTS, NEWCGROUP."""

_ESCAPES = """
    ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd setns
    mount umount umount2 oldumount move_mount fsopen fsconfig fsmount fspick open_tree
    open_tree_attr mount_setattr pivot_root chroot fchroot osf_mount open_by_handle_at
    bpf perf_event_open userfaultfd fanotify_init init_module finit_module delete_module
    kexec_load kexec_file_load reboot swapon osf_swapon swapoff acct syslog quotactl quotactl_fd
    sethostname setdomainname vhangup iopl ioperm settimeofday osf_settimeofday stime clock_settime
    clock_settime64 adjtimex old_adjtimex clock_adjtime clock_adjtime64 rtas pciconfig_read
    pciconfig_write pciconfig_iobase s390_pci_mmio_read s390_pci_mmio_write
"""
_ABSENT = """
    io_uring_setup io_uring_enter io_uring_register add_key request_key keyctl clone3
    modify_ldt vm86 vm86old uselib nfsservctl _sysctl lookup_dcookie
"""
ESCAPES, ABSENT = _ESCAPES.split(), _ABSENT.split()
"""The calls that no_escape answers with EPERM, and with ENOSYS."""


def _streams(abi: str) -> tuple[int, int]:
    """Return SOCK_STREAM and SOCK_DGRAM."""
    return (2, 1) if abi in MIPS else (1, 2)


def _everything_else_is_allowed(asked: Asker, *answered: str) -> None:
    others = set(asked.numbers) - {*answered}
    assert len(others) > 250
    assert {asked(name, *[0] * 6) for name in others} == {ALLOW}


def _ways_around(asked: Asker) -> list[str]:
    """Check what each layer refuses, for it would undo it: rings, and descriptors of others."""
    rings = asked.of("io_uring_setup", "io_uring_enter", "io_uring_register")
    assert {asked(name) for name in rings} == {no_such_call(asked.abi.name)}
    assert asked("pidfd_getfd", 3, 4) == EPERM
    return [*rings, "pidfd_getfd"]


@pytest.mark.parametrize("abi", NAMES)
def test_no_path_sockets(abi: str) -> None:
    asked = ask("no_path_sockets", abi)
    (stream, datagram), raw, packet = _streams(abi), 3, 5
    for high in (0, HIGH):
        assert asked("socket", high | 1, stream) == asked("socket", high | 1, datagram) == EACCES
        assert {asked("socket", high | family, stream) for family in range(2, 47)} == {ALLOW}
        for flags in (0, 0x80000, 0x800, 0x80800, high):
            for kind in (stream, packet):
                assert asked("socketpair", high | 1, kind | flags) == ALLOW
            for kind in (datagram, raw, 0, 4, 6, 10, 15):
                assert asked("socketpair", high | 1, kind | flags) == EACCES
    assert asked("socketpair", 30, datagram) == ALLOW
    for name in asked.of("socketcall"):
        assert [operation for operation in range(32) if asked(name, operation) != ALLOW] == [1, 8]
        assert asked(name, 1) == asked(name, HIGH | 8) == EACCES
    _everything_else_is_allowed(asked, *_ways_around(asked))


@pytest.mark.parametrize("abi", NAMES)
def test_no_listen(abi: str) -> None:
    asked = ask("no_listen", abi)
    assert asked("listen", 3, 5) == EACCES
    accepting = asked.of("accept", "accept4")
    assert {asked(name, 3) for name in accepting} == {EPERM}
    for name in asked.of("socketcall"):
        answers = {operation: asked(name, operation) for operation in range(32)}
        assert {one: told for one, told in answers.items() if told != ALLOW} == {
            4: EACCES,
            5: EPERM,
            18: EPERM,
        }
    assert asked("bind", 3) == asked("connect", 3) == asked("sendto", 3) == ALLOW
    _everything_else_is_allowed(asked, *_ways_around(asked), *accepting, "listen")


@pytest.mark.parametrize("abi", NAMES)
def test_no_escape(abi: str) -> None:
    asked = ask("no_escape", abi)
    assert {asked(name) for name in asked.of(*ESCAPES)} == {EPERM}
    assert {asked(name) for name in asked.of(*ABSENT)} == {no_such_call(abi)}
    # Socketpairs of AF_UNSPEC, which is no family.
    _everything_else_is_allowed(asked, *ESCAPES, *ABSENT, "socket", "socketpair")


@pytest.mark.parametrize("abi", NAMES)
def test_no_escape_makes_no_namespaces_and_types_nothing(abi: str) -> None:
    asked = ask("no_escape", abi)
    thread, fork, descriptors = 0x3D0F00, 17, 0x400 | 0x200
    for high in (0, HIGH):
        for flags, answer in [
            *((flags, ALLOW) for flags in (thread, fork, 0x4100 | fork)),
            *((thread | one, EPERM) for one in NEW),
            *((fork | one, EPERM) for one in NEW),
        ]:
            words = (0, high | flags) if abi == "s390x" else (high | flags, 0)
            assert asked("clone", *words) == answer
    assert asked("unshare", descriptors) == asked("unshare", 0) == ALLOW
    # CLONE_NEWTIME, UNSHARE_EMPTY_MNTNS, and what is unknown.
    for one in (*NEW, 0x80, 0x100000, 1, 1 << 31):
        assert asked("unshare", one) == asked("unshare", descriptors | one) == EPERM
    typing, console = (0x5472, 0x5483) if abi in MIPS else (0x5412, 0x541C)
    if abi in ("sh", "sheb", "xtensa"):
        typing, console = 0x40015412, 0x4001541C
    # TIOCSETD.
    discipline = {
        **dict.fromkeys(("sh", "sheb", "xtensa"), 0x40045423),
        **dict.fromkeys(MIPS, 0x7401),
    }
    for request in (typing, console, discipline.get(abi, 0x5423)):
        assert asked("ioctl", 0, request) == asked("ioctl", 0, HIGH | request) == EPERM
    assert asked("ioctl", 0, 0x5413) == asked("ioctl", 0, 0x5401) == ALLOW
    for persona in (0, 8, 0xFFFFFFFF, HIGH):
        assert asked("personality", persona) == ALLOW
    for persona in (0x40000, 0x400000, 0x100000, 6, 0x20000 | 8):
        assert asked("personality", persona) == EPERM
    for name in asked.of("move_pages", "migrate_pages"):
        assert (asked(name, 0), asked(name, 1)) == (ALLOW, EPERM)
    assert asked("madvise", 0, 0, 4) == ALLOW
    assert asked("madvise", 0, 0, 100) == asked("madvise", 0, 0, 101) == EPERM


@pytest.mark.parametrize("abi", NAMES)
def test_no_escape_makes_plain_sockets(abi: str) -> None:
    asked = ask("no_escape", abi)
    family_missing = refused({"alpha": 47, **dict.fromkeys(MIPS, 124)}.get(abi, 97))
    protocol_missing = refused({"alpha": 43, **dict.fromkeys(MIPS, 120)}.get(abi, 93))
    if abi in PARISC:
        family_missing, protocol_missing = refused(225), refused(221)
    stream, datagram = _streams(abi)
    for high in (0, HIGH):
        for kind in (stream, datagram, stream | 0x80000):
            assert asked("socket", high | 1, kind, 0) == asked("socketpair", 1, kind, 0) == ALLOW
            for family in (2, 10):
                for protocol in (0, 1, 6, 17, 58, 262):
                    assert asked("socket", high | family, kind, high | protocol) == ALLOW
                for protocol in (2, 115, 132, 136, 255, 256):
                    assert asked("socket", high | family, kind, protocol) == protocol_missing
        for kind in (3, 4, 5, 6, 10):  # RAW, RDM, SEQPACKET, DCCP, PACKET
            assert asked("socket", high | 2, kind, 0) == EPERM
        for family in (0, 3, 15, 17, 21, 29, 30, 31, 33, 38, 39, 40, 41, 42, 43, 44, 45, 46):
            assert asked("socket", high | family, stream, 0) == family_missing
            assert asked("socketpair", family, stream, 0) == family_missing
        assert asked("socket", 16, 3, high) == ALLOW
        for protocol in (4, 6, 9, 12, 15, 16):
            assert asked("socket", high | 16, 3, high | protocol) == protocol_missing
    for name in asked.of("socketcall"):
        assert [operation for operation in range(32) if asked(name, operation) != ALLOW] == [1, 8]


@pytest.mark.parametrize("abi", NAMES)
def test_sandboxed_code_is_its_layers(abi: str) -> None:
    """Each call gets the answer of the first layer that refuses it."""
    whole, layers = ask("sandboxed_code", abi), [ask(layer, abi) for layer in LAYERS]
    chance = random.Random(abi)
    values = (
        0,
        1,
        2,
        3,
        5,
        6,
        10,
        16,
        30,
        0x5412,
        0x5472,
        0x10000000,
        0x3D0F00,
        HIGH | 1,
        HIGH - 1,
    )
    refusals = 0
    for name in whole.numbers:
        for _ in range(4):
            words = chance.choices(values, k=3)
            answers = [layer(name, *words) for layer in layers]
            first = next((one for one in answers if one != ALLOW), ALLOW)
            assert whole(name, *words) == first
            refusals += first != ALLOW
    assert refusals > 100


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_connected_pairs_stay_connected(kind: int, tmp_path: Path) -> None:
    """By this no_path_sockets leaves them: there is nothing to see of where a socket goes."""
    path = str(tmp_path / "server")
    with socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(path)
        server.listen()
        one, other = socket.socketpair(socket.AF_UNIX, kind)
        with one, other:
            assert one.connect_ex(path) == errno.EISCONN
            assert ctypes.CDLL(None, use_errno=True).connect(one.fileno(), bytes(16), 16) == -1
            assert ctypes.get_errno() == errno.EINVAL  # AF_UNSPEC takes no stream apart
            if kind == socket.SOCK_STREAM:
                with pytest.raises(OSError, match=os.strerror(errno.EISCONN)):
                    one.sendmsg([b"x"], [], 0, path)
            else:
                one.sendmsg([b"x"], [], 0, path)
                assert other.recv(1) == b"x"
            one.bind(str(tmp_path / "pair"))
            with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
                one.listen()
            with socket.socket(socket.AF_UNIX, kind) as third:
                assert third.connect_ex(str(tmp_path / "pair")) == errno.ECONNREFUSED


WORK = """
import asyncio, ctypes, multiprocessing, socket, subprocess, sys, tempfile, threading
from stock import sandboxed_code
sandboxed_code.install()
address = socket.getaddrinfo("localhost", int(sys.argv[1]), socket.AF_INET, socket.SOCK_STREAM)
with socket.create_connection(address[0][4]) as client:
    client.sendall(b"x")
    assert client.recv(1) == b"x"
one, other = socket.socketpair()
socket.send_fds(one, [b"x"], [0])
assert len(socket.recv_fds(other, 1, 1)[1]) == 1
assert subprocess.check_output(["sh", "-c", "echo works | cat"]) == b"works\\n"
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, 2]) == [1, 2]
async def main():
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0
    assert await asyncio.to_thread(len, "ab") == 2
asyncio.run(main())
with tempfile.TemporaryDirectory() as place:
    open(place + "/new", "w").close()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("127.0.0.1", 0))
socket.if_nameindex()
print("done")
"""


def test_sandboxed_code_lets_programs_work(stock: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", WORK, str(server.getsockname()[1])]
        with subprocess.Popen(
            command, cwd=stock, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program:
            server.settimeout(60)
            connection, _ = server.accept()
            connection.sendall(connection.recv(1))
            connection.close()
            assert program.communicate(timeout=60) == ("done\n", "")
