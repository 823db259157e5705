"""What libraries call after ENOSYS has to be permitted, with the arguments that they pass."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from linting import FORMS, findings
from running_kernel import IS_X86_64, install_raw, run
from seccompgen.kernel.shipped import shipped_tables
from seccompgen.pipeline.build import build_policy

if TYPE_CHECKING:
    from pathlib import Path

FORK, SPAWN, THREAD, MUSL_THREAD = "0x1200011", "0x4111", "0x3d0f00", "0x7d0f00"
LIVES = "exit_group, rt_sigreturn, read"


def policy(rules: str, default: str = "errno", abi: str = "x86_64") -> str:
    return f"default_action: {default}\narches: [{abi}]\nsyscalls:\n{rules}"


def permitted(names: str, clone: str = "") -> str:
    """Return rules that permit ``names``, and clone with some flags."""
    rules = f"- {{action: allow, names: [{names}]}}\n"
    if clone:
        rules += f"- {{action: allow, names: [clone], when: 'flags in {{{clone}}}'}}\n"
    return rules


def enosys(call: str) -> str:
    return f"- {{action: errno(ENOSYS), names: [{call}]}}\n"


NO_NAMES = "- {action: allow, names: [newfstatat], when: arg3 == AT_EMPTY_PATH}\n"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("rules", "broken"),
    [
        # fork is permitted, and neither of the functions that call clone3
        (permitted(LIVES, FORK) + enosys("clone3"), True),
        # programs are started: by posix_spawn, too
        (permitted(f"{LIVES}, execve", f"{FORK}, {THREAD}") + enosys("clone3"), True),
        # one of the two was meant
        (permitted(LIVES, f"{FORK}, {THREAD}") + enosys("clone3"), False),
        (permitted(LIVES, f"{FORK}, {MUSL_THREAD}") + enosys("clone3"), False),
        (permitted(f"{LIVES}, execve", THREAD) + enosys("clone3"), False),
        (permitted(f"{LIVES}, execve", f"{FORK}, {SPAWN}") + enosys("clone3"), False),
        # nobody was to start anything
        (permitted(LIVES) + enosys("clone3"), False),
        (permitted(f"{LIVES}, clone") + enosys("clone3"), False),
        # files are opened, and cannot be looked at
        (permitted(f"{LIVES}, openat") + enosys("statx"), True),
        (permitted(f"{LIVES}, openat, newfstatat") + enosys("statx"), False),
        (permitted(LIVES) + enosys("statx"), False),
        # by their descriptors they can
        (permitted(f"{LIVES}, openat") + NO_NAMES + enosys("statx"), True),
    ],
)
def test_what_is_called_after_enosys(tmp_path: Path, form: str, rules: str, broken: bool) -> None:
    path = tmp_path / "policy.yml"
    path.write_text(policy(rules))
    tables = shipped_tables()
    found = {one.kind.value: one.severity.value for one in findings(path, form, tables)}
    assert found.get("broken-fallback") == ("warning" if broken else None)


def test_what_is_newer_than_the_policy_is_not_named(tmp_path: Path) -> None:
    path = tmp_path / "policy.yml"
    path.write_text(f"kernel: v5.2\n{policy(permitted(LIVES, FORK))}")  # clone3 came with v5.3
    assert findings(path) == []


def test_the_advice_on_statx_follows_names(tmp_path: Path) -> None:
    path = tmp_path / "policy.yml"
    path.write_text(policy(permitted(f"{LIVES}, openat") + NO_NAMES))
    (found,) = findings(path, tables=shipped_tables())
    assert found.fix == "answer statx with errno(ENOSYS); permit newfstatat of names, too"


def test_an_abi_may_have_no_older_call(tmp_path: Path) -> None:
    path = tmp_path / "policy.yml"
    path.write_text(policy(permitted(f"{LIVES}, openat") + enosys("statx"), abi="riscv32"))
    (found,) = findings(path)
    assert found.message == (
        "statx is answered with ENOSYS, but riscv32 has no older call to fall back on"
    )
    assert found.fix == "permit statx"


PERMITS = "permit clone with flags 0x3d0f00 for pthread_create and 0x4111 for posix_spawn"
RECORDED = f"""
- {{action: allow, names: [clone], when: 'flags in {{{FORK}}}'}}
- {{action: errno(EPERM), names: [clone]}}
"""
"""What a recording of redis said of clone."""
ADVISED = RECORDED + enosys("clone3")
MENDED = ADVISED.replace(FORK, f"{FORK}, {THREAD}, {SPAWN}")


def starts(program: bytes) -> list[bool]:
    """Return if a thread starts under a filter, and a program by posix_spawn."""
    install_raw(program)
    threads = programs = True
    try:
        threading.Thread(target=os.getpid).start()
    except RuntimeError:
        threads = False
    try:
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    except OSError:
        programs = False
    return [threads, programs]


@pytest.mark.skipif(not IS_X86_64, reason="the flags are written down for x86_64")
@pytest.mark.parametrize(
    ("rules", "advice", "work"),
    [
        (
            RECORDED,
            "answer clone3 with errno(ENOSYS): its flags are in memory, and libraries fall back; "
            f"{PERMITS}",
            True,
        ),
        (
            RECORDED + "- {action: errno(EPERM), names: [clone3]}\n",
            f"answer clone3 with errno(ENOSYS); {PERMITS}",
            False,
        ),
        (ADVISED, PERMITS, False),
        (MENDED, None, True),
    ],
)
def test_the_advice_holds_on_the_kernel(
    tmp_path: Path, rules: str, advice: str | None, work: bool
) -> None:
    """A recording of redis, to which lint said of clone3 the first half, did not start."""
    path = tmp_path / "recorded.yml"
    path.write_text(policy(rules, "allow"))
    fixes = [one.fix for one in findings(path) if "clone3" in one.message]
    assert fixes == ([advice] if advice else [])
    (program,) = build_policy(path, shipped_tables()).programs
    assert run(lambda: starts(program.to_bytes())).value == [work, work]
