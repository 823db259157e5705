"""``seccompgen run`` with filters that have a section io_uring.

The kernel here need not filter rings. Where it cannot, the policy's word `without` decides.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel
from command import Result, forked, seccompgen

if TYPE_CHECKING:
    from pathlib import Path

kernel.require_x86_64()

SECTION = """
io_uring:
  default_action: deny
  without: WITHOUT
  operations:
  - {action: allow, names: [NOP, '@read']}
"""
LOOSE = "default_action: allow\nsyscalls: []\n" + SECTION
NO_EXEC = f"""
default_action: allow
syscalls:
- {{action: errno(EPERM), names: [execve, execveat]}}
{SECTION}"""
PROBE = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(425, 0, 0), ctypes.get_errno())
"""
OLD = int(os.uname().release.partition(".")[0]) < 7


def written(where: Path, policy: str, without: str) -> Path:
    path = where / "ring.yml"
    path.write_text(policy.replace("WITHOUT", without))
    return path


def run(*words: str | Path) -> Result:
    return forked("run", *words)


@pytest.mark.parametrize("form", ["policy", "module"])
@pytest.mark.parametrize("policy", [LOOSE, NO_EXEC])
def test_a_command_has_filtered_rings_or_none(policy: str, form: str, tmp_path: Path) -> None:
    """It is started in both cases, also if it may not execute anything."""
    path = written(tmp_path, policy, "refuse_rings")
    if form == "module":
        assert seccompgen("build", path, "-o", tmp_path / "out").code == 0
        path = tmp_path / "out" / "ring"
    done = run(path, "--", sys.executable, "-c", PROBE)
    assert done.code == 0, done.err
    answers = {f"-1 {errno.ENOSYS}\n"} | ({f"-1 {errno.EFAULT}\n"} if not OLD else set())
    assert done.out in answers
    assert ("this kernel has no filters for rings" in done.err) is OLD


@pytest.mark.skipif(not OLD, reason="the kernel here may filter rings")
def test_a_policy_can_fail_where_rings_cannot_be_filtered(tmp_path: Path) -> None:
    done = run(written(tmp_path, LOOSE, "fail"), "--", sys.executable, "-c", PROBE)
    assert done.code == 3
    assert "cannot install filter 'ring'" in done.err
    assert "io_uring" in done.err


@pytest.mark.parametrize("option", ["--trace", "--permissive", "--report-only"])
def test_nothing_is_traced_of_rings(option: str, tmp_path: Path) -> None:
    """The supervisor would judge calls by the policy's own program, whichever is in force."""
    done = run(option, written(tmp_path, LOOSE, "refuse_rings"), "--", "true")
    assert done.code == 2
    assert f"ring.yml:5:3: the section io_uring is not put in force by run {option}" in done.err
