"""Upgrades as they went for real: docs/userlands.md has the programs that showed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from seccompgen.filters.tell.linting import lint_filter
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.lint.finding import Severity
from seccompgen.lint.registry import kinds
from seccompgen.lint.upgrade import upgrade_of

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """arches: [x86_64]
default_action: {action}
syscalls:
- action: allow
  names: [{names}]
"""


def warned_of(place: Path, action: str, names: str) -> set[str]:
    """Return the calls of which an upgrade from Debian 11 to 13 brings a warning."""
    path = place / "policy.yml"
    path.write_text(POLICY.format(action=action, names=names))
    report = lint_filter(path, shipped_tables(), upgrade=upgrade_of("debian:11", "debian:13"))
    return {
        shipped_tables().tables["x86_64"].names[one.witness.call.nr]
        for one in report.findings
        if one.kind in kinds("upgrades") and one.severity is Severity.WARNING and one.witness
    }


@pytest.mark.parametrize("names", ["stat", "lstat", "stat, lstat", "fstat, stat"])
def test_one_of_the_functions_that_share_their_code_is_enough(names: str, tmp_path: Path) -> None:
    """For nginx, which calls stat and not lstat."""
    assert "newfstatat" in warned_of(tmp_path, "errno(EPERM)", f"{names}, read, write, openat")


def test_enosys_helps_with_calls_alone_that_not_every_kernel_has(tmp_path: Path) -> None:
    names = "stat, pipe, clone, execve, mmap, mprotect, rt_sigprocmask, futex, munmap, madvise"
    with_eperm = warned_of(tmp_path, "errno(EPERM)", names)
    assert with_eperm >= {"clone3", "newfstatat", "pipe2"}
    assert warned_of(tmp_path, "errno(ENOSYS)", names) >= {"newfstatat", "pipe2"}
    assert "clone3" not in warned_of(tmp_path, "errno(ENOSYS)", names)


@pytest.mark.parametrize("action", ["errno(EPERM)", "errno(ENOSYS)", "kill_process"])
def test_programs_that_start_need_pread64_for_some_libraries(action: str, tmp_path: Path) -> None:
    """For redis, curl, node, ruby and others, which ended with status 127 and without a word."""
    loader = "read, openat, mmap, mprotect, close, fstat, newfstatat"
    assert "pread64" in warned_of(tmp_path, action, f"execve, {loader}")
    assert "pread64" not in warned_of(tmp_path, action, f"execve, pread64, {loader}")
    assert "pread64" not in warned_of(tmp_path, action, loader)
    assert "pread64" not in warned_of(tmp_path, action, "execve, openat, mmap")
