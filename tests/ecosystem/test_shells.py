"""Completion in zsh and fish themselves, as ``completion --install`` leaves it for them."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import ROOT, seccompgen

pytestmark = pytest.mark.ecosystem
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def installed(shell: str, home: Path) -> None:
    """Install completion for ``shell`` and the user at ``home``; skip where there is no such."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    nothing = dict.fromkeys(("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"), "")
    run = seccompgen("completion", shell, "--install", env={"HOME": str(home), **nothing})
    assert run.code == 0, run.err


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("seccompgen syscalls openat", {"openat", "openat2"}),
        ("seccompgen syscalls @basic", {"@basic-io"}),
        ("seccompgen lint --arch loong", {"loongarch32", "loongarch64"}),
        ("seccompgen verify no_n", {"no_network"}),
    ],
)
def test_fish_offers(line: str, wanted: set[str], tmp_path: Path) -> None:
    installed("fish", tmp_path)
    run = subprocess.run(
        ["fish", "-c", f'complete -C "{line}"'],
        env={"PATH": PATH, "HOME": str(tmp_path), "LANG": "C.UTF-8"},
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(run.stdout.split()) == wanted


def test_zsh_completes_what_is_typed(tmp_path: Path) -> None:
    installed("zsh", tmp_path)
    pid, terminal = pty.fork()
    if not pid:
        settings = {"PATH": PATH, "HOME": str(tmp_path), "TERM": "dumb", "LANG": "C.UTF-8"}
        os.chdir(ROOT)
        os.execvpe("zsh", ["zsh", "-i"], settings)
    try:
        _until(terminal, b"> " if os.geteuid() else b"# ")
        os.write(terminal, b"seccompgen verify compute_\t")
        _until(terminal, b"compute_only")
        os.write(terminal, b"\x15seccompgen syscalls pidfd_op\t")
        _until(terminal, b"pidfd_open")
    finally:
        os.close(terminal)  # SIGHUP ends the shell
        os.waitpid(pid, 0)


def _until(terminal: int, wanted: bytes) -> None:
    """Read until ``wanted`` was shown; a minute is for busy machines."""
    shown, end = b"", time.monotonic() + 60
    while wanted not in shown:
        ready = select.select([terminal], [], [], max(0, end - time.monotonic()))[0]
        assert ready, shown
        shown += os.read(terminal, 65536)
