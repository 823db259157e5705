"""Programs that use rings, written in Python for tests that record them.

They make rings by `guests/inside/ring.py`, which shares no code with what reads them.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from command import ROOT, seccompgen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from command import Result

HERE = f"""
import contextlib, ctypes, os, signal, struct, sys, threading, time
sys.path.insert(0, {str(ROOT / "tests" / "guests" / "inside")!r})
import ring
from ring import Ring, address, call, entry
KEPT = []
def kept(data):
    KEPT.append(ctypes.create_string_buffer(data, len(data)))
    return address(KEPT[-1])
def v4(port, last):
    return struct.pack("=H", 2) + struct.pack(">H4B8x", port, 127, 0, 0, last)
def v6(port, last):
    return struct.pack("=H", 10) + struct.pack(">HI15xBI", port, 0, last, 0)
def unix(path):
    return struct.pack("=H", 1) + path + b"\\0"
def connect(sockaddr, length=None):
    return entry(16, -1, addr=kept(sockaddr), off=length or len(sockaddr))
def nop(**more): return entry(0, **more)
def enter(r, made, wait=0):
    r._entries[:64] = made
    struct.pack_into("=I", r._rings, r._sq[1], 1)
    call(ring.ENTER, r.fd, 1, wait, 1)
def register_fds(one):
    update = ctypes.create_string_buffer(struct.pack("=IIQ", 0xFFFFFFFF, 0, one.fd), 16)
    call(ring.REGISTER, one.fd, 20, address(update), 1)
    return struct.unpack_from("=I", update)[0]
def by_index(one, index):
    one.fd, one._entering = index, 16
"""
POLLED = """
def give(r, made, n):
    struct.pack_into("=64s", r._entries, 64 * (n & r._mask), made)
    struct.pack_into("=I", r._rings, r._sq[1], n + 1)
    while r._word(r._sq[0]) <= n:
        if r._word(r._sq[4]) & 1: call(ring.ENTER, r.fd, 0, 0, 2)
r = Ring(4, ring.SQPOLL)
"""
"""No call is made while it gives an entry, unless the kernel's thread sleeps, as at first."""


def some(names: Iterable[str], *quick: str) -> list[Any]:
    """Return names for `parametrize`, of which all but ``quick`` take long together."""
    long = pytest.mark.long("a program is started and recorded for each")
    return [pytest.param(name, marks=() if name in quick else long) for name in names]


def require_rings() -> None:
    """Skip a module's tests where no ring can be made."""
    libc = ctypes.CDLL(None, use_errno=True)
    made = libc.syscall(425, 1, ctypes.create_string_buffer(120))
    if made < 0:
        reason = f"no io_uring here: {os.strerror(ctypes.get_errno())}"
        pytest.skip(reason, allow_module_level=True)
    os.close(made)


def program(where: Path, body: str) -> list[str]:
    file = where / "program.py"
    file.write_text(HERE + body)
    return [sys.executable, "-I", "-S", str(file)]  # of few calls: each stops it


def record(policy: Path, body: str, *options: str | Path) -> Result:
    words = program(policy.parent, body)
    return seccompgen("record", "-o", policy, *options, "--", *words, cwd=policy.parent)


def report(done: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.out[done.out.index('{\n  "exit_code"') :])
    return found
