"""The horizon of a policy, on the running kernel: what calls of each age are answered."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from old_tables import tables_at
from running_kernel import install_raw, require_x86_64, run, syscall
from seccompgen.compile import compile_policy
from seccompgen.formats import load_policy

if TYPE_CHECKING:
    from pathlib import Path

NR = {"openat2": 437, "cachestat": 451, "fchmodat2": 452, "mseal": 462, "no call yet": 900}
UNNAMED, REFUSED = errno.ENOSYS, errno.EPERM
POLICY = """\
kernel: v6.1
arches: [x86_64]
default_action: errno(EPERM)
syscalls:
- action: allow
  names: [read, write, close, futex, exit, exit_group, rt_sigreturn, brk, mmap, munmap, mprotect,
    rt_sigaction, rt_sigprocmask, getpid, gettid, madvise, '@file-system', fstat, lseek]
- action: errno(EXDEV)
  optional: true
  names: [mseal]
"""


@pytest.mark.parametrize("tag", ["v6.1", "v6.8", "v6.12", "v7.3"])
def test_a_confined_child_gets_the_same_errors_with_all_tables(tmp_path: Path, tag: str) -> None:
    require_x86_64()
    file = tmp_path / "p.yml"
    # openat2 is of v5.6, and not the group's that is used here.
    file.write_text(POLICY.replace("'@file-system'", "'@clock'"))
    tables = tables_at(tag)
    policy = load_policy(file, tables)[0]
    program = compile_policy(policy, tables.tables["x86_64"].abi, tables).to_bytes()

    def child() -> dict[str, int]:
        install_raw(program)
        return {name: syscall(nr)[1] for name, nr in NR.items()}

    outcome = run(child)
    assert outcome.error is None
    named = errno.EXDEV if tag in {"v6.12", "v7.3"} else UNNAMED
    assert outcome.value == {
        "openat2": REFUSED,
        "cachestat": UNNAMED,
        "fchmodat2": UNNAMED,
        "mseal": named,
        "no call yet": UNNAMED,
    }


def test_a_group_does_not_begin_to_allow_newer_calls(tmp_path: Path) -> None:
    """As the kernel under the test may lack them, the filter's own answer is another errno."""
    require_x86_64()
    file = tmp_path / "p.yml"
    file.write_text(f"unknown_action: errno(EOWNERDEAD)\n{POLICY}")
    tables = tables_at("v7.3")
    policy = load_policy(file, tables)[0]
    program = compile_policy(policy, tables.tables["x86_64"].abi, tables).to_bytes()

    def child() -> list[int]:
        install_raw(program)
        return [syscall(NR[name])[1] for name in ("cachestat", "fchmodat2", "no call yet")]

    outcome = run(child)
    assert outcome.error is None
    assert outcome.value == [errno.EOWNERDEAD] * 3
