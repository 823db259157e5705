"""The kernel's audit records as they come, for who may read them: root, in the first namespaces."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel
from seccompgen.core.model import ActionKind

if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_AUDIT, _READLOG = 9, 1
_SECCOMP = 1326
_SO_RCVBUFFORCE = 33
_ROOM = 1 << 24
"""The most bytes of records that wait to be read."""
_LAST = 1 << 20
_TIMEOUT = 60.0


@dataclass
class Records:
    """Lines such as the kernel's log has, of records of seccomp."""

    lines: list[str] = field(default_factory=list)

    def text(self, *programs: str) -> str:
        """Return the lines, only those of ``programs``, by their paths, if any are named."""
        wanted = [f'exe="{program}"' for program in programs]
        found = (one for one in self.lines if not wanted or any(exe in one for exe in wanted))
        return "".join(f"{line}\n" for line in found)


@contextlib.contextmanager
def recorded() -> Iterator[Records]:
    """Give the records that the kernel makes meanwhile, which are all there at the end.

    Skips the test where nobody may read them, or the kernel makes none.
    """
    if not Path("/proc/self/loginuid").exists():
        pytest.skip("this kernel has no audit records")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_AUDIT) as reader:
        try:
            reader.bind((0, 1 << (_READLOG - 1)))
            reader.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        except OSError as error:
            pytest.skip(f"only root may read audit records: {error.strerror}")
        last = _LAST + os.getpid()
        found = Records()
        thread = Thread(target=_read, args=(reader, found, last), daemon=True)
        thread.start()
        try:
            yield found
        finally:
            assert kernel.run(lambda: _have_logged(last)).error is None
            thread.join(_TIMEOUT)
            assert not thread.is_alive()


def _have_logged(number: int) -> None:
    """Have a call logged that nobody else makes; records come in the order of calls."""
    kernel.install_raw(kernel.on_call(number, ActionKind.LOG.value))
    kernel.syscall(number)


def _read(reader: socket.socket, found: Records, last: int) -> None:
    while True:
        message = reader.recv(1 << 16)
        _, kind = struct.unpack_from("=IH", message)
        if kind == _SECCOMP:
            text = message[16:].rstrip(b"\0").decode()
            if f" syscall={last} " in text:
                return
            found.lines.append(f"audit: type={kind} {text}")
