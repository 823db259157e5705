#!/usr/bin/python3 -Ss
"""The first process of a guest: prepares the machine, runs ``/trial/main.py``, sends its report.

``main.py`` may execute another first process, such as systemd, which then starts this script again.

Python 3.9 and later, the standard library only. The report goes over the console, framed so that
it is known to be whole (`guests.emulator` reads it):

    @init                          at once
    @report STATE SIZE SHA256      of what the lines carry, in bytes
    |BASE64 OF COMPRESSED BYTES|   as often as needed
    @end

STATE is "done", or "failed": then the report is the traceback.
"""

import binascii
import ctypes
import glob
import hashlib
import importlib
import os
import sys
import zlib

_RB_AUTOBOOT = 0x01234567
"""Needs no driver, as power off may. The emulator ends instead of booting again."""
_MOUNTS = (
    *(("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/tmp")),
    *(("devtmpfs", "/dev"), ("devpts", "/dev/pts")),
)
_LINE = 576
"""Bytes in a line: 768 characters, well below the 4096 that a terminal's line may have."""


def _run() -> "tuple[str, bytes]":
    try:
        sys.path.insert(0, "/trial")
        return "done", importlib.import_module("main").main()
    except BaseException:
        import traceback

        return "failed", traceback.format_exc().encode()


def _send(state: str, report: bytes) -> None:
    digest = hashlib.sha256(report).hexdigest()
    packed = zlib.compress(report, 1)
    lines = [f"\n@report {state} {len(report)} {digest}".encode()]
    for start in range(0, len(packed), _LINE):
        encoded = binascii.b2a_base64(packed[start : start + _LINE], newline=False)
        lines.append(b"|" + encoded + b"|")
    left = memoryview(b"\n".join([*lines, b"@end\n"]))
    while left:
        left = left[os.write(1, left) :]


def _prepare(libc: ctypes.CDLL) -> None:
    os.write(1, b"@init\n")
    for kind, target in _MOUNTS:
        os.makedirs(target, exist_ok=True)
        libc.mount(kind.encode(), target.encode(), kind.encode(), ctypes.c_ulong(0), None)
    os.symlink("/proc/self/fd", "/dev/fd")  # where some kernels find what execveat(2) executes
    with open("/proc/sys/kernel/printk", "w") as file:
        file.write("1")  # emergencies only
    for path in sorted(glob.glob("/trial/modules/*.ko")):
        _load(libc, path)


def _load(libc: ctypes.CDLL, path: str) -> None:
    """Load a module of the kernel; glibc has the wrapper, though no header declares it."""
    with open(path, "rb") as file:
        content = file.read()
    if libc.init_module(content, ctypes.c_ulong(len(content)), b""):
        raise OSError(ctypes.get_errno(), path)


def _start() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if os.getpid() == 1:  # else another first process has prepared all, and runs us
        _prepare(libc)
    try:
        _send(*_run())
        import termios

        termios.tcdrain(1)
    finally:
        libc.reboot(_RB_AUTOBOOT)


_start()
