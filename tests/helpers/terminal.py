"""Commands on a terminal of a given width, as their user sees them."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

from command import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def on_terminal(
    *args: str | Path,
    columns: int = 80,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    program: Sequence[str] = ("-m", "seccompgen"),
) -> str:
    """Return what ``seccompgen`` writes to a terminal, stdout and stderr alike.

    Python runs something else by ``program``, which are options of its own.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    settings = {**os.environ, "TERM": "xterm", **(env or {})}
    with subprocess.Popen(
        [sys.executable, *program, *map(str, args)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=settings, cwd=cwd,
    ):  # fmt: skip
        os.close(theirs)
        shown = b"".join(_until_closed(ours))
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def _until_closed(descriptor: int) -> list[bytes]:
    chunks = []
    while True:
        try:
            chunks.append(os.read(descriptor, 65536))
        except OSError:  # EIO: nobody has the other end any more
            return chunks
