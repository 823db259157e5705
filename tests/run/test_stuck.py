"""``run --trace`` where the command, or who reads its memory, waits for what never comes."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel
from tracing import PTRACE, PYTHON, both, children, start, state, wait_for

if TYPE_CHECKING:
    from pathlib import Path

kernel.require_x86_64()

IN_A_FAULT = """
import ctypes, fcntl, mmap, os, signal, struct
signal.signal(signal.SIGINT, signal.SIG_DFL)
libc = ctypes.CDLL(None, use_errno=True)
faults = libc.syscall(323, 0)  # userfaultfd
if faults < 0:
    raise SystemExit(77)
fcntl.ioctl(faults, 0xC018AA3F, bytearray(struct.pack("=QQQ", 0xAA, 0, 0)))
area = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
fcntl.ioctl(faults, 0xC020AA00, bytearray(struct.pack("=QQQQ", address, 4096, 1, 0)))
print("ready", flush=True)
libc.syscall(59, ctypes.c_void_p(address), None, None)  # execve
"""


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long("another one"))]
)
def test_a_signal_ends_a_command_that_hears_only_sigkill(
    number: signal.Signals, no_parent: Path
) -> None:
    with start(*PTRACE, no_parent, "--", PYTHON, "-c", IN_A_FAULT) as child:
        assert child.stdout
        if child.stdout.readline() != "ready\n":
            assert child.wait(60) == 77
            pytest.skip("needs userfaultfd(2)")
        (command,) = children(child.pid)
        wait_for(lambda: state(command) == "S")
        child.send_signal(number)
        assert child.wait(60) == -number


FROM_A_FILE_SYSTEM = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
place = sys.argv[1]
try:
    requests = os.open("/dev/fuse", os.O_RDWR)
except OSError:
    raise SystemExit(77)
options = f"fd={requests},rootmode=40000,user_id=0,group_id=0".encode()
if (
    libc.unshare(0x20000)  # CLONE_NEWNS
    or libc.mount(b"none", b"/", None, 0x44000, None)  # MS_REC | MS_PRIVATE
    or libc.mount(b"x", place.encode(), b"fuse", 0, options)
):
    raise SystemExit(77)

def attributes(node):
    mode = 0o40755 if node == 1 else 0o100644
    return struct.pack("=6Q10I", node, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

def serve():
    while True:
        _, code, unique, node = struct.unpack_from("=IIQQ", os.read(requests, 1 << 17))
        error, out = 0, b""
        if code == 26:  # FUSE_INIT
            out = struct.pack("=4I2H2I2H8I", 7, 31, 4096, 0, 8, 8, 4096, 1, *[0] * 10)
        elif code == 1:  # FUSE_LOOKUP
            out = struct.pack("=QQQQII", 2, 0, 100, 100, 0, 0) + attributes(2)
        elif code == 3:  # FUSE_GETATTR
            out = struct.pack("=QII", 100, 0, 0) + attributes(node)
        elif code == 14:  # FUSE_OPEN
            out = struct.pack("=QII", 1, 0, 0)
        elif code in {2, 15, 42}:  # FUSE_FORGET, FUSE_READ, FUSE_BATCH_FORGET
            continue
        else:
            error = -38
        os.write(requests, struct.pack("=IiQ", 16 + len(out), error, unique) + out)

server = os.fork()
if server == 0:
    serve()
os.close(requests)
file = os.open(os.path.join(place, "file"), os.O_RDONLY)
address = libc.mmap(None, ctypes.c_size_t(4096), 1, 2, file, ctypes.c_long(0))
print(server, libc.syscall(83, ctypes.c_void_p(address), 0), flush=True)
os.kill(os.getpid(), 15)
"""


@both
def test_memory_that_never_comes_is_shown_as_its_address(
    how: list[str], no_parent: Path, tmp_path: Path
) -> None:
    place, policy = tmp_path / "mounted", tmp_path / "policy.yml"
    place.mkdir()
    policy.write_text(no_parent.read_text().replace("getppid", "mkdir"))
    with start(*how, policy, "--", PYTHON, "-c", FROM_A_FILE_SYSTEM, place) as child:
        assert child.stdout and child.stderr
        said = child.stdout.readline().split()
        if not said:
            assert child.wait(60) == 77
            pytest.skip("needs /dev/fuse, and to mount")
        server, result = said
        assert result == "-1"
        told = child.stderr.readline()
        assert "mkdir(0x" in told
        assert "errno(EACCES)" in told
        os.kill(int(server), signal.SIGKILL)  # it outlives the command
        assert child.wait(60) == -signal.SIGTERM
