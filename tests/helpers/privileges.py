"""Root's rights, which everybody has in a user namespace of one's own.

What needs root itself, such as a second user, is marked ``root``.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

import pytest
import running_kernel as kernel

_NEEDED = 1 << 18 | 1 << 21  # CAP_SYS_CHROOT, CAP_SYS_ADMIN
_CLONE_NEWUSER = 0x10000000


def require() -> None:
    """Skip the test where nobody but root gets root's rights."""
    if not gainable():
        pytest.skip("only root may do this here: there are no user namespaces")


@cache
def gainable() -> bool:
    """Return whether a child can `gain` root's rights."""
    return kernel.run(gain).error is None


def gain() -> None:
    """Get root's rights: in a new user namespace, unless they are there.

    The process has one thread. Raises OSError.
    """
    if _effective() & _NEEDED == _NEEDED:
        return
    uid, gid = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path("/proc/self", name).write_text(text)
    if _effective() & _NEEDED != _NEEDED:
        raise PermissionError("a user namespace without rights")


def _effective() -> int:
    """Return the capabilities that this process has in force."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    raise AssertionError("no capabilities in /proc/self/status")
