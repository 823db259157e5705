"""install() of a report-only module: it refuses nothing, says so, and wants the kernel to log."""

from __future__ import annotations

import ctypes
import errno
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import privileges
import pytest
import running_kernel as kernel
from audit_records import recorded
from command import inside
from runtime_template import questions, runtime

if TYPE_CHECKING:
    from collections.abc import Callable

kernel.require_x86_64()

POLICY = """\
arches: [x86_64]
default_action: kill_process
syscalls:
- {action: allow, names: [read, write, close, exit_group]}
- {action: trap, names: [getppid]}
- {action: errno(EACCES), names: [openat]}
"""
USE = """\
import os
from sandbox import worker_report_only
worker_report_only.install()
os.getppid(), os.getpgid(0)
with open("/proc/self/status") as status:
    print(worker_report_only.REPORT_ONLY, *[line for line in status if line.startswith("Seccomp:")])
"""
NOTE = "RuntimeWarning: sandbox.worker_report_only is REPORT ONLY: it refuses nothing, and the "
SYSTEM = "/proc/sys/kernel/seccomp/actions_logged"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("report_only")
    (found / "worker.yml").write_text(POLICY)
    assert inside("build", "worker.yml", "--report-only", "-o", "sandbox", cwd=found).code == 0
    (found / "sandbox" / "__init__.py").touch()
    return found


def use(place: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-c", USE]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)


def test_what_the_policy_kills_for_is_done(place: Path) -> None:
    run = use(place)
    assert run.returncode == 0
    assert run.stdout.split() == ["True", "Seccomp:", "2"]
    assert NOTE in run.stderr


def test_who_takes_warnings_for_errors_has_no_filter(place: Path) -> None:
    run = use(place, "-W", "error")
    assert run.returncode == 1
    assert (run.stdout, NOTE in run.stderr) == ("", True)


@pytest.mark.root("reads audit records")
def test_the_kernel_records_what_is_refused_and_nothing_else(place: Path) -> None:
    with recorded() as records:
        run = use(place)
    assert run.returncode == 0
    lines = records.text(str(Path(sys.executable).resolve())).splitlines()
    told = [line.split("syscall=")[1].split()[0] for line in lines]
    assert {"110", "257", "121"} <= {*told}  # getppid, openat, getpgid
    assert not {"0", "1", "3", "231"} & {*told}
    assert all("code=0x7ffc0000" in line for line in lines)


# --- where nobody would be told ------------------------------------------------------------------


def hiding(path: str, text: str) -> Callable[[], object]:
    """Return a child that asks if the kernel logs, where a file of it has another content."""

    def child() -> object:
        privileges.gain()
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(0x00020000) == 0  # CLONE_NEWNS
        assert libc.mount(b"none", b"/", None, 1 << 18 | 1 << 14, None) == 0  # MS_PRIVATE|MS_REC
        assert libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0
        Path("/tmp/other").write_text(text)
        assert libc.mount(b"/tmp/other", path.encode(), None, 1 << 12, None) == 0  # MS_BIND
        try:
            return questions.require_log("try it")
        except runtime.SeccompError as error:
            return error.cause, error.errno, str(error)

    return child


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        (SYSTEM, "kill_process trap errno\n", "is told not to log the action log"),
        ("/proc/thread-self/loginuid", "", "has no audit subsystem"),
        ("/proc/cmdline", "quiet audit=0\n", "was started with audit=0"),
    ],
)
def test_it_raises_where_nobody_would_be_told(path: str, text: str, words: str) -> None:
    privileges.require()
    outcome = kernel.run(hiding(path, text))
    assert outcome.error is None
    cause, number, said = outcome.value
    assert (cause, number) == ("unlogged", errno.EOPNOTSUPP)
    assert f"cannot try it: this kernel {words}" in said


def test_what_cannot_be_read_is_not_known() -> None:
    privileges.require()
    assert kernel.run(hiding(SYSTEM, "")).value is False
    assert kernel.run(lambda: questions.require_log("try it")).value is True
