"""Small programs that need no C library, made by gcc for the test."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
static inline long enter(long nr, long a, long b, long c) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "0"(nr), "D"(a), "S"(b), "d"(c)
                   : "rcx", "r11", "memory");
  return result;
}
#define FAR __attribute__((noinline, noipa))
"""
"""Instructions that enter the kernel; FAR functions are called as they stand."""


def compiled(directory: Path, source: str, *options: str, head: str = HEAD) -> Path:
    """Compile ``source`` to a static program in ``directory``; skip where there is no gcc."""
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc")
    path = directory / "program"
    (directory / "program.c").write_text(head + source)
    flags = [
        "-nostdlib",
        "-static",
        "-ffreestanding",
        "-fno-stack-protector",
        *(options or ["-O2"]),
    ]
    subprocess.run(
        ["gcc", *flags, "-o", path, directory / "program.c"], check=True, capture_output=True
    )
    return path
