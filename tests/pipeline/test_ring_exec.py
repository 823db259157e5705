"""Filters with rings that may let a process become another program, which install() must know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from seccompgen.pipeline.build import build_policy, shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

SECTION = "io_uring: {default_action: deny, operations: [{action: allow, names: [NOP]}]}\n"
REFUSED = "{action: errno(EPERM), names: [execve, execveat]}"
ONE = """{action: errno(EPERM), names_with_args: [
  {name: execve, arguments: [{argument: 0, operation: Equal, value: 0}]}]}"""


@pytest.mark.parametrize(
    ("default", "rules", "permits"),
    [
        ("allow", [], True),
        ("allow", [REFUSED], False),
        ("allow", ["{action: errno(EPERM), names: [execve]}"], True),
        ("allow", [ONE, "{action: errno(EPERM), names: [execveat]}"], True),
        ("errno(EPERM)", ["{action: allow, names: [read]}"], False),
        ("errno(EPERM)", ["{action: log, names: [execveat]}"], True),
        ("errno(EPERM)", ["{action: trace(1), names: [execve]}"], True),
        ("kill_process", [ONE], False),
    ],
)
def test_exec(default: str, rules: list[str], permits: bool, tmp_path: Path) -> None:
    text = f"arches: [x86_64]\ndefault_action: {default}\n{SECTION}syscalls:\n"
    text += "".join(f"- {rule}\n" for rule in rules) if rules else "  []\n"
    (tmp_path / "demo.yml").write_text(text)
    (rings,) = build_policy(tmp_path / "demo.yml", shipped_tables()).rings
    assert rings.permits_exec is permits


def test_alpha_has_more_ways(tmp_path: Path) -> None:
    head = f"arches: [alpha]\ndefault_action: allow\n{SECTION}syscalls:\n"
    (tmp_path / "some.yml").write_text(f"{head}- {REFUSED}\n")
    every = REFUSED.replace("execveat", "execveat, exec_with_loader, osf_execve")
    (tmp_path / "all.yml").write_text(f"{head}- {every}\n")
    for name, permits in (("some", True), ("all", False)):
        (rings,) = build_policy(tmp_path / f"{name}.yml", shipped_tables()).rings
        assert rings.permits_exec is permits
