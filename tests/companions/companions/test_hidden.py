"""Functions of a stripped library that have no name count for no other function."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from seccompgen.kernel.shipped import shipped_tables

from companions.library import Library

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("capstone")
pytest.importorskip("elftools")
if shutil.which("gcc") is None:
    pytest.skip("there is no gcc here", allow_module_level=True)

_SOURCE = """
#define ENTER(n) ({ long r; \\
    __asm__ volatile("syscall" : "=a"(r) : "a"(n) : "rcx", "r11", "memory"); r; })
long first(void) { return ENTER(39); }
static __attribute__((noinline, noclone)) long own(void) { return ENTER(102) + ENTER(104); }
static __attribute__((noinline, noclone)) long tail(void) { return ENTER(110); }
long second(void) { return own() + 1; }
long third(void) { return tail(); }
"""


def test_code_behind_a_function_is_of_those_that_go_there(tmp_path: Path) -> None:
    (tmp_path / "small.c").write_text(_SOURCE)
    command = ["gcc", "-O2", "-shared", "-fPIC", "-nostdlib", "-s", "-fno-toplevel-reorder"]
    command += ["-fno-asynchronous-unwind-tables", "-o", "small.so", "small.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"gcc compiles no library for x86_64 here: {done.stderr.splitlines()[-1]}")
    library = Library([tmp_path / "small.so"], shipped_tables().tables["x86_64"])
    library.divide(library.functions)
    assert {name: list(library.calls_of(name)) for name in library.functions} == {
        "first": ["getpid"],
        "second": ["getgid", "getuid"],
        "third": ["getppid"],
    }
