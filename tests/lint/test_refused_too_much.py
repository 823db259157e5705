"""Refusals by an errno that programs do not look at, and success that is faked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from linting import FORMS, findings
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

LIVES = "exit_group, rt_sigreturn, read, write, tgkill"
THREADS = "{action: allow, names: [clone], when: flags == 0x3d0f00}"


def told(tmp_path: Path, form: str, *rules: str, default: str) -> dict[str, str]:
    """Return the findings of this file's codes, with their weights, by call."""
    path = tmp_path / "policy.yml"
    lines = "".join(f"- {rule}\n" for rule in rules)
    path.write_text(f"default_action: {default}\narches: [x86_64]\nsyscalls:\n{lines}")
    codes = {"refused-too-much", "false-success"}
    return {
        one.message.partition(" ")[0].rstrip(","): one.severity.value
        for one in findings(path, form, shipped_tables())
        if one.kind.value in codes
    }


def test_recordings_of_small_runs(tmp_path: Path) -> None:
    """What `record --exact` wrote of a server whose heap had grown before its marker."""
    seen = "mmap, munmap, mprotect, accept4, epoll_wait, read, write, clone3, futex, exit_group"
    assert told(tmp_path, "policy", f"{{action: allow, names: [{seen}]}}", default="errno") == {
        "brk": "warning",
        "close": "note",
        "nanosleep": "note",
        "shutdown": "note",
        "tgkill": "note",
    }


def refuse(names: str, action: str = "errno", when: str = "") -> str:
    condition = f", when: '{when}'" if when else ""
    return f"{{action: {action}, names: [{names}]{condition}}}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (refuse("brk"), {"brk": "warning"}),
        (refuse("brk", "errno(0)"), {}),
        (refuse("brk", "kill_process"), {}),
        (refuse("futex"), {"futex": "warning"}),
        (refuse("futex", "errno(ENOSYS)", "op & 0x7f in {6, 7, 8, 11, 12, 13}"), {}),
        (refuse("sendto"), {"sendto": "warning"}),
        (refuse("sendto", when="addr != 0"), {}),
        (refuse("setsockopt"), {"setsockopt": "note"}),
        (refuse("setsockopt", when="optname == 26"), {}),
        (refuse("socket, sendto, setsockopt, shutdown"), {}),
        (refuse("connect, accept, accept4, sendto, setsockopt, shutdown"), {}),
        (refuse("tgkill"), {"tgkill": "note"}),
        (refuse("getpid"), {"getpid": "warning"}),
        (refuse("exit"), {"exit": "warning"}),
        (refuse("epoll_pwait2", "errno(ENOSYS)"), {}),
        (refuse("write, writev, close"), {"write": "note", "close": "note"}),
        (refuse("clone, vfork", "errno(0)"), {"clone": "warning"}),
        (refuse("mmap", "errno(0)", "prot & 4"), {"mmap": "warning"}),
        (refuse("ptrace, setuid", "errno(0)"), {}),
    ],
)
def test_what_a_list_of_refusals_names(
    tmp_path: Path, form: str, rule: str, expected: dict[str, str]
) -> None:
    assert told(tmp_path, form, rule, default="allow") == expected


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("default", "rules", "expected"),
    [
        ("errno", [f"{LIVES}"], {}),
        ("errno", [f"{LIVES}, mmap"], {"brk": "warning", "munmap": "note"}),
        ("errno", [f"{LIVES}, mmap, brk, munmap"], {}),
        ("kill_process", [f"{LIVES}, mmap"], {}),
        ("errno", [f"{LIVES}, kill"], {"getpid": "warning"}),
        ("errno", [f"{LIVES}, kill, getpid"], {}),
        ("errno", [LIVES, THREADS], {"futex": "warning", "exit": "warning"}),
        ("errno", [f"{LIVES}, futex, exit", THREADS], {}),
        ("errno", [f"{LIVES}, futex, clone"], {"exit": "note"}),
        ("errno", [f"{LIVES}, clone"], {}),
        ("errno", ["exit_group, rt_sigreturn, brk"], {"write": "note", "tgkill": "note"}),
        ("errno", ["exit_group, rt_sigreturn, brk, write, tkill"], {"tgkill": "note"}),
        ("errno", ["exit_group, rt_sigreturn"], {}),
        (
            "errno",
            [
                "exit_group, rt_sigreturn, brk",
                "{action: allow, names: [write], when: 'fd in {1, 2}'}",
                "{action: allow, names: [tgkill], when: sig == SIGABRT}",
            ],
            {},
        ),
        ("errno", [f"{LIVES}, brk, munmap, mprotect"], {"mmap": "warning"}),
        ("errno", [f"{LIVES}, openat, brk"], {"close": "note"}),
        ("errno", [f"{LIVES}, openat, brk, close"], {}),
        ("errno", [f"{LIVES}, close, connect"], {"nanosleep": "note"}),
        ("errno", [f"{LIVES}, accept4"], {"nanosleep": "note"}),
        ("errno", [f"{LIVES}, accept4, epoll_wait, clock_nanosleep"], {"shutdown": "note"}),
        ("errno", [f"{LIVES}, accept4, epoll_wait, clock_nanosleep, shutdown"], {}),
    ],
)
def test_what_an_allowlist_lacks(
    tmp_path: Path, form: str, default: str, rules: list[str], expected: dict[str, str]
) -> None:
    allowed = (
        rule if rule.startswith("{") else f"{{action: allow, names: [{rule}]}}" for rule in rules
    )
    assert told(tmp_path, form, *allowed, default=default) == expected
