"""Comparisons without a sign, of which a negative number is one of the largest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from linting import FORMS, findings
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """\
default_action: {default}
arches: [x86_64]
syscalls:
- action: allow
  names: [exit_group, rt_sigreturn, read]
- {{action: {action}, names: [{call}], when: '{when}'}}
"""


def negative(tmp_path: Path, form: str, **words: str) -> list[int]:
    """Return the arguments of the calls that show findings on a sign, as signed words."""
    path = tmp_path / "policy.yml"
    path.write_text(POLICY.format(**words))
    found = [
        one.witness
        for one in findings(path, form, shipped_tables())
        if one.kind.value == "signed-order" and one.witness
    ]
    numbers = [arg & 0xFFFFFFFF for one in found for arg in one.call.args if arg >> 31]
    return [number - (1 << 32) for number in numbers]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("call", "permits", "number"),
    [
        ("kill", "pid > 1", [-1]),
        ("kill", "pid >= 1 and sig == 15", [-1]),
        ("kill", "u64(pid) > 1", [-1]),
        ("setpriority", "niceval >= 10", [-20]),
        ("openat", "dfd > 2", [-100]),
        ("kill", "i32(pid) > 1", []),
        ("kill", "pid > 1 and pid <= 0x7fffffff", []),
        ("kill", "pid == 1234", []),
        ("kill", "pid != 1", []),
        ("openat", "dfd > 2 and dfd != AT_FDCWD", []),
        ("write", "fd > 2", []),
        ("kill", "sig > 1", []),
    ],
)
def test_an_allowlist(
    tmp_path: Path, form: str, call: str, permits: str, number: list[int]
) -> None:
    words = {"call": call, "when": permits, "default": "errno", "action": "allow"}
    assert negative(tmp_path, form, **words) == number


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("refuses", "number"),
    [("pid <= 1", [-1]), ("pid < 2 or pid > 0x7fffffff", []), ("pid > 1", [])],
)
def test_a_list_of_what_is_refused(
    tmp_path: Path, form: str, refuses: str, number: list[int]
) -> None:
    words = {"call": "kill", "when": refuses, "default": "allow", "action": "errno"}
    assert negative(tmp_path, form, **words) == number
