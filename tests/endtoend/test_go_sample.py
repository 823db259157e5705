"""go-seccomp-bpf's own sample policy, unchanged, and one like it: what they do to real calls."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from command import seccompgen
from corpus import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable

kernel.require_x86_64()
of_each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=[path.stem for path in SAMPLES])

NR_CLONE, CLONE_NEWUSER, SIGCHLD = 56, 0x10000000, 17


@pytest.mark.few(1, "tries each case in the kernel")
@of_each_sample
def test_it_builds_from_the_command_line(sample: Path, tmp_path: Path) -> None:
    run = seccompgen("build", sample, "-o", tmp_path / "filters")
    assert run.code == 0, run.err
    assert f"{sample.stem}: 27 ABIs" in run.out
    assert "flags is argument 1 (on s390x)" in run.err


@pytest.mark.few(1, "tries each case in the kernel")
@of_each_sample
def test_it_refuses_network_calls_and_new_processes(
    sample: Path, generate: Callable[[str], Any]
) -> None:
    module = generate(sample.read_text())

    def child() -> object:
        left, right = socket.socketpair()
        module.install()
        found: dict[str, object] = {}
        calls: dict[str, Callable[[], object]] = {
            "connect": lambda: socket.socket().connect(("127.0.0.1", 9)),
            "bind": lambda: socket.socket().bind(("127.0.0.1", 0)),
            "listen": lambda: socket.socket().listen(),
            "sendmsg": lambda: left.sendmsg([b"x"]),
            "recv": lambda: right.recv(1),
        }
        for name, call in calls.items():
            try:
                call()
            except OSError as error:
                found[name] = error.errno
        # An ordinary fork has no CLONE_NEWUSER: the sample's rule refuses it.
        found["clone"] = kernel.syscall(NR_CLONE, SIGCHLD, 0, 0, 0, 0)
        found["open"] = Path("/proc/self/status").read_text().startswith("Name:")
        return found

    assert kernel.run(child).value == {
        "connect": errno.EPERM,
        "bind": errno.EPERM,
        "listen": errno.EPERM,
        "sendmsg": errno.EPERM,
        "recv": errno.EPERM,
        "clone": [-1, errno.EPERM],
        "open": True,
    }
