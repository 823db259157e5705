"""Allowlists without what a program needs, refusals that end a library's fallback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from linting import FORMS, findings

if TYPE_CHECKING:
    from pathlib import Path

ALLOW = (
    "default_action: {default}\narches: [{abi}]\nsyscalls:\n- {{action: allow, names: [{names}]}}\n"
)
LIVES = "exit_group, rt_sigreturn, read"


def codes(tmp_path: Path, form: str, text: str) -> dict[str, str]:
    path = tmp_path / "policy.yml"
    path.write_text(text)
    return {one.kind.value: one.severity.value for one in findings(path, form)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (LIVES, {}),
        ("rt_sigreturn, read", {"no-exit": "warning"}),
        ("exit, rt_sigreturn, read", {"no-exit": "note"}),
        ("exit_group, read", {"no-sigreturn": "note"}),
        ("exit_group, read, rt_sigaction", {"no-sigreturn": "warning"}),
        ("exit_group, rt_sigreturn, write", {"no-wait": "note"}),
        ("exit_group, rt_sigreturn, poll", {"no-restart": "note"}),
        ("exit_group, rt_sigreturn, poll, restart_syscall", {}),
    ],
)
def test_what_an_allowlist_lacks(
    tmp_path: Path, form: str, names: str, expected: dict[str, str]
) -> None:
    text = ALLOW.format(default="errno", abi="x86_64", names=names)
    assert codes(tmp_path, form, text) == expected


@pytest.mark.few(19, "asks the running kernel case by case")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("default", "abi", "names", "severity"),
    [
        ("errno", "x86_64", "clone", "warning"),
        ("kill_process", "x86_64", "clone, rseq", "note"),
        ("errno(ENOSYS)", "x86_64", "clone", None),
        ("trap", "x86_64", "clone", None),
        ("errno", "x86_64", "clone, clone3", None),
        ("errno", "x86_64", "faccessat", "warning"),
        ("errno", "x86_64", "fchmodat", "warning"),
        ("errno", "x86_64", "openat", None),
        ("errno", "x86_64", "execve, execveat", "note"),
        ("kill_process", "x86_64", "execve, execveat", "note"),
        ("errno", "x86_64", "clone, clone3", None),
        ("kill_process", "x86_64", "clone, clone3", "note"),
        ("errno", "x86_64", "clock_gettime", None),
        ("errno", "i386", "clock_gettime", "warning"),
        ("errno", "i386", "clock_settime, settimeofday, stime", "warning"),
        ("errno", "x86_64", "clock_settime", None),
    ],
)
def test_a_refusal_without_fallback(
    tmp_path: Path, form: str, default: str, abi: str, names: str, severity: str | None
) -> None:
    text = ALLOW.format(default=default, abi=abi, names=f"{LIVES}, {names}")
    expected = {"wrong-fallback": severity} if severity else {}
    assert codes(tmp_path, form, text) == expected


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("{action: user_notif, names: [sendmsg]}", "warning"),
        # Messages over the socket that hands over are permitted.
        ("{action: user_notif, names: [sendmsg], when: arg0 != 3}", None),
        ("{action: user_notif, names: [sendto, close]}", None),
        # Handing over fails, and says so.
        ("{action: user_notif, names: [sendto]}, {action: errno, names: [sendmsg]}", None),
        ("{action: trace, names: [sendmsg]}", None),
    ],
)
def test_a_listener_that_waits_for_itself(
    tmp_path: Path, form: str, rules: str, expected: str | None
) -> None:
    text = "default_action: allow\narches: [x86_64]\nflags: [new_listener]\n"
    found = codes(tmp_path, form, f"{text}syscalls: [{rules}]\n")
    assert found.get("listener-deadlock") == expected
