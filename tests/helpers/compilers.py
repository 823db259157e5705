"""Filters built as sources, and the compilers that take them."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from command import inside

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """
default_action: allow
unknown_action: errno(ENOSYS)
flags: [tsync]
syscalls:
- {action: errno(EROFS), names: [mkdir, mkdirat]}
- action: kill_process
  names_with_args:
  - {name: personality, arguments: [{argument: 0, operation: Equal, value: 0x123456789, width: 64}]}
- {action: kill_process, names: [setns]}
"""
OFFLINE = {"GOPROXY": "off", "GOTOOLCHAIN": "local"}
"""Has go fetch neither modules nor another toolchain."""
FORBIDS = """
arches: [x86_64]
default_action: allow
flags: [{flags}]
syscalls:
- {{action: errno(EDOM), names: [getppid]}}
"""


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"needs {program}")


def build(where: Path, form: str, *options: str, name: str = "demo") -> None:
    (where / f"{name}.yml").write_text(POLICY)
    run = inside("build", f"{name}.yml", "--format", form, "-o", ".", *options, cwd=where)
    assert run.code == 0, run.err


def do(*command: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def go_module(where: Path) -> dict[str, str]:
    (where / "go.mod").write_text("module example.org/demo\n\ngo 1.21\n")
    return OFFLINE
